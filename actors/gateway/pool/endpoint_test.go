package pool

import (
	"slices"
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func attempt(n uint64) func(*messages.ModelView) {
	return func(v *messages.ModelView) { v.Attempt = n }
}

func undeclared(v *messages.ModelView) { v.Spec = nil }

func (s *scene) ids() (out []string) {
	for _, e := range s.Endpoints() {
		out = append(out, e.ID().String())
	}
	return out
}

// This host's workers come first, each model's own before its replicas, which are in order of their numbers.
func TestEndpointsAreInOrder(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	for _, id := range []string{"model/pc2/tiny~2", "model/main_pc/tiny~10", "model/a_pc/tiny", "model/main_pc/tiny~9", "model/pc2/tiny"} {
		_ = s.is(id, messages.ModelView_ready)
	}
	want := []string{"model/main_pc/tiny", "model/main_pc/tiny~9", "model/main_pc/tiny~10", "model/a_pc/tiny", "model/pc2/tiny", "model/pc2/tiny~2"}
	if got := s.ids(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A replica's endpoint goes with its declaration, once its last request has ended.
func TestARemovedReplicaLeavesNoEndpoint(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready, func(v *messages.ModelView) { v.Spec = &messages.ModelSpec{} })
	tickets := s.come(2)
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_absent, undeclared)
	if len(s.ids()) != 2 {
		t.Fatal("its request still runs there")
	}
	s.end(answered, tickets...)
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_absent, undeclared)
	if got := s.ids(); !slices.Equal(got, []string{"model/main_pc/tiny"}) {
		t.Errorf("left over: %v", got)
	}
}

// A replica that fails, or isn't declared, refuses no request: the model's own worker may still come.
func TestOnlyTheModelItselfRefuses(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny", messages.ModelView_absent, unwanted)
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_loading)
	s.come(1)
	if err := s.is("model/main_pc/tiny~2", messages.ModelView_failed, unwanted); err != nil || s.Waiting() != 1 {
		t.Errorf("the replica's failure refuses: %v", err)
	}
	if len(s.Intents(s.now)) != 1 {
		t.Error("nothing is on its way, and nothing is sought")
	}
	if err := s.is("model/main_pc/tiny", messages.ModelView_failed, func(v *messages.ModelView) { v.Wanted = true }); err == nil {
		t.Error("the model failed, and nothing else is on its way")
	}
	_, _ = s.Answered(Unanswered, nil, s.now)
	s.RefuseAll(s.now)
	s.wait(firstFailure)
	if len(s.come(1)) != 1 || len(s.Intents(s.now)) != 1 {
		t.Error("a failed model comes back only when it is sought, although it says that it is wanted")
	}
	// The declaration is the model's own, whatever its replicas say.
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready, func(v *messages.ModelView) { v.Spec = &messages.ModelSpec{} })
	if err := s.is("model/main_pc/tiny", messages.ModelView_absent, undeclared); messages.CodeOf(err) != messages.ModelNotFound {
		t.Errorf("withdrawn, and not refused: %v", err)
	}
}

// A drained attempt gets no more requests, whatever comes late; it may have them again after it slept.
func TestADrainedAttemptStaysClosed(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	own := s.endpoints[0]
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, attempt(2))
	s.Close(own.id, 2, s.now)
	s.Close(own.id, 1, s.now)
	if _ = s.is("model/main_pc/tiny", messages.ModelView_ready, attempt(2)); own.Ready() {
		t.Error("a stale view, after a drain that was told late, makes it ready")
	}
	_ = s.is("model/main_pc/tiny", messages.ModelView_asleep)
	if _ = s.is("model/main_pc/tiny", messages.ModelView_ready); !own.Ready() {
		t.Error("it slept since, and is awake again with the same worker")
	}
}

// Another worker has a closed breaker.
func TestABreakerIsItsWorkers(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	opened(0)(s)
	if _, err := s.Admit(Request{Ticket: 99, Class: 0, Since: s.now}); messages.CodeOf(err) != messages.CircuitBreakerOpen {
		t.Fatalf("%v", err)
	}
	s.another()
	if state, failures := s.endpoints[0].Breaker(s.now); state != Closed || failures != 0 {
		t.Errorf("%s after %d failures that the worker before had", state, failures)
	}
}

// A caller that was let in before the breaker opened, and leaves, frees no place for a second probe.
func TestOnlyTheProbeEndsTheProbe(t *testing.T) {
	b := &breaker{threshold: 1, reset: time.Second}
	now := entitytest.Epoch
	b.enter(1)
	b.enter(2)
	b.record(1, true, now)
	now = now.Add(time.Second)
	b.enter(3)
	b.forgive(2)
	if ok, _ := b.allows(now); ok {
		t.Error("a second probe is let in beside the first")
	}
}

// Of several open breakers the caller hears of the one that lets a probe in first.
func TestARefusalTellsOfTheNextProbe(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	s.Configure(Figures{Limits: s.figures.Limits, FailureThreshold: 1, ResetTimeout: time.Minute})
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready)
	tickets := s.come(2)
	s.end(broken, tickets[0])
	s.wait(20 * time.Second)
	s.end(broken, tickets[1])
	if _, err := s.Admit(Request{Ticket: 99, Class: 0, Since: s.now}); messages.AsError(err).Retry != 40*time.Second {
		t.Errorf("%v", err)
	}
}

func TestExpectedWaits(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{ConcurrencyLimit: 8})
	if s.places() != 2 {
		t.Fatalf("%d places: a declaration may lower the bound, not raise it", s.places())
	}
	for _, c := range []struct {
		position int
		want     time.Duration
	}{{1, 4 * time.Second}, {2, 4 * time.Second}, {3, 8 * time.Second}, {4, 8 * time.Second}, {5, 12 * time.Second}} {
		if s.recent == 0 {
			s.pass(3, 4*time.Second, answered)
		}
		if got := s.ExpectedWait(c.position, s.now); got != c.want {
			t.Errorf("at place %d of two places for 4 s each: %s, want %s", c.position, got, c.want)
		}
	}
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready)
	if got := s.ExpectedWait(3, s.now); got != 4*time.Second {
		t.Errorf("at place 3 of four: %s", got)
	}
}

// Before the first load the model's own figure counts, after that how long requests have really waited.
func TestExpectedWaitsForALoad(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny", messages.ModelView_absent, unwanted)
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, func(v *messages.ModelView) { v.LoadMs = 8000; v.Attempt = 2 })
	_ = s.is("model/main_pc/tiny", messages.ModelView_absent, unwanted)
	ticket := s.come(1)
	s.expect("as long as the last load", s.ExpectedWait(1, s.now).String(), "8s")
	s.wait(3 * time.Second)
	s.expect("less what has passed", s.ExpectedWait(1, s.now).String(), "5s")
	s.wait(13 * time.Second)
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, attempt(3))
	s.Dispatch(s.now)
	s.end(answered, ticket...)
	_ = s.is("model/main_pc/tiny", messages.ModelView_absent, unwanted)
	waits := s.come(1)
	s.expect("16 s count for an eighth", s.ExpectedWait(1, s.now).String(), "9s")
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, attempt(4))
	s.Dispatch(s.now)
	s.come(2)
	s.Close(s.endpoints[0].id, 4, s.now)
	s.wait(4 * time.Second)
	s.expect("since the drain began", s.ExpectedWait(1, s.now).String(), (time.Duration(s.cold) - 4*time.Second).String())
	s.end(answered, waits...)
}

func TestPausesBetweenQuestionsAreBounded(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny", messages.ModelView_absent, unwanted)
	s.Want(Request{Ticket: 1, Since: s.now})
	var pauses []time.Duration
	for range 8 {
		if i := s.Intents(s.now); len(i) != 1 || i[0].(Seek).Waited != s.now.Sub(entitytest.Epoch) {
			t.Fatalf("%v: the want is as old as the scene", i)
		}
		_, _ = s.Answered(Waits, nil, s.now)
		pause, _ := s.SeekAfter(s.now)
		pauses = append(pauses, pause/time.Millisecond)
		s.wait(pause)
	}
	if want := []time.Duration{5, 10, 20, 40, 80, 160, 250, 250}; !slices.Equal(pauses, want) {
		t.Errorf("%v ms, want %v", pauses, want)
	}
	s.Intents(s.now)
	_, _ = s.Answered(Waits, nil, s.now)
	s.Unwant(1, s.now)
	if s.come(1); len(s.Intents(s.now)) != 1 {
		t.Error("a new request waits for the pause of a want that is over")
	}
}

// A refusal that comes after a view of an endpoint on its way is old: the requests wait for that endpoint.
func TestALateRefusalIsForgotten(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny", messages.ModelView_absent, unwanted)
	s.come(1)
	s.Intents(s.now)
	_ = s.is("model/pc2/tiny", messages.ModelView_loading)
	if refused, why := s.Answered(Unanswered, messages.NewError(messages.GPUUnavailable, "", "full"), s.now); why != nil || s.Waiting() != 1 {
		t.Errorf("refuses %v: %v", refused, why)
	}
}

func TestWhatARequestWaitsFor(t *testing.T) {
	for _, c := range []struct {
		phase     messages.ModelView_Phase
		running   bool
		waits     string
		undecided bool
	}{
		{messages.ModelView_absent, false, "placing", true},
		{messages.ModelView_placing, false, "placing", true},
		{messages.ModelView_loading, false, "loading", false},
		{messages.ModelView_falling_asleep, false, "falling_asleep", false},
		{messages.ModelView_asleep, false, "asleep", false},
		{messages.ModelView_ready, false, "a place", true},
		{messages.ModelView_ready, true, "a place", false},
	} {
		s := newScene(t, &messages.ModelSpec{})
		if c.running {
			s.come(1)
		}
		_ = s.is("model/main_pc/tiny", c.phase, func(v *messages.ModelView) { v.Wanted = c.phase != messages.ModelView_absent })
		if s.WaitsFor() != c.waits || s.Undecided(s.now, 0) != c.undecided {
			t.Errorf("%s: waits for %s, undecided %t", c.phase, s.WaitsFor(), s.Undecided(s.now, 0))
		}
	}
}

// A pause that is over is followed by a Seek: a gateway that waits for it otherwise waits for no time, again and again.
func TestNoPauseIsCountedWhereNoSeekFollows(t *testing.T) {
	for name, comes := range map[string]func(*scene){
		"the breaker of a worker that is back is open": func(s *scene) {
			_ = s.is("model/main_pc/tiny~2", messages.ModelView_loading)
			s.Reach("pc2", true, s.now)
		},
		"a worker that is back sleeps": func(s *scene) {
			_ = s.is("model/pc2/tiny", messages.ModelView_asleep)
			s.Reach("pc2", true, s.now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{t, New("tiny", "main_pc", Figures{Limits: Limits{2, 20}, FailureThreshold: 2, ResetTimeout: 20 * time.Second, Apart: true}, nil), entitytest.Epoch, 0}
			_ = s.is("model/main_pc/tiny", messages.ModelView_absent, func(v *messages.ModelView) { v.Spec, v.Wanted = &messages.ModelSpec{}, false })
			_ = s.is("model/pc2/tiny", messages.ModelView_ready)
			s.pass(2, time.Millisecond, messages.Outcome{Failed: true, Err: messages.NewError(messages.Internal, "", "broken")})
			s.Reach("pc2", false, s.now)
			s.come(1)
			s.Intents(s.now)
			_, _ = s.Answered(Waits, nil, s.now)
			if pause, ok := s.SeekAfter(s.now); !ok || pause == 0 {
				t.Fatalf("%v %v: it waits for a place", pause, ok)
			}
			comes(s)
			s.wait(longestPause)
			s.Intents(s.now)
			if pause, ok := s.SeekAfter(s.now); ok && pause == 0 && len(s.Intents(s.now)) == 0 {
				t.Error("its pause is over, and no Seek follows")
			}
		})
	}
}

// The end of a move that found no room ends no load by hand, unlike an unload.
func TestAMoveThatFindsNoRoomIsNoUnload(t *testing.T) {
	for _, moves := range []bool{false, true} {
		s := newScene(t, &messages.ModelSpec{})
		free := func(v *messages.ModelView) { v.FreeOnly = moves }
		_ = s.is("model/main_pc/tiny", messages.ModelView_placing, attempt(1), free)
		s.Want(Request{Ticket: 1, Since: s.now})
		_ = s.is("model/main_pc/tiny", messages.ModelView_absent, attempt(1), unwanted)
		if ended := s.EndedWants(); (len(ended) == 0) != moves {
			t.Errorf("it moves: %t, and the loads %v end", moves, ended)
		}
	}
}
