package pool

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// scene is a pool in which time passes only where a test says so.
type scene struct {
	*testing.T
	*Pool
	now  time.Time
	next uint64
}

// newScene has one worker that is ready, runs two requests at a time, and is wanted.
func newScene(t *testing.T, spec *messages.ModelSpec) *scene {
	f := Figures{Limits: Limits{2, 20}, FailureThreshold: 100, ResetTimeout: 20 * time.Second}
	s := &scene{t, New("tiny", "main_pc", f, nil), entitytest.Epoch, 0}
	s.is("model/main_pc/tiny", messages.ModelView_ready, func(v *messages.ModelView) { v.Spec = spec })
	return s
}

// is tells the pool of a worker's phase. What else a view says stays as it was, unless it is changed.
func (s *scene) is(id string, phase messages.ModelView_Phase, change ...func(*messages.ModelView)) error {
	actor, _ := messages.ParseActorID(id)
	v := &messages.ModelView{Id: id, Name: actor.Name(), Attempt: 1, Wanted: true}
	if e := s.Endpoint(actor); e != nil {
		v = proto.CloneOf(e.View())
	}
	v.Phase = phase
	for _, f := range change {
		f(v)
	}
	return s.Update(v, s.now)
}

func replicas(n uint32) func(*messages.ModelView) {
	return func(v *messages.ModelView) { v.Replicas = n }
}

func (s *scene) wait(d time.Duration) { s.now = s.now.Add(d) }

// come lets requests come, and returns their tickets.
func (s *scene) come(n int) (out []uint64) {
	for range n {
		s.next++
		if _, err := s.Admit(Request{Ticket: s.next, Class: 0, Since: s.now}); err != nil {
			s.Fatal(err)
		}
		out = append(out, s.next)
	}
	return out
}

func (s *scene) end(o messages.Outcome, tickets ...uint64) {
	for _, ticket := range tickets {
		s.Finish(ticket, o, s.now)
	}
	s.Dispatch(s.now)
}

var (
	answered = messages.Outcome{}
	broken   = messages.Outcome{Failed: true, Err: messages.NewError(messages.Unavailable, "", "no connection")}
	gone     = messages.Outcome{Err: messages.NewError(messages.Cancelled, "", "the caller left")}
	invalid  = messages.Outcome{Err: messages.NewError(messages.InvalidArgument, "", "no such parameter")}
)

// pass lets requests run one after the other.
func (s *scene) pass(n int, took time.Duration, o messages.Outcome) {
	for range n {
		ticket := s.come(1)
		s.wait(took)
		s.end(o, ticket...)
	}
}

// hints are those of a sweep: command, actor, and what counts of the command.
func (s *scene) hints() string {
	var out []string
	for _, h := range s.Sweep(s.now, false) {
		said := fmt.Sprintf("%s %s", h.Command.ProtoReflect().Descriptor().Name(), h.To)
		switch c := h.Command.(type) {
		case *messages.ScaleModel:
			said += fmt.Sprintf(" %d", c.Replicas)
		case *messages.ReplaceWorker:
			said += " " + c.Replica
		}
		out = append(out, said)
	}
	return strings.Join(out, ", ")
}

// sweeps sweeps as often as the gateway does for a time, and returns the hints.
func (s *scene) sweeps(d time.Duration) string {
	var out []string
	for until := s.now.Add(d); s.now.Before(until); s.wait(SweepEvery) {
		if h := s.hints(); h != "" {
			out = append(out, h)
		}
	}
	return strings.Join(slices.Compact(out), ", ")
}

func (s *scene) expect(when, got, want string) {
	s.Helper()
	if got != want {
		s.Errorf("%s: %q, want %q", when, got, want)
	}
}

func millis(d time.Duration) *int64 { n := d.Milliseconds(); return &n }

func TestIdleModelsAreUnloaded(t *testing.T) {
	const unload = "UnloadModel model/main_pc/tiny"
	second, never := time.Second, -time.Second
	for name, c := range map[string]struct {
		spec *messages.ModelSpec
		play func(*scene)
		want string
	}{
		"its time is over":           {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) { s.wait(time.Minute) }, unload},
		"its time isn't over":        {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) { s.wait(time.Minute - time.Millisecond) }, ""},
		"it is pinned":               {&messages.ModelSpec{IdleMs: millis(time.Minute), Pinned: true}, func(s *scene) { s.wait(time.Hour) }, ""},
		"it has no time":             {&messages.ModelSpec{}, func(s *scene) { s.wait(time.Hour) }, ""},
		"the last request says less": {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) { s.Keep(&second); s.wait(time.Second) }, unload},
		"the last request keeps it":  {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) { s.Keep(&never); s.wait(time.Hour) }, ""},
		"a request runs":             {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) { s.come(1); s.wait(time.Hour) }, ""},
		"its time begins anew":       {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) { s.wait(time.Hour); s.pass(1, time.Second, answered) }, ""},
		"no time, and no request":    {&messages.ModelSpec{IdleMs: millis(0)}, func(s *scene) { s.wait(time.Hour) }, ""},
		"no time, and one request":   {&messages.ModelSpec{IdleMs: millis(0)}, func(s *scene) { s.pass(1, time.Second, answered) }, unload},
		"it sleeps": {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) {
			_ = s.is("model/main_pc/tiny", messages.ModelView_asleep)
			s.wait(time.Minute)
		}, unload},
		"it is absent, and another host's is ready": {&messages.ModelSpec{IdleMs: millis(time.Minute)}, func(s *scene) {
			_ = s.is("model/pc2/tiny", messages.ModelView_ready)
			_ = s.is("model/main_pc/tiny", messages.ModelView_absent)
			s.wait(time.Minute)
		}, ""},
	} {
		s := newScene(t, c.spec)
		c.play(s)
		s.expect(name, s.hints(), c.want)
		if stays := s.Sweep(s.now, true); len(stays) > 0 {
			t.Errorf("%s: %v although it is to stay", name, stays)
		}
	}
}

func TestAWorkerIsToldToSleepOnceForAnIdleTime(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{SleepMs: millis(time.Minute)})
	s.expect("it isn't idle for long", s.sweeps(time.Minute), "")
	s.expect("it is", s.hints(), "SleepModel model/main_pc/tiny")
	s.expect("it was told", s.sweeps(time.Hour), "")
	s.pass(1, time.Second, answered)
	s.expect("a request came since", s.sweeps(time.Minute+time.Second), "SleepModel model/main_pc/tiny")
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, func(v *messages.ModelView) { v.Attempt = 2 })
	s.expect("another worker is told too", s.hints(), "SleepModel model/main_pc/tiny")
}

func TestWithoutATimeToSleepAWorkerStaysAwake(t *testing.T) {
	for _, ms := range []*int64{nil, millis(0), millis(-time.Millisecond)} {
		s := newScene(t, &messages.ModelSpec{SleepMs: ms})
		s.expect("idle for an hour", s.sweeps(time.Hour), "")
	}
}

// A failed worker's model is asked to try again once a minute, and only while others serve: else the requests ask.
func TestAFailedModelIsRevivedWhileOthersServe(t *testing.T) {
	const revive = "EnsureModel model/main_pc/tiny"
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny", messages.ModelView_failed)
	s.expect("no endpoint serves", s.sweeps(time.Hour), "")
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready)
	s.expect("for less than a minute", s.sweeps(time.Minute-SweepEvery), "")
	s.wait(SweepEvery)
	s.expect("for a minute", s.hints(), revive)
	s.expect("it was asked", s.sweeps(time.Minute-SweepEvery), "")
}

// Stage directions of TestDegradedWorkersAreReplaced.
func ofTwenty(failed int) func(*scene) {
	return func(s *scene) {
		s.pass(20-failed, time.Second, answered)
		s.pass(failed, time.Second, broken)
	}
}

func opened(probes int) func(*scene) {
	return func(s *scene) {
		s.Configure(Figures{Limits: s.figures.Limits, FailureThreshold: 2, ResetTimeout: time.Minute})
		s.pass(2, time.Second, broken)
		for range probes {
			s.wait(time.Minute)
			s.pass(1, time.Second, broken)
		}
	}
}

func slower(samples int, usual, now time.Duration) func(*scene) {
	return func(s *scene) {
		s.pass(samples, usual, answered)
		s.pass(20, now, answered)
	}
}

// larger has one caller whose requests have so many bytes and take so long, after many of 1000 bytes and a second.
func larger(bytes int64, now time.Duration) func(*scene) {
	return func(s *scene) {
		s.pass(32, time.Second, messages.Outcome{Bytes: 1000})
		s.pass(20, now, messages.Outcome{Bytes: bytes})
	}
}

// stuck has more requests than the worker can run, of which none ends, a time after the last end.
func stuck(rest, since time.Duration) func(*scene) {
	return func(s *scene) {
		s.pass(1, time.Second, answered)
		s.wait(rest)
		s.come(3)
		s.wait(since)
	}
}

func TestDegradedWorkersAreReplaced(t *testing.T) {
	const replace = "ReplaceWorker model/main_pc/tiny tiny"
	for name, c := range map[string]struct {
		play func(*scene)
		want string
	}{
		"8 of 20 failed":                         {ofTwenty(8), replace},
		"7 of 20 failed":                         {ofTwenty(7), ""},
		"8 failed, and no other came":            {func(s *scene) { s.pass(8, time.Second, broken) }, ""},
		"8 of 20 failed, and then nonsense":      {func(s *scene) { ofTwenty(8)(s); s.pass(15, time.Second, invalid) }, replace},
		"8 of 20 failed at the worker before":    {func(s *scene) { ofTwenty(8)(s); s.another() }, ""},
		"8 of 20 failed, and it drains":          {func(s *scene) { ofTwenty(8)(s); s.Close(s.endpoints[0].id, 1, s.now) }, ""},
		"8 of 20 failed, and one is replaced":    {func(s *scene) { ofTwenty(8)(s); _ = s.is("model/pc2/tiny", messages.ModelView_ready, replacing) }, ""},
		"two probes failed":                      {opened(2), replace},
		"one probe failed":                       {opened(1), ""},
		"two probes failed at the one before":    {func(s *scene) { opened(2)(s); s.another() }, ""},
		"ten times slower":                       {slower(32, time.Second, 10*time.Second), replace},
		"four times slower":                      {slower(32, time.Second, 4*time.Second), ""},
		"ten times slower, and quick":            {slower(32, 100*time.Millisecond, time.Second), ""},
		"ten times slower, ten times larger":     {larger(10_000, 10*time.Second), ""},
		"forty times slower, sixty times larger": {larger(60_000, 40*time.Second), ""},
		"ten times slower, a little larger":      {larger(1100, 12*time.Second), replace},
		"ten times slower, smaller": {func(s *scene) {
			s.pass(32, time.Second, messages.Outcome{Bytes: 9000})
			s.pass(20, 10*time.Second, messages.Outcome{Bytes: 10})
		}, replace},
		"slower than it was a few times":        {slower(10, time.Second, 10*time.Second), ""},
		"three callers gave up":                 {func(s *scene) { s.pass(1, time.Second, answered); s.pass(3, 10*time.Second, gone) }, replace},
		"three callers at once gave up":         {func(s *scene) { s.pass(1, time.Second, answered); s.crowd(3, 10*time.Second) }, replace},
		"three callers had no patience":         {func(s *scene) { s.pass(1, time.Second, answered); s.pass(3, 9*time.Second, gone) }, ""},
		"three callers gave up within a moment": {func(s *scene) { s.pass(1, 50*time.Millisecond, answered); s.pass(3, time.Second, gone) }, ""},
		"the third had an answer": {func(s *scene) {
			s.pass(1, time.Second, answered)
			s.pass(2, 10*time.Second, gone)
			s.pass(1, time.Second, answered)
			s.pass(1, 10*time.Second, gone)
		}, ""},
		"nothing ends":                   {stuck(0, 11*time.Minute), replace},
		"nothing ends for a while":       {stuck(0, 9*time.Minute), ""},
		"nothing ends that began lately": {stuck(time.Hour, time.Minute), ""},
	} {
		s := newScene(t, &messages.ModelSpec{})
		c.play(s)
		s.expect(name, s.hints(), c.want)
	}
}

// another worker takes the place of the first.
func (s *scene) another() {
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, func(v *messages.ModelView) { v.Attempt = 2 })
}

func replacing(v *messages.ModelView) { v.Replacing = "tiny~2" }

// crowd has callers who come at once and give up at once; the pool runs as many.
func (s *scene) crowd(n int, patience time.Duration) {
	s.Configure(Figures{Limits: Limits{n, n}, FailureThreshold: 100})
	tickets := s.come(n)
	s.wait(patience)
	s.end(gone, tickets...)
}

// Each replacement costs a load, and the fault may be the model's: one at a time, one in a minute. A replica's is its base's to decide.
func TestOneWorkerIsReplacedAtATime(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{})
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready)
	for range 20 { // both run one
		tickets := s.come(2)
		s.wait(time.Second)
		s.end(broken, tickets...)
	}
	s.expect("both are degraded", s.hints(), "ReplaceWorker model/main_pc/tiny tiny")
	s.expect("within the minute", s.sweeps(time.Minute-time.Second), "")
	_ = s.is("model/main_pc/tiny", messages.ModelView_draining)
	s.wait(time.Second)
	s.expect("after it", s.hints(), "ReplaceWorker model/main_pc/tiny tiny~2")
}

func TestReplicasFollowTheLoad(t *testing.T) {
	const first = "ScaleModel model/main_pc/tiny "
	upTo := func(least, most uint32) *messages.ModelSpec {
		return &messages.ModelSpec{MinReplicas: least, MaxReplicas: most}
	}
	two := func(s *scene) {
		_ = s.is("model/main_pc/tiny", messages.ModelView_ready, replicas(2))
		_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready)
	}
	for name, c := range map[string]struct {
		spec *messages.ModelSpec
		play func(*scene)
		over time.Duration
		want string
	}{
		"none is needed":               {upTo(0, 3), func(*scene) {}, time.Hour, ""},
		"five want two places":         {upTo(0, 3), func(s *scene) { s.come(5) }, 2 * time.Second, first + "3"},
		"five want them for a moment":  {upTo(0, 3), func(s *scene) { s.come(5) }, time.Second, ""},
		"twelve want two places":       {upTo(0, 3), func(s *scene) { s.come(12) }, 2 * time.Second, first + "3"},
		"one more than there is room":  {upTo(0, 3), func(s *scene) { s.come(3) }, 2 * time.Second, first + "2"},
		"it isn't wanted any more":     {upTo(0, 3), func(s *scene) { s.come(5); _ = s.is("model/main_pc/tiny", messages.ModelView_ready, unwanted) }, time.Minute, ""},
		"it may have one only":         {upTo(0, 1), func(s *scene) { s.come(5) }, time.Minute, ""},
		"the declaration wants two":    {upTo(2, 3), func(*scene) {}, time.Second, first + "2"},
		"another one is on its way":    {upTo(0, 3), func(s *scene) { two(s); _ = s.is("model/main_pc/tiny~2", messages.ModelView_loading); s.come(8) }, time.Minute, ""},
		"another one sleeps":           {upTo(0, 2), func(s *scene) { two(s); _ = s.is("model/main_pc/tiny~2", messages.ModelView_asleep); s.come(8) }, 2 * time.Second, first + "2"},
		"another one is gone":          {upTo(0, 3), func(s *scene) { two(s); s.come(3); _ = s.is("model/main_pc/tiny~2", messages.ModelView_failed) }, SweepEvery, first + "2"},
		"two, and nothing to do":       {upTo(0, 3), two, time.Minute + SweepEvery, first + "1"},
		"two, for less than a minute":  {upTo(0, 3), two, time.Minute, ""},
		"two as declared":              {upTo(2, 3), two, time.Hour, ""},
		"one would do, but not easily": {upTo(0, 3), func(s *scene) { two(s); s.come(2) }, time.Hour, ""},
		"asked, and nothing came of it": {upTo(0, 3), func(s *scene) {
			s.come(5)
			s.sweeps(2 * time.Second)
		}, 9 * time.Second, ""},
		"what another host runs is done": {upTo(0, 3), func(s *scene) {
			_ = s.is("model/pc2/tiny", messages.ModelView_ready, func(v *messages.ModelView) { v.Spec = upTo(0, 3) })
			s.come(6)
		}, 2 * time.Second, first + "2"},
	} {
		s := newScene(t, c.spec)
		c.play(s)
		s.expect(name, s.sweeps(c.over), c.want)
	}
}

func unwanted(v *messages.ModelView) { v.Wanted = false }

// Requests that come and go between two sweeps are load too: three a second of a second each keep three places busy.
func TestReplicasStayForWhatComesAndGoes(t *testing.T) {
	s := newScene(t, &messages.ModelSpec{MaxReplicas: 3})
	_ = s.is("model/main_pc/tiny", messages.ModelView_ready, replicas(2))
	_ = s.is("model/main_pc/tiny~2", messages.ModelView_ready)
	for range 10 * 60 {
		tickets := s.come(3)
		s.wait(time.Second)
		s.end(answered, tickets...)
		if h := s.hints(); h != "" && s.now.Sub(entitytest.Epoch) > time.Minute {
			t.Fatalf("%s after %s", h, s.now.Sub(entitytest.Epoch))
		}
	}
}
