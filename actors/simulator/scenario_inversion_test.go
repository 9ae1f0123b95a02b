package simulator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/job"
	"modelops/messages"
)

// S24: training of low priority holds the device, and what goes first waits.

// tuning is training on a card of its own, which is never asked to leave.
func tuning(steps uint64) (Options, *messages.JobSpec) {
	o := oneCard(plain("chat", 16))
	o.Jobs = Traffic{Steps: steps}
	return o, &messages.JobSpec{Kind: messages.JobSpec_custom, VramBytes: 20 * messages.GiB, Unpreemptible: true,
		Recipe: &messages.Recipe{Name: "sim", Command: []string{"train"}, Checkpoint: "signal", GraceSeconds: 5}}
}

// counting counts events that are stored.
func counting(o *Options) map[string]int {
	seen := map[string]int{}
	o.Stored = func(a entity.Append, _ uint64) {
		for _, e := range a.Events {
			seen[name(e)]++
		}
	}
	return seen
}

func TestS24AnInversionIsToldOnceAndEnds(t *testing.T) {
	o, spec := tuning(40)
	seen := counting(&o)
	s := onStage(t, o)
	m := s.submit(spec)
	s.until("it trains", time.Minute, func() bool { return m.state.Phase == job.Running })
	chat := s.call("chat", time.Second)
	s.until("the inversion is told", s.o.MaxWait+3*time.Second, func() bool { return s.arbiter.state.Inversions["model/*/chat"] != nil })
	i := s.arbiter.state.Inversions["model/*/chat"]
	if got := strings.Join(i.Chain, " -> "); !strings.Contains(got, "1 requests -> model/*/chat needs") || !strings.Contains(got, "-> lease ") || !strings.HasSuffix(got, m.id.String()+" is never asked to leave") || i.Taken {
		t.Errorf("%v", i)
	}
	s.ended(chat, 2*time.Minute)
	if chat.code != 0 || m.state.Phase != job.Completed || m.state.Preemptions > 0 {
		t.Errorf("the request got %s, the job is %s after %d preemptions", chat.code, m.state.Phase, m.state.Preemptions)
	}
	if len(s.arbiter.state.Inversions) > 0 || seen["InversionFound"] != 1 || seen["InversionEnded"] != 1 {
		t.Errorf("it lasts: %v; events %v", s.arbiter.state.Inversions, seen)
	}
	s.rests()
}

func TestS24TheRemedyOfAnInversion(t *testing.T) {
	o, spec := tuning(100)
	o.Learning.Invert = true
	seen := counting(&o)
	s := onStage(t, o)
	m := s.submit(spec)
	s.until("it trains", time.Minute, func() bool { return m.state.Phase == job.Running })
	s.until("it has trained for a while", time.Minute, func() bool { return m.state.Checkpoint.GetStep() >= 10 })
	chat := s.call("chat", time.Second)
	s.ended(chat, s.o.MaxWait+s.turn()+jobGrace)
	if chat.code != 0 || m.state.Preemptions != 1 || m.state.Checkpoint.GetStep() < 10 {
		t.Errorf("the request got %s; the job left %d times, at step %d", chat.code, m.state.Preemptions, m.state.Checkpoint.GetStep())
	}
	s.until("the job comes back and ends", 10*time.Minute, func() bool { return m.state.Phase == job.Completed })
	if m.state.Preemptions != 1 || len(s.arbiter.state.Inversions) > 0 || seen["InversionFound"] != 1 || seen["InversionEnded"] != 1 {
		t.Errorf("it left %d times; inversions %v, events %v", m.state.Preemptions, s.arbiter.state.Inversions, seen)
	}
	s.rests()
}

// stubborn is a world of one card in which jobs are never asked to leave and take long, and nothing goes wrong.
func stubborn(seed uint64) Options {
	o := oneCard(plain("a", 12), plain("b", 16))
	o.Seed, o.Rate, o.Collation = seed, 0.1, 100*time.Millisecond
	o.Jobs = Traffic{Rate: 0.05, Most: 5, Fixed: 1, Steps: 40}
	return o
}

func TestWorldsWithInversionsComeToRest(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		o := stubborn(seed)
		o.Learning.Invert = seed%2 == 0
		w := New(o)
		if err := w.Run(t.Context(), 4000); err != nil {
			t.Fatal(err)
		}
		if err := w.Calm(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnInversionThatIsNotToldIsFound(t *testing.T) {
	hides := func(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
		right := k.Decide
		k.Decide = func(s arbiter.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
			v, err := right(s, c, at)
			for i, e := range v.Events {
				if _, ok := e.(*messages.InversionFound); ok {
					v.Events = append(v.Events[:i:i], v.Events[i+1:]...)
					break
				}
			}
			return v, err
		}
		return k
	}
	v := find(t, stubborn, Plants{Arbiter: hides})
	if v == nil || !strings.Contains(v.What, "inversion unseen") {
		t.Fatalf("%v", v)
	}
	t.Logf("seed %d, step %d: %s", v.Seed, v.Step, v.What)
}
