package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// worker is a ready view of a model or of a replica.
func worker(name string, attempt uint64, phase string) *messages.ModelView {
	v := &messages.ModelView{Id: "model/main_pc/" + name, Name: name, Attempt: attempt, Phase: phaseOf(phase), Wanted: true, Worker: &messages.Worker{Url: "http://127.0.0.1:9/" + name},
		Spec: &messages.ModelSpec{Name: name}}
	if base, ok := messages.ReplicaOf(name); ok {
		v.Spec.ReplicaOf = base
	}
	return v
}

// admitAs asks in the background; the caller's Told is kept.
func admitAs(g *Gateway, ctx context.Context, model string, a messages.Caller) chan got {
	out := make(chan got, 1)
	go func() {
		grant, err := g.Admit(messages.WithCaller(ctx, a), model)
		out <- got{grant, err}
	}()
	synctest.Wait()
	return out
}

func classes(limits Limits) func() HostFigures {
	return func() HostFigures {
		return HostFigures{Limits: limits, Classes: []string{"interactive", "normal", "batch"}, DefaultClass: "normal", MaxWait: 30 * time.Second}
	}
}

// Waiting requests go in the order of their classes, and their callers are told the position.
func TestClassesAndPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		g.o.HostFigures = classes(Limits{})
		g.Refigure()
		first := must(t, g)
		var told []messages.QueuePlace
		batch := admitAs(g, t.Context(), "tiny", messages.Caller{RequestID: "b", Principal: messages.Principal{Class: "batch"}, OnQueued: func(p messages.QueuePlace) { told = append(told, p) }})
		normal := admitAs(g, t.Context(), "tiny", messages.Caller{RequestID: "n", Principal: messages.Principal{Class: "unknown"}})
		chat := admitAs(g, t.Context(), "tiny", messages.Caller{RequestID: "c", Principal: messages.Principal{Name: "alice", Class: "interactive"}})
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		var order []string
		for _, r := range g.Queue().Requests {
			order = append(order, fmt.Sprintf("%d %s %s %s %s", r.Position, r.RequestId, r.Class, r.Caller, r.WaitsFor))
		}
		if want := []string{"0  normal  ", "1 c interactive alice a place", "2 n normal  a place", "3 b batch  a place"}; !slices.Equal(order, want) {
			t.Errorf("queue %q", order)
		}
		if len(told) != 2 || told[0].Position != 1 || told[1].Position != 3 || told[1].Waited != time.Second || told[1].Expected != 0 || told[1].WaitsFor != "a place" {
			t.Errorf("told %+v", told)
		}
		for _, next := range []chan got{chat, normal, batch} {
			first.Release(messages.Outcome{})
			r := <-next
			if r.err != nil || r.grant.Expected != 0 { // no request had ended yet
				t.Fatal(r)
			}
			first = r.grant
		}
		first.Release(messages.Outcome{})
		empty(t, g)
	})
}

// The host's places are shared: the request that has waited longest for one, at any model, gets the next.
func TestHostBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(4, "ready")
		g.o.HostFigures = classes(Limits{MaxConcurrent: 2, MaxQueue: 2})
		g.Refigure()
		g.Update(worker("big", 1, "ready"))
		a, b := must(t, g), must(t, g)
		big := admitAs(g, t.Context(), "big", messages.Caller{})
		tiny := admitAs(g, t.Context(), "tiny", messages.Caller{})
		_, err := g.Admit(t.Context(), "big")
		if e := messages.AsError(err); messages.CodeOf(err) != messages.BulkheadRejection || e.Retry <= 0 || !strings.Contains(e.Message, "the host has 2/2 running, 2/2 waiting") {
			t.Errorf("refused with %v", err)
		}
		a.Release(messages.Outcome{})
		r := <-big
		b.Release(messages.Outcome{})
		s := <-tiny
		r.grant.Release(messages.Outcome{})
		s.grant.Release(messages.Outcome{})
		empty(t, g)
		if g.host.running.Load() != 0 || g.host.waiting.Load() != 0 {
			t.Errorf("the host counts %d and %d", g.host.running.Load(), g.host.waiting.Load())
		}
	})
}

// One model's callers, of whom one always waits, don't keep the host's place from another model for longer than a turn.
func TestTheHostsPlaceGoesAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(4, "ready")
		g.o.HostFigures = classes(Limits{MaxConcurrent: 1, MaxQueue: 8})
		g.Refigure()
		g.Update(worker("big", 1, "ready"))
		runs, next := must(t, g), admitAs(g, t.Context(), "tiny", messages.Caller{})
		big := admitAs(g, t.Context(), "big", messages.Caller{})
		runs.Release(messages.Outcome{}) // to the one that came before
		runs, next = (<-next).grant, admitAs(g, t.Context(), "tiny", messages.Caller{})
		runs.Release(messages.Outcome{})
		synctest.Wait()
		select {
		case r := <-big:
			r.grant.Release(messages.Outcome{})
			(<-next).grant.Release(messages.Outcome{})
		case r := <-next:
			t.Error("the model that had the place has it again")
			r.grant.Release(messages.Outcome{})
			(<-big).grant.Release(messages.Outcome{})
		}
		empty(t, g)
	})
}

// Requests go to the worker with the fewest; a replica drains alone; its failures count for itself only.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(2, "ready")
		g.Update(worker("tiny~2", 5, "ready"))
		one, two := must(t, g), must(t, g)
		if one.Replica != "tiny" || two.Replica != "tiny~2" || two.Model != "tiny" || two.URL != "http://127.0.0.1:9/tiny~2" {
			t.Errorf("%+v, %+v", one, two)
		}
		if _, err := g.Admit(t.Context(), "tiny~2"); messages.CodeOf(err) != messages.ModelNotFound {
			t.Errorf("a replica was admitted by its own name: %v", err)
		}
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context(), messages.ModelActor("main_pc", "tiny~2"), 5, false) }()
		synctest.Wait()
		three := must(t, g)
		if three.Replica != "tiny" {
			t.Errorf("%s runs at a worker that drains", three.Replica)
		}
		one.Release(messages.Outcome{})
		select {
		case <-drained:
			t.Error("drained while a request runs there")
		default:
		}
		two.Release(messages.Outcome{Failed: true})
		if err := <-drained; err != nil {
			t.Error(err)
		}
		three.Release(messages.Outcome{})
		g.Update(worker("tiny~2", 6, "ready"))
		for range 2 { // with the first one held, the second one's breaker opens
			held := must(t, g)
			must(t, g).Release(messages.Outcome{Failed: true})
			held.Release(messages.Outcome{})
		}
		if r, ok := d.heard()[0].(*messages.ReportBreaker); !ok || r.State != pool.Opened {
			t.Errorf("told %v", d.heard())
		}
		for range 3 {
			grant := must(t, g)
			if grant.Replica != "tiny" {
				t.Error("given to a worker whose breaker is open")
			}
			grant.Release(messages.Outcome{})
		}
		gone := worker("tiny~2", 6, "absent")
		gone.Spec = nil
		g.Update(gone)
		if n := len(g.Models()); n != 1 {
			t.Errorf("%d workers are left", n)
		}
		empty(t, g)
	})
}

// An engine that slept may be given requests again in the same attempt; one that was merely drained may not.
func TestAsleepAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "ready")
		v := view(1, "ready")
		v.Spec.SleepMs = proto.Int64(2000)
		g.Update(v)
		sweep(g, 3*time.Second)
		if told := d.heard(); len(told) != 1 || told[0].(*messages.SleepModel).Reason == "" {
			t.Errorf("told %v", told)
		}
		if err := g.Drain(t.Context(), tiny, 1, false); err != nil {
			t.Fatal(err)
		}
		for _, phase := range []string{"falling_asleep", "asleep"} {
			v := view(1, phase)
			g.Update(v)
		}
		w := admit(g, t.Context())
		if told := d.heard(); len(told) != 2 {
			t.Errorf("told %v", told)
		}
		g.Update(view(1, "waking"))
		g.Update(view(1, "ready"))
		(<-w).grant.Release(messages.Outcome{})
		empty(t, g)
	})
}

// sweep lets the gateway sweep its pools for a time.
func sweep(g *Gateway, d time.Duration) {
	ctx, end := context.WithTimeout(context.Background(), d)
	defer end()
	g.Run(ctx)
}

// The latest request's keep_alive decides how long the model stays.
func TestKeepAlive(t *testing.T) {
	minute, never, now := time.Minute, -time.Second, time.Duration(0)
	for name, c := range map[string]struct {
		declared *int64
		last     *time.Duration
		after    time.Duration // 0 = it stays
	}{
		"as declared":      {proto.Int64(5000), nil, 5 * time.Second},
		"longer":           {proto.Int64(5000), &minute, time.Minute},
		"for good":         {proto.Int64(5000), &never, 0},
		"unload after it":  {nil, &now, 250 * time.Millisecond},
		"nothing declared": {nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, d := rig(1, "ready")
				v := view(1, "ready")
				v.Spec.IdleMs = c.declared
				g.Update(v)
				r := <-admitAs(g, t.Context(), "tiny", messages.Caller{KeepAlive: c.last})
				r.grant.Release(messages.Outcome{})
				sweep(g, max(c.after-time.Second, 0))
				if told := d.heard(); len(told) != 0 {
					t.Errorf("unloaded too early: %v", told)
				}
				sweep(g, 2*time.Second)
				if told := d.heard(); (len(told) > 0) != (c.after > 0) {
					t.Errorf("told %v", told)
				}
			})
		})
	}
}

// A rollout's canary gets its share and no more; a request that it can't take is answered by the old model and counts against it.
func TestCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(8, "ready")
		g.Update(worker("new", 1, "ready"))
		route := &messages.Route{Name: "tiny", To: "tiny", Canary: "new", SharePct: 25, Swap: "s1"}
		g.SetRoutes([]*messages.Route{route})
		type end struct{ requests, failed uint64 }
		ended := make(chan end, 1)
		go func() {
			n, f, _ := g.Trial(t.Context(), "s1", 8, time.Minute, 20)
			ended <- end{n, f}
		}()
		synctest.Wait()
		models := map[string]int{}
		for i := range 20 {
			grant := must(t, g)
			models[grant.Model]++
			o := messages.Outcome{Failed: grant.Model == "new" && i == 3}
			if i == 7 { // a caller that leaves counts neither way
				o = messages.Outcome{Err: context.Canceled}
			}
			grant.Release(o)
		}
		if models["new"] != 5 {
			t.Errorf("%v", models)
		}
		g.Update(worker("new", 1, "failed"))
		for range 8 {
			grant := must(t, g)
			if grant.Model != "tiny" {
				t.Error("a canary that isn't ready was asked")
			}
			grant.Release(messages.Outcome{})
		}
		if e := <-ended; e.failed < 2 || e.requests > 8 {
			t.Errorf("%+v", e) // two of eight is more than 20 %
		}
		g.SetRoutes([]*messages.Route{{Name: "tiny", To: "new"}, {Name: "gone", To: "nothing"}})
		g.Update(worker("new", 2, "ready"))
		if grant := must(t, g); grant.Model != "new" {
			t.Errorf("routed to %s", grant.Model)
		}
		if _, err := g.Admit(t.Context(), "gone"); messages.CodeOf(err) != messages.ModelNotFound {
			t.Error(err)
		}
		if len(g.trials) != 0 {
			t.Errorf("%d trials are left", len(g.trials))
		}
	})
}

func TestTrialIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		began := time.Now()
		if n, f, err := g.Trial(t.Context(), "s1", 8, time.Minute, 20); n != 0 || f != 0 || err != nil || time.Since(began) != time.Minute {
			t.Errorf("%d, %d, %v after %s", n, f, err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := g.Trial(ctx, "s2", 8, time.Minute, 20); err == nil {
			t.Error("goes on without its caller")
		}
	})
}

// Both models of a rollout stay loaded during the trial, however idle they are.
func TestWhoIsTriedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(8, "ready")
		for _, v := range []*messages.ModelView{worker("tiny", 1, "ready"), worker("new", 1, "ready")} {
			v.Spec.IdleMs = proto.Int64(1000)
			g.Update(v)
		}
		g.SetRoutes([]*messages.Route{{Name: "tiny", To: "tiny", Canary: "new", SharePct: 100, Swap: "s1"}})
		sweep(g, 5*time.Second)
		if told := d.heard(); len(told) != 0 {
			t.Errorf("told %v", told)
		}
		g.SetRoutes([]*messages.Route{{Name: "tiny", To: "new"}})
		sweep(g, time.Second)
		if told := d.heard(); len(told) == 0 {
			t.Error("no position was told")
		}
	})
}

// A canary that isn't ready again after a restart hasn't failed: the trial isn't watched yet.
func TestACanaryIsCountedWhenItIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(8, "ready")
		g.Update(worker("new", 1, "loading"))
		g.SetRoutes([]*messages.Route{{Name: "tiny", To: "tiny", Canary: "new", SharePct: 100, Swap: "s1"}})
		must(t, g).Release(messages.Outcome{})
		if n, failed, _ := g.Trial(t.Context(), "s1", 8, time.Minute, 20); n != 0 || failed != 0 {
			t.Errorf("%d of %d failed", failed, n)
		}
	})
}
