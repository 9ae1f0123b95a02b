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

// A request ends within queue_timeout in every phase, with the code of what keeps it from being served.
func TestEveryWaitEnds(t *testing.T) {
	full := func(context.Context) (pool.PlaceAnswer, error) {
		return 0, messages.NewError(messages.JournalUnavailable, "journal", "the store does not answer").WithRetry(time.Second)
	}
	for name, c := range map[string]struct {
		phase  string
		answer func(context.Context) (pool.PlaceAnswer, error)
		code   messages.Code
		says   string
	}{
		"postponed":          {"absent", waits, messages.Unavailable, "placing"},
		"placed for nothing": {"absent", placed, messages.Unavailable, "placing"},
		"without an answer":  {"absent", thinks, messages.Unavailable, "placing"},
		"without a journal":  {"absent", full, messages.JournalUnavailable, "the store does not answer"},
		"placing":            {"placing", waits, messages.Unavailable, "placing"},
		"loading":            {"loading", waits, messages.Unavailable, "loading"},
		"between two tries":  {"waiting", waits, messages.ModelLoadError, "the server refuses connections"},
		"draining":           {"draining", waits, messages.Unavailable, "draining"},
		"asleep":             {"asleep", waits, messages.Unavailable, "asleep"},
		"waking":             {"waking", waits, messages.Unavailable, "waking"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(1, c.phase)
				g.o.Placer = answers(c.answer)
				if c.phase == "waiting" {
					v := view(1, "waiting")
					v.Error = messages.NewError(messages.ModelLoadError, "", "the server refuses connections").Body()
					g.Update(v)
				}
				began := time.Now()
				r := <-admit(g, t.Context())
				if took := time.Since(began); took != 10*time.Second || messages.CodeOf(r.err) != c.code || messages.AsError(r.err).Retry == 0 ||
					!strings.Contains(r.err.Error(), c.says) {
					t.Errorf("after %s: %v", took, r.err)
				}
				empty(t, g)
			})
		})
	}
}

// A load by hand ends too, with what keeps it, when there is no placement for a queue_timeout. What follows a placement has limits of its own.
func TestALoadWithoutAPlacementEnds(t *testing.T) {
	full := func(context.Context) (pool.PlaceAnswer, error) {
		return 0, messages.NewError(messages.JournalUnavailable, "journal", "the store does not answer").WithRetry(time.Second)
	}
	for name, c := range map[string]struct {
		phase  string
		answer func(context.Context) (pool.PlaceAnswer, error)
		code   messages.Code // 0: it goes on
	}{
		"postponed":         {"absent", waits, messages.Unavailable},
		"without a journal": {"absent", full, messages.JournalUnavailable},
		"placing":           {"placing", waits, messages.Unavailable},
		"asleep":            {"asleep", waits, messages.Unavailable},
		"loading":           {"loading", waits, 0},
		"between two tries": {"waiting", waits, 0},
		"draining":          {"draining", waits, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(1, c.phase)
				g.o.Placer = answers(c.answer)
				began := time.Now()
				ctx, leave := context.WithTimeout(t.Context(), time.Minute)
				defer leave()
				err := <-ensure(g, ctx)
				want, code := 10*time.Second, c.code
				if code == 0 {
					want, code = time.Minute, messages.DeadlineExceeded
				}
				if took := time.Since(began); took != want || messages.CodeOf(err) != code {
					t.Errorf("after %s: %v", took, err)
				}
				empty(t, g)
			})
		})
	}
}

// All waits of a request end one queue_timeout after it asked for a place: when it is sent again, and when its canary had no place.
func TestARequestHasOneQueueTimeout(t *testing.T) {
	for name, c := range map[string]func(*Gateway) error{
		"sent again": func(g *Gateway) error {
			g.o.Runner = runner(func(context.Context, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
				time.Sleep(6 * time.Second)
				g.Update(view(2, "loading"))
				return nil, errBeforeFirstByte
			})
			_, err := g.Infer(context.Background(), &messages.InferenceRequest{ModelName: "tiny"}, nil)
			return err
		},
		"admitted again": func(g *Gateway) error {
			ctx := messages.WithCaller(context.Background(), messages.Caller{Asked: time.Now()})
			grant, err := g.Admit(ctx, "tiny")
			if err != nil {
				return err
			}
			time.Sleep(6 * time.Second)
			g.Update(view(2, "loading"))
			grant.Release(messages.Outcome{Failed: true, Unreachable: true})
			_, err = g.Admit(ctx, "tiny")
			return err
		},
		"its canary is full": func(g *Gateway) error {
			g.Update(worker("new", 1, "ready"))
			for _, name := range []string{"new", "tiny"} {
				if grant, err := g.Admit(context.Background(), name); err == nil {
					defer grant.Release(messages.Outcome{})
				}
			}
			g.SetRoutes([]*messages.Route{{Name: "tiny", To: "tiny", Canary: "new", SharePct: 100, Swap: "s1"}})
			_, err := g.Admit(context.Background(), "tiny")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(1, "ready")
				g.o.Placer = answers(waits)
				began := time.Now()
				if err := c(g); err == nil || time.Since(began).Truncate(time.Second) != 10*time.Second {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
			})
		})
	}
}

// Requests for a model that can't start try once, and are refused by its last error afterwards: a try writes about ten events.
func TestFailingRequestsTryOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		p := answers(placed)
		g.o.Placer = p
		attempt, began := uint64(1), time.Now()
		fails := func() {
			attempt++
			v := view(attempt, "failed")
			v.Error = messages.NewError(messages.NotFound, "", "there is no such program").Body()
			g.Update(v)
		}
		for range 102 {
			w := admit(g, t.Context())
			if synctest.Wait(); len(g.Queue().Requests) > 0 {
				fails()
			}
			r := <-w
			if messages.CodeOf(r.err) != messages.ModelLoadError || !strings.Contains(r.err.Error(), "no such program") {
				t.Fatal(r.err)
			}
			if next := messages.AsError(r.err).Retry; next <= 0 || next > 4*time.Second || len(p.asked) == 1 && next != 2*time.Second-time.Since(began) {
				t.Fatalf("after %s: told to come again in %s, when it is not tried", time.Since(began), next)
			}
			time.Sleep(35 * time.Millisecond)
		}
		if asked, _, _ := p.seen(); !slices.Equal(asked, []time.Duration{0, 2030 * time.Millisecond}) {
			t.Errorf("placed at %v", asked)
		}
		if r := <-admit(g, t.Context()); messages.AsError(r.err).Retry < 2*time.Second {
			t.Errorf("told to come again in %s: the pause has doubled", messages.AsError(r.err).Retry)
		}
		time.Sleep(time.Second)
		load := ensure(g, t.Context())
		if synctest.Wait(); len(p.asked) != 3 {
			t.Error("a load by hand doesn't try within the pause of requests")
		}
		fails()
		if err := <-load; messages.CodeOf(err) != messages.ModelLoadError {
			t.Error(err)
		}
		g.Update(view(attempt, "absent")) // unloaded by hand
		w := admit(g, t.Context())
		if synctest.Wait(); len(p.asked) != 4 {
			t.Error("a request after an unload isn't tried")
		}
		g.Update(view(attempt+1, "ready"))
		(<-w).grant.Release(messages.Outcome{})
		empty(t, g)
	})
}

// An actor's refusal to wake its worker reaches the requests that wait, with its code.
func TestRefusedWakeReachesTheWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "asleep")
		d.refuses = messages.NewError(messages.JournalFull, "journal", "no space is left").WithRetry(5 * time.Second)
		if r := <-admit(g, t.Context()); messages.CodeOf(r.err) != messages.JournalFull {
			t.Error(r.err)
		}
		d.refuses = messages.NewError(messages.Unavailable, "model/main_pc/tiny", "no answer").WithRetry(time.Second)
		began := time.Now()
		if r := <-admit(g, t.Context()); messages.CodeOf(r.err) != messages.Unavailable || time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v: an actor that doesn't answer yet is asked again", time.Since(began), r.err)
		}
		empty(t, g)
	})
}

// Requests for a model whose actor stays down are refused at once, whatever its last view says, and health names the actor.
func TestAnActorThatStaysDownRefuses(t *testing.T) {
	for _, phase := range []string{"absent", "loading", "waiting", "asleep", "draining"} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := rig(1, phase)
			g.o.Placer = answers(waits)
			w := admit(g, t.Context())
			synctest.Wait()
			began := time.Now()
			g.SetGaveUp([]string{"model/main_pc/tiny"})
			for range 2 {
				if r := <-w; messages.CodeOf(r.err) != messages.Unavailable || time.Since(began) != 0 || !strings.Contains(r.err.Error(), "RestartActor") {
					t.Errorf("%s: after %s: %v", phase, time.Since(began), r.err)
				}
				w = admit(g, t.Context())
			}
			<-w
			if err := <-ensure(g, t.Context()); messages.CodeOf(err) != messages.Unavailable {
				t.Errorf("%s: a load: %v", phase, err)
			}
			if h := g.Health(); h.OK || !strings.Contains(h.Reasons[0], "model/main_pc/tiny") {
				t.Errorf("%s: %+v", phase, h)
			}
			g.SetGaveUp(nil)
			g.Update(view(2, "ready"))
			must(t, g).Release(messages.Outcome{})
			if h := g.Health(); !h.OK {
				t.Errorf("%s: %+v", phase, h)
			}
			empty(t, g)
		})
	}
}

// The same holds for a view that comes after the actor was known to be down, as at a start of the host.
func TestAViewOfAnActorThatStaysDownRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.o.Placer = answers(waits)
		g.SetGaveUp([]string{"model/main_pc/late"})
		g.Update(worker("late", 1, "loading"))
		began := time.Now()
		if _, err := g.Admit(t.Context(), "late"); messages.CodeOf(err) != messages.Unavailable || time.Since(began) != 0 {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		empty(t, g)
	})
}

// Health says which error keeps a request from a decision.
func TestHealthSaysWhyNothingIsDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.o.Figures.QueueTimeout = time.Hour
		g.Refigure()
		g.o.Placer = answers(func(context.Context) (pool.PlaceAnswer, error) {
			return 0, messages.NewError(messages.JournalUnavailable, "journal", "the store does not answer").WithRetry(time.Second)
		})
		ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
		defer leave()
		w := admit(g, ctx)
		time.Sleep(16 * time.Second)
		if h := g.Health(); h.OK || !strings.Contains(h.Reasons[0], "the store does not answer") {
			t.Errorf("%+v", h)
		}
		<-w
		empty(t, g)
	})
}

// An actor that doesn't answer holds no question for longer than its bound: synctest finds what is left of it.
func TestAWakeWithoutAnAnswerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "asleep")
		d.mute = true
		if r := <-admit(g, t.Context()); messages.CodeOf(r.err) != messages.Unavailable || !strings.Contains(r.err.Error(), "no answer") {
			t.Error(r.err)
		}
		empty(t, g)
	})
}

// A worker that serves goes on when its actor stays down.
func TestAWorkerServesWithoutItsActor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		g.SetGaveUp([]string{"model/main_pc/tiny"})
		must(t, g).Release(messages.Outcome{})
		empty(t, g)
	})
}

// A load that has no place yet ends when somebody unloads the model.
func TestAnUnloadEndsALoadWithoutAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.o.Placer = answers(waits)
		load := ensure(g, t.Context())
		time.Sleep(time.Second)
		g.EndLoads("tiny")
		if err := <-load; messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), "unloaded meanwhile") {
			t.Error(err)
		}
		empty(t, g)
	})
}

// A placement that is postponed within queue.max_wait, or whose victims drain, is no stall; one beyond it is.
func TestHealthBearsAPostponedPlacement(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(context.Context) (pool.PlaceAnswer, error)
		good   time.Duration
	}{"postponed": {waits, 40 * time.Second}, "victims leave": {placed, 100 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(1, "absent")
				g.o.Figures.QueueTimeout = time.Hour
				g.o.HostFigures = func() HostFigures { return HostFigures{MaxWait: 40 * time.Second, DrainTimeout: time.Minute} }
				g.Refigure()
				g.o.Placer = answers(c.answer)
				ctx, leave := context.WithCancel(t.Context())
				w := admit(g, ctx)
				time.Sleep(c.good)
				if h := g.Health(); !h.OK {
					t.Errorf("%+v", h)
				}
				time.Sleep(time.Second)
				if h := g.Health(); h.OK || !strings.Contains(h.Reasons[0], "tiny") {
					t.Errorf("%+v", h)
				}
				leave()
				<-w
				empty(t, g)
			})
		})
	}
}

func ensure(g *Gateway, ctx context.Context) chan error {
	out := make(chan error, 1)
	go func() { out <- g.Ensure(ctx, "tiny", time.Time{}) }()
	return out
}
