package openai

import (
	"slices"
	"testing"
	"time"
)

func TestAMemberThatLeavesDoesNotHarmTheOthers(t *testing.T) {
	for deadline := 100 * time.Millisecond; !leaveOneByOne(t, deadline); deadline *= 2 {
		if deadline > hangLimit {
			t.Fatal("the deadline passes always before the flight")
		}
	}

	h, _, o, first := crowded(t, 2)
	a, b := h.embed(`"a"`), h.embed(`"bb"`)
	o.waitFor(t, 1)
	a.leave()
	b.leave()
	<-o.left // the engine sees that its client has left
	o.gate <- struct{}{}
	<-first.done
	if got := h.gateway.failures(2); slices.Contains(got, true) {
		t.Errorf("the worker is blamed: %v", got)
	}
}

// leaveOneByOne lets one member leave while it waits, one at its deadline and one while the engine works. It is false when a busy machine
// let the deadline pass before the engine was asked.
func leaveOneByOne(t *testing.T, deadline time.Duration) (done bool) {
	h, api, o, first := crowded(t, 3)
	defer func() {
		if !done { // the rest may end
			h.CloseClientConnections()
			for range 4 {
				o.gate <- struct{}{}
			}
		}
	}()
	early := h.embed(`"early"`)
	h.waiting(api, 1)
	early.leave()
	h.waiting(api, 0)
	lead := h.embed(`"lead"`)
	h.waiting(api, 1)
	b := h.embed(`"bb"`, "X-Request-Timeout", deadline.String())
	if !h.waitingOr(api, 2, b.done) {
		return false
	}
	c := h.embed(`"ccc"`)
	if !o.cameOr(b.done) {
		return false
	}
	if got := o.last(); got != `{"model":"tiny","input":["lead","bb","ccc"]}` {
		t.Errorf("the engine saw %s", got)
	}
	lead.leave()
	<-b.done
	if b.status != 504 {
		t.Errorf("after its deadline: %d %s", b.status, b.body)
	}
	o.gate <- struct{}{}
	o.gate <- struct{}{}
	c.is(t, 200, rows(row("ccc", 0)))
	<-first.done
	return true
}

// cameOr waits for a request, and gives up, with false, when over is closed first.
func (o *oven) cameOr(over <-chan struct{}) bool {
	select {
	case <-o.came:
		return true
	case <-over:
		return false
	}
}

func (o *oven) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bodies[len(o.bodies)-1]
}
