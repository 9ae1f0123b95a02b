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

// pinnedFor is the arbiter's refusal while a pin lasts; 0 = for good.
func pinnedFor(d time.Duration) func(context.Context) (pool.PlaceAnswer, error) {
	began := time.Now()
	return func(context.Context) (pool.PlaceAnswer, error) {
		left := time.Duration(0)
		if d > 0 {
			left = d - time.Since(began)
		}
		return 0, messages.NewError(messages.FailedPrecondition, "model/main_pc/tiny", "pinned models leave it no place: model/main_pc/a pinned by alice").WithRetry(left).WithHint("modelops unpin a ends its pin")
	}
}

// Who can't wait until the pins end is refused at once, with the reason: requests and loads by queue_timeout (10 s) or their
// own deadline.
func TestPinsRefuseWhoCannotWait(t *testing.T) {
	for name, c := range map[string]struct {
		pinned time.Duration
		own    time.Duration // the request's deadline; 0 = none
		load   time.Duration
		waits  bool
		loads  bool
	}{
		"for good":               {pinned: 0},
		"longer than both":       {pinned: time.Minute},
		"shorter than both":      {pinned: 5 * time.Second, waits: true, loads: true},
		"longer than a deadline": {pinned: 5 * time.Second, own: 2 * time.Second, load: 2 * time.Second},
		"a load's own deadline":  {pinned: 5 * time.Second, load: 2 * time.Second, waits: true},
		"a long deadline":        {pinned: time.Minute, own: 2 * time.Minute, load: 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := rig(1, "absent")
			g.o.Placer = answers(pinnedFor(c.pinned))
			ctx, cancel := context.Background(), func() {}
			if c.own > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.own)
			}
			defer cancel()
			var until time.Time
			if c.load > 0 {
				until = time.Now().Add(c.load)
			}
			began := time.Now()
			load, leave := context.WithCancel(t.Context())
			loaded := make(chan error, 1)
			go func() { loaded <- g.Ensure(load, "tiny", until) }()
			asked := admit(g, ctx)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			check := func(who string, waits bool, refused func() error) {
				if waits != (refused == nil) {
					t.Errorf("%s: the %s waits: %t", name, who, refused == nil)
				} else if !waits && (messages.CodeOf(refused()) != messages.FailedPrecondition || !strings.Contains(refused().Error(), "alice")) {
					t.Errorf("%s: the %s: %v", name, who, refused())
				}
			}
			var refused, refusedLoad func() error
			select {
			case r := <-asked:
				refused = func() error { return r.err }
			default:
			}
			select {
			case err := <-loaded:
				refusedLoad = func() error { return err }
			default:
			}
			check("request", c.waits, refused)
			check("load", c.loads, refusedLoad)
			if seeks := len(g.Seeking()); seeks > 0 {
				t.Errorf("%s: what waits for pins stands in the way of others", name)
			}
			leave()
			if refused == nil {
				<-asked
			}
			if refusedLoad == nil {
				<-loaded
			}
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("%s: took %s", name, took)
			}
			empty(t, g)
		})
	}
}

// A refusal isn't remembered: a pin may be ended at any time, and the next request has its place then.
func TestAPinThatEndedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.o.Placer = answers(pinnedFor(0), placed)
		if r := <-admit(g, t.Context()); messages.CodeOf(r.err) != messages.FailedPrecondition {
			t.Fatal(r.err)
		}
		again := admit(g, t.Context())
		g.Update(view(1, "loading"))
		g.Update(view(1, "ready"))
		r := <-again
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.grant.Release(messages.Outcome{})
	})
}

// A model that seeks its own place, such as one that is preloaded, doesn't hold its requests up while pins hold that place.
func TestPinsRefuseRequestsOfAModelThatIsPlacing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "placing")
		g.o.Placer = answers(pinnedFor(0))
		began := time.Now()
		if r := <-admit(g, t.Context()); messages.CodeOf(r.err) != messages.FailedPrecondition || time.Since(began) > 100*time.Millisecond {
			t.Errorf("%v after %s", r.err, time.Since(began))
		}
		g.o.Placer = answers(placed)
		w := admit(g, t.Context())
		time.Sleep(time.Second)
		g.Update(view(1, "loading"))
		g.Update(view(1, "ready"))
		(<-w).grant.Release(messages.Outcome{})
		empty(t, g)
	})
}

// Who has a key for some models only isn't told which others are pinned, and by whom.
func TestPinsOfOthersStayUnnamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.o.Placer = answers(pinnedFor(time.Minute))
		ctx := as(t.Context(), "k", messages.Role_OPERATE, "tiny")
		_, refused := g.Admit(ctx, "tiny")
		for who, err := range map[string]error{"request": refused, "load": g.Ensure(ctx, "tiny", time.Time{})} {
			e := messages.AsError(err)
			if messages.CodeOf(err) != messages.FailedPrecondition || strings.Contains(err.Error(), "alice") || strings.Contains(err.Error(), "/a") || e.Retry == 0 {
				t.Errorf("%s: %v", who, err)
			}
		}
	})
}
