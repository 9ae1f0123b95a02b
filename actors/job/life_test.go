package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// host plays a host whose trainer takes 40 steps, with a checkpoint after every tenth, and whose arbiter grants what it is asked for.
type host struct {
	b      *entitytest.Bench[State]
	at     uint64 // the step at which the present attempt is
	begun  map[uint64]bool
	ended  map[uint64]*messages.JobOutcome
	breaks int    // attempts that are still to be lost after their first checkpoint
	told   uint64 // the step of the last checkpoint that was told
	trace  []string
}

func (h *host) note(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

func (h *host) Start(_ context.Context, l Launch) (*messages.Runner, error) {
	if !h.begun[l.Attempt] {
		h.begun[l.Attempt], h.at = true, l.Resume.GetStep()
		h.note("attempt %d from %d", l.Attempt, h.at)
	}
	return &messages.Runner{Pid: int64(l.Attempt), Nonce: l.Nonce}, nil
}

func (h *host) Find(_ context.Context, r Run) (*messages.Runner, error) {
	if h.begun[r.Attempt] {
		return &messages.Runner{Pid: int64(r.Attempt), Nonce: r.Nonce}, nil
	}
	return nil, nil
}

func (h *host) Follow(_ context.Context, r Run, after uint64) (Next, error) {
	switch {
	case h.told > after:
		return Next{Checkpoint: &messages.Checkpoint{Step: h.told, Path: "x"}}, nil
	case h.ended[r.Attempt] != nil:
		return Next{Outcome: h.ended[r.Attempt]}, nil
	case h.breaks > 0 && h.at > 0:
		h.breaks--
		h.ended[r.Attempt] = &messages.JobOutcome{End: messages.JobOutcome_lost}
		return Next{Outcome: h.ended[r.Attempt]}, nil
	case h.at == 40:
		h.ended[r.Attempt] = &messages.JobOutcome{End: messages.JobOutcome_done, Step: 40}
		return Next{Outcome: h.ended[r.Attempt]}, nil
	}
	h.at = min(h.at+10, 40)
	h.told = h.at
	return Next{Checkpoint: &messages.Checkpoint{Step: h.told, Path: "x"}}, nil
}

func (h *host) Checkpoint(_ context.Context, r Run) error {
	if h.ended[r.Attempt] == nil {
		h.at += 3
		h.told = h.at
	}
	return nil
}

func (h *host) Stop(_ context.Context, r Run, _ time.Duration) error {
	if h.ended[r.Attempt] == nil {
		h.ended[r.Attempt] = &messages.JobOutcome{End: messages.JobOutcome_stopped}
	}
	return nil
}

func (h *host) Remove(context.Context, messages.ActorID) (uint64, error) { return 1, nil }

func (h *host) Tell(context.Context, messages.ActorID, proto.Message) {}

func (h *host) Ask(_ context.Context, _ messages.ActorID, c proto.Message) (messages.Reply, error) {
	switch c := c.(type) {
	case *messages.RequestPlacement:
		_, err := h.b.Do(&messages.PlacementGranted{Placement: placement(c.Claim.Id)})
		return messages.Reply{}, err
	case *messages.ReleaseVram:
		h.note("lease %s back", c.Lease)
	case *messages.CheckLease:
		return messages.Reply{Answer: &messages.LeaseReply{State: messages.LeaseReply_valid}}, nil
	}
	return messages.Reply{}, nil
}

// urgency has what ends an attempt be done before it is followed further: it would be done otherwise before it is stopped.
func urgency(e entity.Effect) string {
	if _, ends := e.(leave); ends {
		return "0"
	}
	return "1"
}

// run does what is owed, one after the other, until a condition holds or nothing is left to do. The state comes from the journal each time, as after a
// crash.
func (h *host) run(t *testing.T, kind entity.Kind[State], until func(State) bool) {
	t.Helper()
	for range 200 {
		if until(h.b.State) {
			return
		}
		did := false
		owed := kind.Owed(h.b.State)
		slices.SortStableFunc(owed, func(a, b entity.Effect) int { return strings.Compare(urgency(a), urgency(b)) })
		for _, e := range owed {
			report, err := kind.Perform(t.Context(), e)
			if err != nil {
				t.Fatalf("%s: %v", e.Key(), err)
			}
			if _, timer := e.(overtime); report == nil || timer {
				continue
			}
			if _, err := h.b.Do(report); err != nil {
				t.Fatalf("%s: %v", e.Key(), err)
			}
			did = true
			break
		}
		if err := h.b.Replayed(len(h.b.Recorded)); err != nil {
			t.Fatal(err)
		}
		if !did && !until(h.b.State) && len(kind.Owed(h.b.State)) == 0 {
			t.Fatalf("it rests as %s: %v", h.b.State.Phase, h.trace)
		}
	}
	t.Fatalf("it goes on for ever as %s, owes %v: %v", h.b.State.Phase, h.b.Owed(), h.trace)
}

// What is owed, what is done for it and what is decided on its reports bring a job to its end: with a loss, a preemption and a pause on the way, each
// attempt begins where the last one was.
func TestAJobFromItsBeginningToItsEnd(t *testing.T) {
	h := &host{begun: map[uint64]bool{}, ended: map[uint64]*messages.JobOutcome{}, breaks: 1}
	kind := Kind(rules, World{Trainer: h, Door: h})
	h.b = entitytest.Drive(kind, tune)
	tell := func(c proto.Message) {
		t.Helper()
		if _, err := h.b.Do(c); err != nil {
			t.Fatal(err)
		}
	}
	at := func(phase Phase, step uint64) func(State) bool {
		return func(s State) bool { return s.Phase == phase && s.step() >= step }
	}
	tell(&messages.SubmitJob{Spec: &messages.JobSpec{Kind: messages.JobSpec_custom, VramBytes: 1, Recipe: &messages.Recipe{Command: []string{"x"}, Checkpoint: "signal"}}})
	h.run(t, kind, at(Running, 20))
	tell(&messages.Preempt{Placement: "p9"})
	h.run(t, kind, at(Running, 30))
	tell(&messages.PauseJob{})
	h.run(t, kind, func(s State) bool { return s.Phase == Paused && len(s.Returning) == 0 })
	tell(&messages.ResumeJob{})
	h.run(t, kind, func(s State) bool { return s.over() && len(s.Returning) == 0 })
	tell(&messages.DeleteJob{})
	h.run(t, kind, func(s State) bool { return s.Removed })
	got := strings.Join(h.trace, ", ")
	const want = "attempt 1 from 0, lease p1 back, attempt 2 from 10, lease p2 back, attempt 3 from 23, lease p3 back, attempt 4 from 36, lease p4 back"
	if got != want || h.b.State.Phase != Completed {
		t.Errorf("%s:\n%s\nwant\n%s", h.b.State.Phase, got, want)
	}
}
