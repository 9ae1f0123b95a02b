package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// got is the result of a request in the background.
type got struct {
	grant *messages.Grant
	err   error
}

func admit(g *Gateway, ctx context.Context) chan got {
	out := make(chan got, 1)
	go func() {
		grant, err := g.Admit(ctx, "tiny")
		out <- got{grant, err}
	}()
	synctest.Wait()
	return out
}

func must(t *testing.T, g *Gateway) *messages.Grant {
	t.Helper()
	grant, err := g.Admit(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

// counts is how many run and wait.
func counts(g *Gateway) (active, queued uint32) {
	v := g.Models()[0]
	return v.Active, v.Queued
}

func empty(t *testing.T, g *Gateway) {
	t.Helper()
	if a, q := counts(g); a != 0 || q != 0 {
		t.Errorf("%d run and %d wait when all have gone", a, q)
	}
}

func TestRoutes(t *testing.T) {
	g, _ := rig(1, "ready")
	grant, err := g.Admit(t.Context(), "small")
	if err != nil || grant.Model != "tiny" || grant.Upstream != "tiny-q4" || grant.URL != "http://127.0.0.1:9" {
		t.Errorf("an alias leads to %+v, %v", grant, err)
	}
	grant.Release(messages.Outcome{})
	grant.Release(messages.Outcome{Failed: true}) // does nothing
	empty(t, g)
	for name, hint := range map[string]string{"TINY": `did you mean "tiny"? `, "ti": `did you mean "tiny"? `, "other": "", "": ""} {
		_, err := g.Admit(t.Context(), name)
		if e := messages.AsError(err); messages.CodeOf(err) != messages.ModelNotFound || e.Hint != hint+"GET /v1/models or modelops models lists what there is" {
			t.Errorf("%q: %v", name, err)
		}
	}
	for scope, hint := range map[string]string{"t*": `did you mean "tiny"? `, "tinn*": "", "tinny": ""} { // a name outside of the key's scope isn't told
		ctx := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "k", Role: messages.Role_INFER, Scope: &messages.Scope{Models: []string{scope}}}})
		if _, err := g.Admit(ctx, "tinny"); messages.AsError(err).Hint != hint+"GET /v1/models or modelops models lists what there is" {
			t.Errorf("a key for %s: %v", scope, err)
		}
	}
	// A model's own name wins over another's alias.
	g.Update(&messages.ModelView{Id: "model/main_pc/small", Name: "small", Phase: messages.ModelView_ready, Attempt: 1, Spec: &messages.ModelSpec{Name: "small"}})
	if grant, err = g.Admit(t.Context(), "small"); err != nil || grant.Model != "small" {
		t.Errorf("%+v, %v", grant, err)
	}
	grant.Release(messages.Outcome{})
}

// S12: a caller that leaves while its request is queued frees its place, also at the instant of the grant and during a drain.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		first := must(t, g)
		ctx, leave := context.WithCancel(t.Context())
		queued := admit(g, ctx)
		leave()
		if r := <-queued; messages.CodeOf(r.err) != messages.Cancelled {
			t.Errorf("left with %v", r.err)
		}
		ctx, leave = context.WithCancel(t.Context())
		queued = admit(g, ctx)
		leave() // and in the same instant the place becomes free, and the model is unloaded
		first.Release(messages.Outcome{})
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context(), tiny, 1, false) }()
		if r := <-queued; r.grant != nil {
			r.grant.Release(messages.Outcome{})
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		empty(t, g)
	})
}

// The race between a grant and the end of its caller's context, forced by hand: the drain that waits for that place must end.
func TestGrantedToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		l := g.pools["tiny"]
		first := must(t, g)
		w := &waiter{since: time.Now(), position: 1, granted: make(chan admitted, 1)}
		ticket := g.next.Add(1)
		l.mu.Lock()
		_, _ = l.pool.Admit(pool.Request{Ticket: ticket, Since: time.Now()})
		l.waiters[ticket] = w
		l.mu.Unlock()
		first.Release(messages.Outcome{}) // grants it
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context(), tiny, 1, false) }()
		synctest.Wait()
		l.abandon(ticket, w)
		began := time.Now()
		if err := <-drained; err != nil || time.Since(began) != 0 {
			t.Errorf("drained after %s, %v", time.Since(began), err)
		}
		empty(t, g)
	})
}

// S3, S20: when a model fails, every request in its queue is refused with the reason.
func TestModelFails(t *testing.T) {
	for name, c := range map[string]struct {
		view *messages.ModelView
		want messages.Code
		text string
	}{
		"load error": {&messages.ModelView{Phase: messages.ModelView_failed, Error: &messages.ErrorBody{Code: "INFERENCE_ERROR", Message: "died"}}, messages.ModelLoadError, "Failed to load model 'tiny': died"},
		"no reason":  {&messages.ModelView{Phase: messages.ModelView_failed}, messages.ModelLoadError, "the model failed to load"},
		"no memory":  {&messages.ModelView{Phase: messages.ModelView_failed, Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE", Message: "full"}}, messages.GPUUnavailable, "full"},
		"withdrawn":  {&messages.ModelView{Phase: messages.ModelView_absent}, messages.ModelNotFound, "its declaration was withdrawn"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, d := rig(1, "absent")
				var all []chan got
				for range 3 {
					all = append(all, admit(g, t.Context()))
				}
				if len(d.heard()) != 1 {
					t.Errorf("the model was told %v", d.heard())
				}
				v := view(1, c.view.Phase.String())
				v.Error = c.view.Error
				if name == "withdrawn" {
					v.Spec = nil
				}
				g.Update(v)
				for _, w := range all {
					if r := <-w; messages.CodeOf(r.err) != c.want || !strings.Contains(r.err.Error(), c.text) {
						t.Errorf("told %v", r.err)
					}
				}
			})
		})
	}
}

// S1: unloaded while requests wait, the model is wanted again.
func TestUnloadedWhileRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "draining")
		w := admit(g, t.Context())
		if told := d.heard(); len(told) != 0 {
			t.Errorf("wanted while it drains, it comes back by itself: told %v", told)
		}
		g.Update(view(1, "absent"))
		synctest.Wait()
		if told := d.heard(); len(told) != 1 {
			t.Errorf("told %v", told)
		}
		g.Update(view(2, "ready"))
		r := <-w
		if r.err != nil || r.grant.Position != 1 {
			t.Fatalf("%+v", r)
		}
		r.grant.Release(messages.Outcome{})
		empty(t, g)
	})
}

func TestQueueTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		first, began := must(t, g), time.Now()
		if _, err := g.Admit(t.Context(), "tiny"); messages.CodeOf(err) != messages.BulkheadRejection || time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		first.Release(messages.Outcome{})
		empty(t, g)
	})
}

// A drain admits no request, waits for those that run, and ends them by force or when its time is over.
func TestDrain(t *testing.T) {
	for name, c := range map[string]struct {
		force bool
		after time.Duration
		ended time.Duration
	}{
		"waits":    {false, 5 * time.Second, 0},
		"force":    {true, 5 * time.Second, 1},
		"too long": {false, time.Hour, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(2, "ready")
				grant, began := must(t, g), time.Now()
				go func() {
					select {
					case <-grant.Ended.Done():
						if c.ended == 0 || messages.CodeOf(context.Cause(grant.Ended)) != messages.Unavailable {
							t.Errorf("ended with %v", context.Cause(grant.Ended))
						}
					case <-time.After(c.after):
					}
					grant.Release(messages.Outcome{Err: context.Canceled})
				}()
				synctest.Wait()
				if err := g.Drain(t.Context(), tiny, 1, c.force); err != nil {
					t.Fatal(err)
				}
				want := map[string]time.Duration{"waits": 5 * time.Second, "force": 0, "too long": 30 * time.Second}[name]
				if took := time.Since(began); took != want {
					t.Errorf("drained after %s, want %s", took, want)
				}
				g.Update(view(1, "ready")) // late
				w := admit(g, t.Context())
				if a, q := counts(g); a != 0 || q != 1 {
					t.Errorf("%d run and %d wait at a drained worker", a, q)
				}
				g.Update(view(2, "ready"))
				(<-w).grant.Release(messages.Outcome{})
			})
		})
	}
}

// An open breaker refuses waiting requests as it refuses new ones: no event would wake them later.
func TestBreakerRefusesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(2, "ready")
		a, b := must(t, g), must(t, g)
		w := admit(g, t.Context())
		a.Release(messages.Outcome{Failed: true}) // lets w in
		c := (<-w).grant
		waits := admit(g, t.Context())
		b.Release(messages.Outcome{Failed: true})
		if r := <-waits; messages.CodeOf(r.err) != messages.CircuitBreakerOpen {
			t.Errorf("%+v", r)
		}
		c.Release(messages.Outcome{})
		if r, ok := d.heard()[0].(*messages.ReportBreaker); !ok || r.State != pool.Opened || r.Failures != 2 {
			t.Errorf("told %v", d.heard())
		}
		empty(t, g)
	})
}

func TestHealthSeesStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.o.Figures.QueueTimeout = time.Minute
		g.Refigure()
		ctx, leave := context.WithCancel(t.Context())
		w := admit(g, ctx)
		time.Sleep(15 * time.Second)
		if h := g.Health(); !h.OK || h.OldestUndecided != 15*time.Second {
			t.Errorf("%+v", h)
		}
		time.Sleep(time.Second)
		if h := g.Health(); h.OK || h.OldestUndecided != 16*time.Second {
			t.Errorf("%+v", h)
		}
		g.Update(view(1, "loading"))
		if h := g.Health(); !h.OK {
			t.Errorf("loading is a decision: %+v", h)
		}
		leave()
		<-w
		empty(t, g)
	})
}

// A host that is cut off from others says so, and serves all the same.
func TestHealthTellsOfTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		g.o.Cluster = func() []string { return []string{"pc2 can't be reached"} }
		if h := g.Health(); !h.OK || !slices.Equal(h.Reasons, []string{"pc2 can't be reached"}) {
			t.Errorf("%+v", h)
		}
		empty(t, g)
	})
}

// A request is sent again only before the first byte of an answer, and three times at most; its place is always given back.
func TestRetries(t *testing.T) {
	hidden := messages.NewError(messages.InferenceError, "worker", "cut off")
	for name, c := range map[string]struct {
		errs []error
		runs int
		want messages.Code
	}{
		"at once":      {[]error{nil}, 1, 0},
		"gone once":    {[]error{errBeforeFirstByte, nil}, 2, 0},
		"after a byte": {[]error{hidden}, 1, messages.InferenceError},
		"always gone":  {[]error{errBeforeFirstByte, errBeforeFirstByte, errBeforeFirstByte}, 3, messages.Unavailable},
		"bad question": {[]error{messages.NewError(messages.InvalidArgument, "", "no")}, 1, messages.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := rig(1, "ready")
			runs := 0
			g.o.Runner = runner(func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
				runs++
				return &messages.InferenceResponse{}, c.errs[runs-1]
			})
			_, err := g.Infer(t.Context(), &messages.InferenceRequest{ModelName: "small"}, nil)
			if messages.CodeOf(err) != c.want || runs != c.runs {
				t.Errorf("%d runs, %v", runs, err)
			}
			empty(t, g)
		})
	}
	g, _ := rig(1, "ready")
	g.o.Runner = runner(func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		panic("a bug")
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = g.Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny"}, nil)
	}()
	empty(t, g)
}

// Two hundred callers, leaving, failing and finishing, under drains and new workers: nothing leaks.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(8, "ready")
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				ctx, leave := context.WithTimeout(t.Context(), time.Duration(1+i%7)*time.Second)
				defer leave()
				for range 5 {
					grant, err := g.Admit(ctx, "tiny")
					if err != nil {
						continue
					}
					select {
					case <-grant.Ended.Done():
					case <-time.After(time.Duration(i%5) * 100 * time.Millisecond):
					}
					grant.Release(messages.Outcome{Failed: i%11 == 0, Err: ctx.Err()})
				}
			})
		}
		all.Go(func() {
			for attempt := uint64(1); attempt < 12; attempt++ {
				time.Sleep(400 * time.Millisecond)
				if err := g.Drain(t.Context(), tiny, attempt, attempt%2 == 0); err != nil {
					t.Error(err)
				}
				g.Update(view(attempt+1, "loading"))
				g.Update(view(attempt+1, "ready"))
			}
		})
		all.Wait()
		empty(t, g)
		if l := g.pools["tiny"]; len(l.running) != 0 || len(l.waiters) != 0 || len(l.drains) != 0 {
			t.Errorf("left behind: %d grants, %d waiters, %d drains", len(l.running), len(l.waiters), len(l.drains))
		}
	})
}
