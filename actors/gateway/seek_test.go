package gateway

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// desk is a placer that answers from a list and then repeats the last answer. It notes when and for which name it was asked.
type desk struct {
	mu      sync.Mutex
	began   time.Time
	answers []func(context.Context) (pool.PlaceAnswer, error)
	asked   []time.Duration
	causes  []string
	now     int // calls that run
}

func answers(a ...func(context.Context) (pool.PlaceAnswer, error)) *desk {
	return &desk{began: time.Now(), answers: a}
}

func waits(context.Context) (pool.PlaceAnswer, error)  { return pool.Waits, nil }
func placed(context.Context) (pool.PlaceAnswer, error) { return pool.Placed, nil }
func refuses(code messages.Code) func(context.Context) (pool.PlaceAnswer, error) {
	return func(context.Context) (pool.PlaceAnswer, error) {
		return 0, messages.NewError(code, "", "there is no device")
	}
}

// thinks answers when ctx ends.
func thinks(ctx context.Context) (pool.PlaceAnswer, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// seen is when and for whom it was asked, and how many questions are open.
func (p *desk) seen() (asked []time.Duration, causes []string, open int) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked), slices.Clone(p.causes), p.now
}

func (p *desk) Place(ctx context.Context, _ pool.Seek) (pool.PlaceAnswer, error) {
	p.mu.Lock()
	p.asked, p.causes = append(p.asked, time.Since(p.began)), append(p.causes, messages.MetaFrom(ctx).Correlation)
	answer := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	if p.now++; p.now > 1 {
		panic("asked twice at a time")
	}
	p.mu.Unlock()
	a, err := answer(ctx)
	p.mu.Lock()
	p.now--
	p.mu.Unlock()
	return a, err
}

// While there is no place the gateway asks again after growing pauses; the record says for which request.
func TestSeekWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		p := answers(waits, waits, waits, placed)
		g.o.Placer = p
		first := admit(g, messages.WithMeta(t.Context(), messages.Meta{Correlation: "r1"}))
		second := admit(g, messages.WithMeta(t.Context(), messages.Meta{Correlation: "r2"}))
		time.Sleep(40 * time.Millisecond)
		asked, causes, _ := p.seen()
		if want := []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 35 * time.Millisecond}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v", asked)
		}
		if !slices.Equal(causes, []string{"r1", "r1", "r1", "r1"}) {
			t.Errorf("because of %v", causes)
		}
		g.Update(view(1, "loading"))
		g.Update(view(1, "ready"))
		(<-first).grant.Release(messages.Outcome{})
		(<-second).grant.Release(messages.Outcome{})
		empty(t, g)
	})
}

// A placement of which no view comes may have been refused or given up: it is asked for again.
func TestSeekAgainWhileNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		p := answers(placed)
		g.o.Placer = p
		ctx, leave := context.WithCancel(t.Context())
		w := admit(g, ctx)
		time.Sleep(time.Second)
		asked, _, _ := p.seen()
		if want := []time.Duration{0, 25 * time.Millisecond, 75 * time.Millisecond, 175 * time.Millisecond, 375 * time.Millisecond, 625 * time.Millisecond,
			875 * time.Millisecond}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v", asked)
		}
		leave()
		<-w
	})
}

// A refusal reaches waiting requests and loads by hand alike.
func TestSeekRefused(t *testing.T) {
	for code, want := range map[messages.Code]messages.Code{messages.GPUUnavailable: messages.GPUUnavailable, messages.ModelNotFound: messages.ModelNotFound,
		messages.InvalidArgument: messages.ModelLoadError} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := rig(1, "absent")
			g.o.Placer = answers(waits, refuses(code))
			w := admit(g, t.Context())
			if err := g.Ensure(t.Context(), "small", time.Time{}); messages.CodeOf(err) != want {
				t.Errorf("%s: %v", code, err)
			}
			if r := <-w; messages.CodeOf(r.err) != want {
				t.Errorf("%s: %v", code, r.err)
			}
			empty(t, g)
		})
	}
}

// The question is cancelled when no request and no want is left; a new request asks again.
func TestSeekEndsWithInterest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		p := answers(thinks, thinks, placed)
		g.o.Placer = p
		for range 2 {
			ctx, leave := context.WithCancel(t.Context())
			w := admit(g, ctx)
			time.Sleep(time.Minute)
			leave()
			<-w
			if _, _, open := p.seen(); open != 0 {
				t.Error("the question goes on")
			}
		}
		w := admit(g, t.Context())
		g.Update(view(1, "ready"))
		(<-w).grant.Release(messages.Outcome{})
		if asked, _, _ := p.seen(); len(asked) != 3 {
			t.Errorf("asked at %v", asked)
		}
	})
}

// A load by hand returns when an endpoint is ready, and takes no place; it can be cancelled.
func TestEnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "absent")
		if err := g.Ensure(t.Context(), "other", time.Time{}); messages.CodeOf(err) != messages.ModelNotFound {
			t.Error(err)
		}
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if err := g.Ensure(ctx, "tiny", time.Time{}); messages.CodeOf(err) != messages.DeadlineExceeded {
			t.Error(err)
		}
		asked := len(d.heard())
		done := make(chan error, 1)
		go func() { done <- g.Ensure(t.Context(), "tiny", time.Time{}) }()
		synctest.Wait()
		if told := d.whom(&messages.EnsureModel{}); len(told) != asked+1 {
			t.Errorf("told %v", told)
		}
		g.Update(view(1, "ready"))
		if err := <-done; err != nil {
			t.Error(err)
		}
		empty(t, g)
		if err := g.Ensure(t.Context(), "tiny", time.Time{}); err != nil {
			t.Error(err)
		}
		g.Update(view(1, "asleep"))
		go func() { done <- g.Ensure(t.Context(), "tiny", time.Time{}) }()
		synctest.Wait()
		if told := d.whom(&messages.EnsureModel{}); len(told) != asked+2 || told[asked+1] != "model/main_pc/tiny" {
			t.Errorf("told %v", told)
		}
		failed := view(2, "failed")
		g.Update(failed)
		if err := <-done; messages.CodeOf(err) != messages.ModelLoadError {
			t.Error(err)
		}
	})
}

// An unload that comes later ends the loads by hand that wait; waiting requests still want the model.
func TestUnloadEndsLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		done := make(chan error, 1)
		go func() { done <- g.Ensure(t.Context(), "tiny", time.Time{}) }()
		request := admit(g, t.Context())
		synctest.Wait()
		g.Update(view(1, "loading"))
		g.Update(view(1, "absent"))
		if err := <-done; messages.CodeOf(err) != messages.Unavailable {
			t.Errorf("the load ended with %v", err)
		}
		g.Update(view(2, "loading"))
		g.Update(view(2, "ready"))
		a := <-request
		if a.err != nil {
			t.Fatal(a.err)
		}
		a.grant.Release(messages.Outcome{})
		empty(t, g)
	})
}
