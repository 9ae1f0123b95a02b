package gateway

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// A worker that is up and does its work badly is reported, once a minute at most; one that is merely slow at long requests isn't.
func TestDegraded(t *testing.T) {
	type request struct {
		n    int
		took time.Duration
		o    messages.Outcome
	}
	bad, left := messages.Outcome{Failed: true}, messages.Outcome{Err: context.DeadlineExceeded}
	for name, c := range map[string]struct {
		requests []request
		why      string
	}{
		"well":                      {[]request{{40, time.Second, messages.Outcome{}}}, ""},
		"fails often":               {[]request{{6, time.Second, messages.Outcome{}}, {1, 0, bad}, {6, time.Second, messages.Outcome{}}, {1, 0, bad}, {1, 0, messages.Outcome{}}, {1, 0, bad}, {1, 0, messages.Outcome{}}, {1, 0, bad}, {1, 0, messages.Outcome{}}, {1, 0, bad}, {1, 0, messages.Outcome{}}, {1, 0, bad}, {1, 0, messages.Outcome{}}, {1, 0, bad}, {1, 0, messages.Outcome{}}, {1, 0, bad}}, "8 of its last 20 requests failed"},
		"became slow":               {[]request{{40, 500 * time.Millisecond, messages.Outcome{}}, {12, 9 * time.Second, messages.Outcome{}}}, "its answers take"},
		"one slow":                  {[]request{{40, 500 * time.Millisecond, messages.Outcome{}}, {1, 9 * time.Second, messages.Outcome{}}}, ""},
		"slow from the start":       {[]request{{60, 20 * time.Minute, messages.Outcome{}}}, ""},
		"hangs":                     {[]request{{2, time.Second, messages.Outcome{}}, {3, 15 * time.Second, left}}, "3 callers in a row gave up"},
		"hangs at once":             {[]request{{3, 31 * time.Second, left}}, "3 callers in a row gave up"},
		"hangs, callers leave soon": {[]request{{9, 100 * time.Millisecond, messages.Outcome{}}, {6, 2 * time.Second, left}}, "6 callers in a row gave up"},
		"a short stall":             {[]request{{9, 100 * time.Millisecond, messages.Outcome{}}, {3, 2 * time.Second, left}, {1, 100 * time.Millisecond, messages.Outcome{}}, {4, 2 * time.Second, left}}, ""},
		"hasty callers":             {[]request{{9, 10 * time.Millisecond, messages.Outcome{}}, {50, 300 * time.Millisecond, left}}, ""},
		"impatient callers":         {[]request{{2, time.Second, messages.Outcome{}}, {9, 3 * time.Second, left}}, ""},
		"a long job":                {[]request{{1, 20 * time.Minute, messages.Outcome{}}, {2, time.Hour, left}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, d := rig(1, "ready")
				g.o.Figures.FailureThreshold = 3
				g.Refigure()
				for _, r := range c.requests {
					for range r.n {
						grant := must(t, g)
						time.Sleep(r.took)
						grant.Release(r.o)
					}
				}
				sweep(g, 30*time.Second)
				told := d.heard()
				if c.why == "" && len(told) > 0 || c.why != "" && len(told) != 1 {
					t.Fatalf("told %v", told)
				}
				if c.why == "" {
					return
				}
				if r, ok := told[0].(*messages.ReplaceWorker); !ok || !strings.Contains(r.Reason, c.why) || r.Attempt != 1 || r.Replica != "tiny" {
					t.Errorf("told %v", told)
				}
				g.Update(view(2, "ready"))
				sweep(g, 2*time.Minute)
				if told := d.heard(); len(told) != 1 {
					t.Errorf("a new worker is blamed for its predecessor: %v", told)
				}
			})
		})
	}
}

// An open breaker whose probes fail is a worker to be replaced.
func TestBreakerStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "ready")
		for range 4 {
			grant, err := g.Admit(t.Context(), "tiny")
			if err != nil {
				t.Fatal(err)
			}
			grant.Release(messages.Outcome{Failed: true})
			if state, _ := g.pools["tiny"].pool.Endpoints()[0].Breaker(time.Now()); state == pool.Opened {
				time.Sleep(20 * time.Second)
			}
		}
		sweep(g, time.Second)
		told := d.heard()
		if r, ok := told[len(told)-1].(*messages.ReplaceWorker); !ok || !strings.Contains(r.Reason, "2 probes failed") {
			t.Errorf("told %v", told)
		}
	})
}

// A model whose own worker failed for good is asked to try again while its replicas serve: no request asks for it then, and a replacement
// would stay for ever.
func TestAModelTriesItsOwnWorkerAnewWhileOthersServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "failed")
		sweep(g, 5*time.Minute)
		if told := d.heard(); len(told) > 0 {
			t.Errorf("a model without a worker and without requests got hints: %v", told)
		}
		other := view(1, "ready")
		other.Id, other.Name = "model/main_pc/tiny~2", "tiny~2"
		g.Update(other)
		sweep(g, 150*time.Second)
		told := d.heard()
		if len(told) != 2 {
			t.Fatalf("told %v, want to hear of it once a minute", told)
		}
		if _, ok := told[0].(*messages.EnsureModel); !ok {
			t.Errorf("told %v", told)
		}
	})
}

// The number of workers rises while requests wait and falls when fewer would do, within the declared bounds.
func TestScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(2, "ready")
		g.o.Figures.QueueTimeout = time.Hour
		g.Refigure()
		show := func(replicas uint32) {
			v := view(1, "ready")
			v.Replicas, v.Spec.MinReplicas, v.Spec.MaxReplicas = replicas, 1, 3
			g.Update(v)
		}
		asked := func() (out []uint32) {
			for _, c := range d.heard() {
				if s, ok := c.(*messages.ScaleModel); ok {
					out = append(out, s.Replicas)
				}
			}
			return out
		}
		show(1)
		sweep(g, 2*time.Second)
		var all []chan got
		for range 12 {
			all = append(all, admit(g, t.Context()))
		}
		sweep(g, 900*time.Millisecond)
		if got := asked(); len(got) != 0 {
			t.Errorf("asked for %v at once", got)
		}
		sweep(g, 2*time.Second)
		if got := asked(); !slices.Equal(got, []uint32{3}) { // 12 requests, 2 places each: 6 workers, 3 at most
			t.Errorf("asked for %v", got)
		}
		show(3)
		sweep(g, 9*time.Second) // they aren't ready: asked for again, but not at every sweep
		sweep(g, 4*time.Second)
		if got := asked(); !slices.Equal(got, []uint32{3, 3}) {
			t.Errorf("asked for %v", got)
		}
		g.Update(worker("tiny~2", 1, "ready"))
		g.Update(worker("tiny~3", 1, "ready"))
		for _, w := range all {
			(<-w).grant.Release(messages.Outcome{})
		}
		sweep(g, 70*time.Second)
		show(2)
		if got := asked(); !slices.Equal(got, []uint32{3, 3, 2}) {
			t.Errorf("asked for %v", got)
		}
		sweep(g, 70*time.Second)
		show(1)
		sweep(g, 5*time.Minute)
		if got := asked(); !slices.Equal(got, []uint32{3, 3, 2, 1}) {
			t.Errorf("asked for %v", got)
		}
	})
}

// A sleeping replica stays asleep until requests wait; one that is gone is asked for again.
func TestScaleLeavesSleepersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "ready")
		g.o.Figures.QueueTimeout = time.Hour
		g.Refigure()
		v := view(1, "ready")
		v.Replicas, v.Spec.MinReplicas, v.Spec.MaxReplicas = 2, 2, 2
		g.Update(v)
		g.Update(worker("tiny~2", 1, "asleep"))
		sweep(g, time.Minute)
		if told := d.heard(); len(told) != 0 {
			t.Errorf("woken for nothing: %v", told)
		}
		first, second := admit(g, t.Context()), admit(g, t.Context())
		sweep(g, 2*time.Second)
		if told := d.heard(); len(told) != 1 || !strings.Contains(told[0].(*messages.ScaleModel).Reason, "sleeps") {
			t.Errorf("told %v", told)
		}
		(<-first).grant.Release(messages.Outcome{})
		(<-second).grant.Release(messages.Outcome{})
		g.Update(worker("tiny~2", 1, "absent"))
		sweep(g, 20*time.Second)
		if told := d.heard(); len(told) < 2 || !strings.Contains(told[1].(*messages.ScaleModel).Reason, "gone") {
			t.Errorf("told %v", told)
		}
	})
}

// A long job may finish when its model has to leave; at a degraded worker it gets the short drain time.
func TestLongJobsDrainInPeace(t *testing.T) {
	for name, c := range map[string]struct {
		degraded bool
		want     time.Duration
	}{"a long job": {false, 20 * time.Minute}, "a bad worker": {true, 30 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(1, "ready")
				g.o.HostFigures = func() HostFigures { return HostFigures{DrainTimeout: time.Hour} }
				g.Refigure()
				for range 3 { // callers in a row that give up
					vain := must(t, g)
					if c.degraded {
						time.Sleep(31 * time.Second)
					}
					vain.Release(messages.Outcome{Err: context.DeadlineExceeded})
				}
				sweep(g, time.Second)
				grant, began := must(t, g), time.Now()
				go func() {
					select {
					case <-grant.Ended.Done():
					case <-time.After(20 * time.Minute):
					}
					grant.Release(messages.Outcome{})
				}()
				if err := g.Drain(t.Context(), tiny, 1, false); err != nil || time.Since(began) != c.want {
					t.Errorf("drained after %s, %v", time.Since(began), err)
				}
			})
		})
	}
}
