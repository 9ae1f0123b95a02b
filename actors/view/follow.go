package view

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	// reportWait is how long a host is to wait for a change: so often, at least, it says that nothing changed.
	reportWait = time.Second
	// freshLimit is the age of a report from which on its figures count no more for decisions.
	freshLimit = 3 * reportWait
	// followAgain is the pause after a report that didn't come.
	followAgain = 200 * time.Millisecond
)

// Source asks other hosts for their reports.
type Source interface {
	Reports(ctx context.Context, host string, r *messages.ReportRequest) (*messages.Report, error)
}

// Follower keeps what other hosts report: the views of their actors in the projection, the rest here.
type Follower struct {
	View   *Projection
	Source Source
	// Store keeps what hosts declare; nil = nothing does.
	Store Store
	Log   *slog.Logger

	taking sync.Mutex // held while what a host reports is put in or taken out, so that nothing of one that was forgotten comes after
	mu     sync.Mutex
	hosts  map[string]*followed
}

// followed is a host as it reported last.
type followed struct {
	end    context.CancelFunc // nil = it can't be reached
	report *messages.Report   // the last one; nil = none came yet
	at     time.Time          // when it came
	// restored: it is what an earlier start of this host knew, and no decision stands on it.
	restored bool
}

// Said is what is known of a host, and how old it is.
type Said struct {
	Report *messages.Report
	Age    time.Duration
	// Reached: the host can be asked now.
	Reached bool
	// Restored: it was said to an earlier start of this host.
	Restored bool
}

// Reached begins to follow a host, until life ends or Lost is called. Calling it again does nothing.
func (f *Follower) Reached(life context.Context, host string, alongside func(func(context.Context))) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.of(host)
	if h.end != nil {
		return
	}
	ctx, end := context.WithCancel(life)
	h.end = end
	alongside(func(context.Context) { f.follow(ctx, host) })
}

// Lost ends following a host that can't be reached. What it said last stays, and gets old.
func (f *Follower) Lost(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.hosts[host]; h != nil && h.end != nil {
		h.end()
		h.end = nil
	}
}

// Forget drops what is known of a host that is no member any more.
func (f *Follower) Forget(host string) {
	f.Lost(host)
	f.taking.Lock()
	defer f.taking.Unlock()
	f.mu.Lock()
	delete(f.hosts, host)
	f.mu.Unlock()
	f.View.setFar(host, nil, true)
	if f.Store != nil {
		f.Store.Drop(host)
	}
}

// of is what is known of a host. f is locked.
func (f *Follower) of(host string) *followed {
	if f.hosts == nil {
		f.hosts = map[string]*followed{}
	}
	if f.hosts[host] == nil {
		f.hosts[host] = &followed{}
	}
	return f.hosts[host]
}

func (f *Follower) follow(ctx context.Context, host string) {
	since, boot, wait := uint64(0), "", time.Duration(0)
	for ctx.Err() == nil {
		r, err := f.Source.Reports(ctx, host, &messages.ReportRequest{Since: since, WaitMs: uint32(wait.Milliseconds())})
		wait = reportWait
		if err == nil && r.BootId != boot && since > 0 { // another start: its versions are others
			since, boot = 0, r.BootId
			continue
		}
		if err == nil {
			err = f.take(ctx, host, r)
		}
		if err == nil {
			since, boot = r.Version, r.BootId
			continue
		}
		wait = 0 // the next one counts at once, whatever it says
		f.Log.Debug("no report came", "host", host, "error", err)
		select {
		case <-time.After(followAgain):
		case <-ctx.Done():
		}
	}
}

// take keeps a report. A host reports its own actors only.
func (f *Follower) take(ctx context.Context, host string, r *messages.Report) error {
	var changes []Change
	for _, a := range r.Actors {
		id, err := messages.ParseActorID(a.Actor)
		if err != nil || id.Host() != host {
			return messages.Errorf(messages.InvalidArgument, "host "+host, "it reports %s, which isn't its own", a.Actor)
		}
		v := empty(a.View)
		if v == nil { // a newer version knows more kinds
			continue
		}
		if err := proto.Unmarshal(a.Body, v); err != nil {
			return messages.Errorf(messages.InvalidArgument, a.Actor, "its view can't be read: %w", err)
		}
		changes = append(changes, Change{Actor: id, Sequence: a.Sequence, View: v})
	}
	f.taking.Lock()
	defer f.taking.Unlock()
	f.mu.Lock()
	if ctx.Err() != nil {
		f.mu.Unlock()
		return context.Cause(ctx)
	}
	h := f.of(host)
	h.report, h.at, h.restored = r, time.Now(), false
	f.mu.Unlock()
	f.View.setFar(host, changes, r.Snapshot)
	if f.Store != nil {
		f.Store.Keep(host, f.View.declaredBy(host))
	}
	return nil
}

// empty is a view to be read; nil when this version doesn't know it.
func empty(name string) proto.Message {
	switch name {
	case "ModelView":
		return &messages.ModelView{}
	case "JobView":
		return &messages.JobView{}
	case "GoalView":
		return &messages.GoalView{}
	case "LineageView":
		return &messages.LineageView{}
	case "GpuView":
		return &messages.GpuView{}
	case "HostView":
		return &messages.HostView{}
	}
	return nil
}

// Hosts are those that have reported, by name.
func (f *Follower) Hosts() (out []string) {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for host, h := range f.hosts {
		if h.report != nil {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

// Said is what a host reported last.
func (f *Follower) Said(host string) Said {
	if f == nil {
		return Said{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[host]
	if h == nil || h.report == nil {
		return Said{Reached: h != nil && h.end != nil}
	}
	return Said{Report: h.report, Age: time.Since(h.at), Reached: h.end != nil, Restored: h.restored}
}

// Fresh tells whether decisions may stand on what a host reported.
func (f *Follower) Fresh(host string) bool {
	s := f.Said(host)
	return s.Reached && s.Report != nil && !s.Restored && s.Age < freshLimit
}

// Allocations are those of all hosts whose reports are fresh, as of now.
func (f *Follower) Allocations() (out []*messages.Allocation) {
	for _, host := range f.Hosts() {
		s := f.Said(host)
		if !f.Fresh(host) {
			continue
		}
		age := s.Age.Milliseconds()
		for _, a := range s.Report.Allocations {
			a = proto.CloneOf(a)
			if a.Active == 0 && a.Queued == 0 {
				a.IdleMs += age
			}
			if a.WaitedMs > 0 {
				a.WaitedMs += age
			}
			if a.HeldMs > 0 {
				a.HeldMs += age
			}
			out = append(out, a)
		}
	}
	return out
}

// setFar puts views of another host into the projection. With all, they replace what is known of the host.
func (p *Projection) setFar(host string, changes []Change, all bool) {
	p.mu.Lock()
	known := map[messages.ActorID]bool{}
	for _, c := range changes {
		known[c.Actor] = true
		e := p.entryOf(c.Actor)
		x := e.Value.(*entry)
		x.sequence, x.view = c.Sequence, c.View
		p.jobs.saw(c.Actor, c.View)
		p.touch(e)
	}
	if all {
		for id, e := range p.actors {
			if id.Host() == host && id.Kind != messages.KindArbiter && !known[id] {
				gone := ended(id, e.Value.(*entry).view)
				p.jobs.saw(id, gone)
				p.forget(e)
				changes = append(changes, Change{Actor: id, View: gone})
			}
		}
	}
	p.mu.Unlock()
	if p.o.ListenFar == nil {
		return
	}
	for _, c := range changes {
		p.o.ListenFar(c.Actor, c.View)
	}
}

// ended is the last view of an actor of another host that isn't reported any more.
func ended(id messages.ActorID, was proto.Message) proto.Message {
	switch was.(type) {
	case *messages.ModelView:
		return &messages.ModelView{Id: id.String(), Host: id.Host(), Name: id.Name(), Phase: messages.ModelView_absent}
	case *messages.JobView:
		return &messages.JobView{Id: id.String(), Host: id.Host(), Name: id.Name(), Deleted: true}
	case *messages.GoalView:
		return &messages.GoalView{Id: id.String(), Host: id.Host(), Name: id.Name(), Deleted: true}
	case *messages.HostView:
		return &messages.HostView{Host: id.Host()}
	case *messages.GpuView:
		return &messages.GpuView{Id: id.String(), Host: id.Host(), Device: id.Name(), Lost: true, LostReason: "its host reports it no more"}
	}
	return was
}

// hostOf is the host of an actor's name.
func hostOf(actor string) string {
	_, rest, _ := strings.Cut(actor, "/")
	host, _, _ := strings.Cut(rest, "/")
	return host
}
