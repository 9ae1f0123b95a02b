package view

import (
	"time"

	"modelops/messages"
)

// Store keeps what other hosts declare over a restart of this one.
type Store interface {
	// Keep is told the declared models of a host with each of its reports.
	Keep(host string, models []*messages.ModelView)
	// Drop forgets a host that is no member any more.
	Drop(host string)
}

// Restore puts in what a host declared before this one was started again. Nothing is known of its workers: the models are absent until it reports.
func (f *Follower) Restore(host string, models []*messages.ModelView, age time.Duration) {
	f.mu.Lock()
	h := f.of(host)
	if h.report != nil {
		f.mu.Unlock()
		return
	}
	h.report, h.at, h.restored = &messages.Report{}, time.Now().Add(-age), true
	f.mu.Unlock()
	var changes []Change
	for _, v := range models {
		if id, err := messages.ParseActorID(v.Id); err == nil && id.Kind == messages.KindModel && id.Host() == host {
			changes = append(changes, Change{Actor: id, View: v})
		}
	}
	f.View.setFar(host, changes, false)
}

// declaredBy are the models that a host declares, without what changes while it runs.
func (p *Projection) declaredBy(host string) (out []*messages.ModelView) {
	for _, v := range p.ModelsOf(host) {
		if messages.IsDeclared(v) {
			out = append(out, &messages.ModelView{Id: v.Id, Host: host, Name: v.Name, Phase: messages.ModelView_absent, Spec: v.Spec})
		}
	}
	return out
}
