package gateway

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// A request for a model that only hosts declare which are being emptied says so while it waits and when it ends, and how to end the drain. A load by hand is refused
// at once. As soon as another host that can be asked declares the model, it waits for a placement as usual.
func TestARequestWaitsForADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drained := map[string]bool{"pc2": true}
		g, _ := rig(1, "absent")
		g.o.StallAfter = time.Second
		g.o.Emptied = func(host string) bool { return drained[host] }
		g.o.Placer = placer(func(context.Context, string, time.Duration) (pool.PlaceAnswer, error) { return pool.Waits, nil })
		gone := view(1, "absent")
		gone.Spec = nil
		there := at("pc2", "tiny", 0, "absent")
		g.Update(there)
		g.Update(gone)
		const waits, undo = "pc2, which is being emptied", "modelops drain pc2 --undo"
		waitsFor := func() string { return g.Queue().Requests[0].WaitsFor }

		for _, only := range []messages.Only{{}, {Host: "pc2"}} {
			told := make(chan messages.QueuePlace, 100)
			ctx, leave := context.WithCancel(messages.WithCaller(t.Context(), messages.Caller{Only: only, OnQueued: func(p messages.QueuePlace) { told <- p }}))
			queued := admit(g, ctx)
			if want := waits + " (" + undo + " ends that)"; waitsFor() != want || (<-told).WaitsFor != want {
				t.Errorf("%v: it waits for %q, or its caller is told of something else", only, waitsFor())
			}
			time.Sleep(5 * time.Second)
			if h := g.Health(); !h.OK {
				t.Errorf("%v", h.Reasons)
			}
			g.Reach("pc3", false)
			g.Update(at("pc3", "tiny", 0, "absent")) // can't be asked
			if !strings.HasPrefix(waitsFor(), waits) {
				t.Errorf("it waits for %q", waitsFor())
			}
			if r := <-queued; messages.CodeOf(r.err) != messages.Unavailable || !strings.HasSuffix(messages.AsError(r.err).Message, "it waits for "+waits) || !strings.HasPrefix(messages.AsError(r.err).Hint, undo) {
				t.Errorf("%v: %v", only, r.err)
			}
			leave()
		}
		if err := g.Ensure(t.Context(), "tiny", time.Time{}); messages.CodeOf(err) != messages.FailedPrecondition || !strings.HasPrefix(messages.AsError(err).Hint, undo) {
			t.Errorf("a load: %v", err)
		}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		queued := admit(g, ctx)
		g.Reach("pc3", true)
		if waitsFor() != "placing" {
			t.Errorf("pc3 can take it, and it waits for %q", waitsFor())
		}
		leave()
		<-queued
		ctx, leave = context.WithCancel(messages.WithCaller(t.Context(), messages.Caller{Only: messages.Only{Host: "pc2"}}))
		queued = admit(g, ctx)
		time.Sleep(5 * time.Second)
		if h := g.Health(); !h.OK || !strings.HasPrefix(waitsFor(), waits) {
			t.Errorf("bound to pc2 it waits for %q, %v", waitsFor(), h.Reasons)
		}
		leave()
		<-queued
	})
}
