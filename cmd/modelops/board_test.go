package main

import (
	"testing"
	"time"

	"modelops/messages"
)

// Who is dismissed holds memory until its worker is gone: the scheduler sees it until then, and nobody does afterwards.
func TestBoardShowsTheWithdrawnUntilTheyAreGone(t *testing.T) {
	b := newBoard()
	b.now, b.onModel = time.Now, func(*messages.ModelView) {}
	placed := &messages.Placement{Gpu: "gpu/h/g", Bytes: 8}
	base := &messages.ModelView{Id: "model/h/chat", Phase: "ready", Spec: &messages.ModelSpec{Name: "chat"}, Placement: placed}
	b.live = func() []*messages.ModelView { return []*messages.ModelView{base} }
	replica := messages.ModelActor("h", "chat~2")
	b.StateChanged(messages.ModelActor("h", "chat"), 1, base)
	b.StateChanged(replica, 2, &messages.ModelView{Id: replica.String(), Phase: "draining", Placement: placed})
	if rs := b.Residents(); len(rs) != 2 || rs[1].Model != replica.String() || rs[1].Phase != "draining" || len(b.there()) != 2 {
		t.Errorf("while it drains: %v", rs)
	}
	b.StateChanged(replica, 3, &messages.ModelView{Id: replica.String(), Phase: "absent"})
	if rs := b.Residents(); len(rs) != 1 || len(b.present()) != 1 || len(b.there()) != 1 {
		t.Errorf("when it is gone: %v, shown %v", rs, b.present())
	}
}

// A load that has just begun counts for the scheduler, though the gateway hasn't heard of it yet.
func TestALoadCountsFromItsDecision(t *testing.T) {
	id := messages.ModelActor("main_pc", "m")
	view := func(phase string) *messages.ModelView {
		return &messages.ModelView{Id: id.String(), Name: "m", Phase: phase, Spec: &messages.ModelSpec{Name: "m"}, Placement: &messages.Placement{Gpu: "gpu/main_pc/cpu"}}
	}
	b := newBoard()
	b.now, b.onModel = time.Now, func(*messages.ModelView) {}
	b.StateChanged(id, 1, view("loading"))
	late := view("placing")
	late.Placement, late.Queued = nil, 3
	b.live = func() []*messages.ModelView { return []*messages.ModelView{late} }
	got := b.Residents()
	if len(got) != 1 || got[0].Phase != "loading" || got[0].Gpu == "" || got[0].Queued != 3 {
		t.Errorf("the scheduler sees %v", got)
	}
}
