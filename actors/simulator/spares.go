package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/actors/host"
	"modelops/messages"
)

// sparesEvery is how often the daemon looks for models that another host has too.
const sparesEvery = time.Second

// spares has idle models leave this host that another one has too.
func (x *far) spares() {
	w := x.w
	w.alive(sparesEvery, x.spares)
	for _, s := range host.Spares(w.host(0), x.residents(), x.closed) {
		_, _ = door{w}.Ask(&try{}, messages.ModelActor(w.host(0), s.Model), s.Preempt)
	}
}

// residents are the models of all hosts as this one knows them.
func (x *far) residents() []*messages.ModelView {
	out := view{x.w}.live()
	for _, r := range x.reports(false) {
		out = append(out, r.live...)
	}
	if change := x.w.o.Plants.Residents; change != nil {
		return change(x.w.host(0), out)
	}
	return out
}

// isSpare tells whether a model leaves because another host has it too.
func isSpare(e *messages.ModelUnwanted) bool { return strings.HasPrefix(e.Placement, "spare/") }

// checkSpare: where all links have been whole for a while, hosts that could each do without a model don't all give it up.
func (w *World) checkSpare(id messages.ActorID) {
	c := w.far.net
	c.spares++
	before, again := c.spared[id.Name()]
	c.spared[id.Name()] = c.elapsed
	if !again || c.elapsed-before > 5*sparesEvery || !c.settled() || !c.whole() {
		return
	}
	for _, other := range c.worlds {
		if i, ok := other.byID[messages.ModelActor(other.host(0), id.Name())]; ok && other != w && other.models[i].state.Wanted {
			return
		}
	}
	w.violated("%s gives up %s as another host did %s before, and no host has it now", w.host(0), id.Name(), c.elapsed-before)
}

// whole tells whether all hosts run and hear each other.
func (c *Cluster) whole() bool {
	for i, a := range c.worlds {
		for _, b := range c.worlds[:i] {
			if !c.hear(a, b) {
				return false
			}
		}
	}
	return true
}

// doubles says which model has a worker on two hosts of which one may leave, once it has been idle long enough.
func (c *Cluster) doubles() string {
	var all []*messages.ModelView
	for _, w := range c.worlds {
		for _, m := range (view{w}).live() {
			m.Active, m.Queued, m.IdleMs = 0, 0, time.Hour.Milliseconds()
			all = append(all, m)
		}
	}
	for _, w := range slices.Backward(c.worlds) {
		for _, s := range host.Spares(w.host(0), all, func(string) string { return "" }) {
			return fmt.Sprintf("%s on %s may leave: %s", s.Model, w.host(0), s.Preempt.Reason)
		}
	}
	return ""
}
