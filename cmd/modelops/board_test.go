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
