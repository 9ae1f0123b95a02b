package pool

import (
	"testing"
	"time"

	"modelops/messages"
)

const own = "model/main_pc/tiny"

// fails ends an attempt to load, and returns the refusal for those who wait.
func (s *scene) fails(n uint64, e *messages.Error) *messages.Error {
	s.Helper()
	why := messages.AsError(s.is(own, messages.ModelView_failed, attempt(n), func(v *messages.ModelView) { v.Error = e.Body() }))
	if why == nil {
		s.Fatal("a failure refuses nobody")
	}
	return why
}

var noProgram = messages.NewError(messages.NotFound, "", "there is no such program")

// Each failure in a row doubles the pause up to its bound, and who is refused hears when the next try is due. A failure within the pause of the last
// is the same one.
func TestPausesAfterFailures(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	n := uint64(1)
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		want *= time.Second
		n++
		if why := s.fails(n, noProgram); why.Retry != want {
			t.Errorf("failure %d: told to come again in %s, not %s", n, why.Retry, want)
		}
		s.wait(time.Second)
		n++
		if why := s.fails(n, noProgram); why.Retry != want-time.Second {
			t.Errorf("failure %d is the same one: told %s", n, why.Retry)
		}
		if err := messages.AsError(s.Refuses(s.now)); err == nil || err.Retry != want-time.Second {
			t.Errorf("within the pause: %v", err)
		}
		if s.wait(want - time.Second); s.Refuses(s.now) != nil {
			t.Errorf("after %s: %v", want, s.Refuses(s.now))
		}
	}
}

// A model that fits no device is asked for again soon, since others may leave; who is refused isn't told that waiting helps.
func TestPausesWithoutRoom(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	for n := range uint64(4) {
		if why := s.fails(n+2, messages.NewError(messages.GPUUnavailable, "", "it never fits")); why.Retry != 0 || why.Code != messages.GPUUnavailable {
			t.Errorf("%v, in %s", why, why.Retry)
		}
		if err := messages.AsError(s.Refuses(s.now)); err == nil || err.Retry != 0 {
			t.Errorf("within the pause: %v", err)
		}
		if s.wait(firstFailure); s.Refuses(s.now) != nil {
			t.Errorf("failure %d: %v", n, s.Refuses(s.now))
		}
	}
}

// What makes a failure old: a worker on its way or ready, and another declaration. A load by hand waits for the least pause only.
func TestFailuresAreForgotten(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{Revision: "a"})
	s.fails(2, noProgram)
	if err := s.RefusesLoad(s.now); err == nil {
		t.Error("a load by hand tries at once")
	}
	if s.wait(leastFailure); s.RefusesLoad(s.now) != nil || s.Refuses(s.now) == nil {
		t.Errorf("%v, %v", s.RefusesLoad(s.now), s.Refuses(s.now))
	}
	_ = s.is(own, messages.ModelView_loading, attempt(3))
	if err := s.Refuses(s.now); err != nil {
		t.Errorf("a load by hand is under way: %v", err)
	}
	s.fails(3, noProgram)
	if _ = s.is(own, messages.ModelView_failed, func(v *messages.ModelView) { v.Spec = &messages.ModelSpec{Revision: "b"} }); s.Refuses(s.now) != nil {
		t.Errorf("another declaration: %v", s.Refuses(s.now))
	}
	s.fails(4, noProgram)
	s.wait(firstFailure)
	_ = s.is(own, messages.ModelView_ready, attempt(5))
	if why := s.fails(6, noProgram); why.Retry != firstFailure {
		t.Errorf("the first failure after a worker was ready: told %s", why.Retry)
	}
}

// An actor that stays down is no hope for those who wait, whatever its last view says. Another host's is.
func TestAnotherHostStandsIn(t *testing.T) {
	for _, phase := range []messages.ModelView_Phase{messages.ModelView_loading, messages.ModelView_waiting, messages.ModelView_draining, messages.ModelView_asleep, messages.ModelView_falling_asleep} {
		s := newScene(t, &messages.ModelSpec{})
		_ = s.is(own, phase)
		_ = s.is("model/pc2/tiny", messages.ModelView_absent, unwanted, func(v *messages.ModelView) { v.Spec = &messages.ModelSpec{} })
		if err := s.GaveUp(func(id messages.ActorID) bool { return id.String() == own }); err != nil {
			t.Errorf("%s: %v", phase, err)
		}
		if err := s.Refuses(s.now); err != nil {
			t.Errorf("%s: %v", phase, err)
		}
		s.come(1)
		if i := s.Intents(s.now); len(i) != 1 || i[0] != (Seek{Name: "tiny"}) {
			t.Errorf("%s: %v", phase, i)
		}
		if !s.Undecided(s.now, 0) {
			t.Errorf("%s: nothing is decided for the request", phase)
		}
	}
}

// A load by hand ends with an unload; requests still want the model.
func TestAnUnloadEndsLoadsOnly(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is(own, messages.ModelView_absent, unwanted)
	s.come(1)
	s.Want(Request{Ticket: 7, Since: s.now})
	if ended := s.EndWants(s.now); len(ended) != 1 || ended[0] != 7 || s.Waiting() != 1 {
		t.Errorf("ended %v, %d wait", ended, s.Waiting())
	}
}

// A placement or a wake that only loads by hand want is for them; as soon as a request waits it is for that.
func TestWhyAPoolSeeks(t *testing.T) {
	for _, phase := range []messages.ModelView_Phase{messages.ModelView_absent, messages.ModelView_asleep} {
		for _, request := range []bool{false, true} {
			s := newScene(t, &messages.ModelSpec{})
			_ = s.is(own, phase, unwanted)
			s.Want(Request{Ticket: 99, Since: s.now})
			if request {
				_, _ = s.Admit(Request{Ticket: 1, Since: s.now})
			}
			byHand := false
			switch i := s.Intents(s.now)[0].(type) {
			case Seek:
				byHand = i.ByHand
			case Wake:
				byHand = i.ByHand
			}
			if byHand == request {
				t.Errorf("%s, with a request %t: by hand %t", phase, request, byHand)
			}
		}
	}
}

// A refused wake is repeated for the next request at once, and is no reason any more once the worker is on its way.
func TestARefusedWake(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is(own, messages.ModelView_asleep)
	wakes := func() bool {
		i := s.Intents(s.now)
		return len(i) == 1 && i[0] == Intent(Wake{Actor: s.endpoints[0].id})
	}
	for range 2 {
		if s.come(1); !wakes() {
			t.Fatal("it isn't woken")
		}
		s.WakeRefused(messages.NewError(messages.JournalFull, "", "no space"), s.now)
	}
	s.come(1)
	if wakes(); s.Delayed() != nil {
		t.Errorf("%v", s.Delayed())
	}
	s.WakeRefused(messages.NewError(messages.Unavailable, "", "no answer").WithRetry(time.Second), s.now)
	if s.Delayed() == nil {
		t.Error("nothing tells why it isn't awake")
	}
	_ = s.is(own, messages.ModelView_waking)
	if s.Intents(s.now); s.Delayed() != nil {
		t.Errorf("it wakes: %v", s.Delayed())
	}
}

// A wait that isn't known isn't told: when the present requests or loads take longer than those that were measured.
func TestUnknownWaitsAreNotTold(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	s.pass(3, 100*time.Millisecond, answered)
	running := s.come(2)
	if got := s.ExpectedWait(1, s.now); got != 100*time.Millisecond {
		t.Errorf("at first: %s", got)
	}
	if s.wait(time.Second); s.ExpectedWait(1, s.now) != 0 {
		t.Errorf("both run for a second: %s", s.ExpectedWait(1, s.now))
	}
	if got := s.RetryAfter(s.now); got != time.Second {
		t.Errorf("come again in %s", got)
	}
	if s.wait(time.Hour); s.RetryAfter(s.now) != retryLongest {
		t.Errorf("come again in %s", s.RetryAfter(s.now))
	}
	s.end(answered, running...)

	s = newScene(t, &messages.ModelSpec{})
	_ = s.is(own, messages.ModelView_absent, unwanted)
	_ = s.is(own, messages.ModelView_ready, func(v *messages.ModelView) { v.LoadMs = 8000; v.Attempt = 2 })
	_ = s.is(own, messages.ModelView_absent, unwanted)
	s.come(3)
	if one, three := s.ExpectedWait(1, s.now), s.ExpectedWait(3, s.now); one != 8*time.Second || three != 0 {
		t.Errorf("after the load %s; for a second round of requests whose time isn't known %s", one, three)
	}
}

// A question that nobody will answer, because who decides stays down, refuses those who wait; one that may be answered later is asked again.
func TestUnansweredQuestions(t *testing.T) {
	for name, c := range map[string]struct {
		err     *messages.Error
		refuses bool
	}{
		"stays down": {messages.NewError(messages.Unavailable, "arbiter", "it crashed too often and stays down"), true},
		"restarts":   {messages.NewError(messages.Unavailable, "arbiter", "no answer").WithRetry(time.Second), false},
		"no journal": {messages.NewError(messages.JournalUnavailable, "arbiter", "no answer").WithRetry(time.Second), false},
	} {
		s := newScene(t, &messages.ModelSpec{})
		_ = s.is(own, messages.ModelView_absent, unwanted)
		s.come(1)
		s.Intents(s.now)
		refused, why := s.Answered(Unanswered, c.err, s.now)
		if (len(refused) == 1) != c.refuses || c.refuses && messages.CodeOf(why) != messages.Unavailable {
			t.Errorf("%s: refuses %v: %v", name, refused, why)
		}
		if s.failing.why != nil {
			t.Errorf("%s: it says nothing about the model: %v", name, s.failing.why)
		}
	}
}
