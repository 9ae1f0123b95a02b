package job

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

type machine = entitytest.Bench[State]

func placement(claim string) *messages.Placement {
	id := "p" + claim
	return &messages.Placement{Id: id, Holder: tune.String(), Claim: claim, Host: "main_pc", DeviceKind: "cuda",
		Shares: []*messages.Share{{Gpu: "gpu/main_pc/gpu0", Bytes: 1 << 30, Lease: id, Epoch: 7}}}
}

// success is what reports that owed work went well; nil where nothing is to be told.
func success(e entity.Effect) proto.Message {
	switch e := e.(type) {
	case place: // the arbiter brings the placement
		return &messages.PlacementGranted{Placement: placement(claimOf(e.Attempt))}
	case start:
		return &messages.ReportJobStarted{Attempt: e.Attempt, Runner: &messages.Runner{Pid: 7, Nonce: e.Nonce}}
	case follow:
		return &messages.ReportJobEnded{Attempt: e.Attempt, Outcome: &messages.JobOutcome{End: messages.JobOutcome_done}}
	case find:
		return &messages.ReportJobEnded{Attempt: e.Attempt, Outcome: &messages.JobOutcome{End: messages.JobOutcome_stopped, Reason: NeverBegun}}
	case leave, ask, verify, overtime: // the end comes from follow, and the leases hold
		return nil
	case giveBack:
		return &messages.ReportJobLeaseReturned{Placement: e.Placement.Id}
	case retry:
		return &messages.RetryStart{Attempt: e.Attempt}
	case remove:
		return &messages.ReportJobFilesRemoved{Bytes: 1}
	}
	panic(fmt.Sprintf("no success for %T", e))
}

// anyCommand draws orders and reports, of this attempt and of older and never begun ones.
func anyCommand(t *rapid.T, s State) proto.Message {
	attempt := s.Attempt
	if rapid.IntRange(0, 3).Draw(t, "stale") == 0 {
		attempt = rapid.Uint64Range(0, s.Attempt+2).Draw(t, "attempt")
	}
	failure := &messages.ErrorBody{Code: "JOB_FAILED", Message: "no"}
	switch rapid.IntRange(0, 31).Draw(t, "command") {
	case 0:
		return &messages.SubmitJob{Spec: anySpec(t)}
	case 1:
		return &messages.CancelJob{Reason: "not wanted"}
	case 2, 3:
		return &messages.PauseJob{Reason: "later"}
	case 4, 5, 6:
		return &messages.ResumeJob{}
	case 7:
		return &messages.CheckpointJob{}
	case 8:
		return &messages.StopJob{Attempt: attempt, Cause: rapid.SampledFrom([]messages.StopCause{messages.StopCause_stop_window, messages.StopCause_stop_drained,
			messages.StopCause_stop_overtime, messages.StopCause_stop_cancelled}).Draw(t, "cause")}
	case 9:
		return &messages.DeleteJob{}
	case 10:
		return &messages.ReportJobFilesRemoved{}
	case 11:
		return &messages.PlacementGranted{Placement: placement(claimOf(attempt))}
	case 12:
		return &messages.PlacementGranted{Placement: nonsense(t, placement(claimOf(attempt)))}
	case 13:
		return &messages.ReportJobPlacementFailed{Attempt: rapid.SampledFrom([]uint64{0, attempt}).Draw(t, "failed"), Error: failure}
	case 14, 15, 16:
		return &messages.Preempt{Placement: fmt.Sprintf("for%d", rapid.IntRange(0, 3).Draw(t, "for")), PreemptedFor: "model/main_pc/big"}
	case 17:
		return &messages.Reinstate{Placement: fmt.Sprintf("for%d", rapid.IntRange(0, 3).Draw(t, "for"))}
	case 18:
		return &messages.ReportJobLeaseLost{Attempt: attempt, Lease: s.Placement.GetId(), Epoch: rapid.Uint64Range(6, 7).Draw(t, "epoch"), Reason: "gone"}
	case 19:
		return &messages.ReportJobLeaseReturned{Placement: "p" + claimOf(attempt)}
	case 20:
		return &messages.QueryHolding{Lease: "p" + claimOf(attempt)}
	case 21:
		return &messages.ReportJobStarted{Attempt: attempt, Runner: &messages.Runner{Pid: 7}}
	case 22:
		return &messages.ReportJobStartFailed{Attempt: attempt, Error: failure, Retriable: rapid.Bool().Draw(t, "retriable")}
	case 23, 24, 25:
		return &messages.ReportCheckpoint{Attempt: attempt, Checkpoint: &messages.Checkpoint{Step: rapid.Uint64Range(0, 9).Draw(t, "step"), Path: "x"}}
	case 26, 27, 28, 29:
		return &messages.ReportJobEnded{Attempt: attempt, Outcome: anyOutcome(t)}
	case 30:
		return &messages.ReportJobEnded{Attempt: attempt}
	}
	return &messages.RetryStart{Attempt: attempt}
}

func anyOutcome(t *rapid.T) *messages.JobOutcome {
	return &messages.JobOutcome{End: messages.JobOutcome_End(rapid.Int32Range(0, 5).Draw(t, "end")), Retriable: rapid.Bool().Draw(t, "retriable"),
		OutOfMemory: rapid.Bool().Draw(t, "oom"), Metrics: map[string]float64{"loss": rapid.SampledFrom([]float64{0.5, math.NaN(), math.Inf(1)}).Draw(t, "loss")}, RanMs: rapid.Int64Range(0, 1000).Draw(t, "ran")}
}

func anySpec(t *rapid.T) *messages.JobSpec {
	spec := &messages.JobSpec{Kind: messages.JobSpec_fine_tune, VramBytes: 1 << 30, Recipe: &messages.Recipe{Command: []string{"train"},
		Checkpoint: rapid.SampledFrom([]string{"", "signal"}).Draw(t, "checkpoint"), WallSeconds: rapid.SampledFrom([]uint32{0, 600}).Draw(t, "wall"),
		Retries: rapid.Uint32Range(0, 3).Draw(t, "retries")}}
	if rapid.Bool().Draw(t, "smaller") {
		spec.Recipe.Smaller = map[string]string{"batch": "1"}
	}
	return spec
}

// nonsense is a placement that no job may take.
func nonsense(t *rapid.T, p *messages.Placement) *messages.Placement {
	switch rapid.IntRange(0, 4).Draw(t, "nonsense") {
	case 0:
		p.Holder = "job/pc2/tune"
	case 1:
		p.Host = "pc2"
	case 2:
		p.Shares[0].Gpu = "no device"
	case 3:
		p.Shares = nil
	case 4:
		p.Shares[0].Lease = ""
	}
	return p
}

// wild is a job after any commands and reports in any order, checked at every step.
func wild(t *rapid.T) *machine {
	m := fresh()
	_, _ = m.Do(&messages.SubmitJob{Spec: anySpec(t)})
	for range rapid.IntRange(0, 80).Draw(t, "steps") {
		m.Wait(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
		c := anyCommand(t, m.State)
		if owed := m.Kind.Owed(m.State); len(owed) > 0 && rapid.Bool().Draw(t, "goes on") { // without it a walk would seldom get far
			w := rapid.SampledFrom(owed).Draw(t, "work")
			if _, ends := w.(follow); !ends && success(w) != nil {
				c = success(w)
			}
		}
		step(t, m, c)
	}
	return m
}

// step gives a command, and checks what holds after it.
func step(t *rapid.T, m *machine, c proto.Message) {
	was := m.State
	v, err := m.Do(c)
	after := fmt.Sprintf("%T in %s gave %v, %v", c, was.Phase, v.Events, err)
	if of := c.ProtoReflect().Descriptor().Fields().ByName("attempt"); of != nil && c.ProtoReflect().Get(of).Uint() != was.Attempt && len(v.Events) > 0 {
		t.Fatalf("a report of another attempt than %d is taken: %s", was.Attempt, after)
	}
	sound(t, m, after)
	follows(t, was, m.State, c, err, after)
	if _, room := c.(*messages.Preempt); room || err != nil {
		return // says how far it is
	}
	if again, _ := m.Do(c); len(again.Events) > 0 {
		t.Fatalf("%T told twice in %s happened twice: %v and %v", c, was.Phase, v.Events, again.Events)
	}
}

// legal are the phases that may follow a phase, by one command.
var legal = map[Phase][]Phase{
	Unsubmitted:   {Pending},
	Pending:       {Reserved, Paused, Failed, Cancelled},
	Reserved:      {Running, Checkpointing, Pending, Failed},
	Running:       {Checkpointing, Pending, Completed, Failed},
	Checkpointing: {Preempted, Paused, Completed, Failed, Cancelled},
	Preempted:     {Reserved, Paused, Failed, Cancelled},
	Paused:        {Pending, Cancelled},
}

// follows is what holds from one state to the next.
func follows(t *rapid.T, was, is State, c proto.Message, err error, after string) {
	_, cancels := c.(*messages.CancelJob)
	report, _ := c.(*messages.ReportJobEnded)
	done := err == nil && report.GetOutcome().GetEnd() == messages.JobOutcome_done
	orderly := was.Phase == Checkpointing && was.Stop.Cause == messages.StopCause_stop_cancelled
	for what, broken := range map[string]bool{
		"an illegal transition":                            was.Phase != is.Phase && !slices.Contains(legal[was.Phase], is.Phase),
		"another end than before":                          was.over() && was.Phase != is.Phase,
		"steps that don't grow":                            is.step() < was.step(),
		"attempts that don't grow":                         is.Attempt < was.Attempt,
		"time that runs backwards":                         is.DeviceMS < was.DeviceMS || is.RanMS < was.RanMS,
		"a cancel that is lost":                            cancels && err == nil && !is.over() && !(is.Phase == Checkpointing && is.Stop.Cause == messages.StopCause_stop_cancelled),
		"a cancel that is taken back":                      orderly && !is.over() && !(is.Phase == Checkpointing && is.Stop.Cause == messages.StopCause_stop_cancelled),
		"a cancelled job that ended otherwise":             orderly && is.over() && is.Phase != Cancelled && is.Phase != Completed,
		"completed without an outcome that says so":        was.Phase != Completed && is.Phase == Completed && !done,
		"a lost lease, and the attempt goes on":            is.LostLease != "" && is.Phase != Checkpointing,
		"a lease that is forgotten":                        was.Placement != nil && is.Placement == nil && len(is.Returning) != len(was.Returning)+1,
		"more failures than may pass":                      is.Failures > int(max(is.Spec.GetRecipe().GetRetries(), 2)),
		"the smaller setting given up":                     was.Smaller && !is.Smaller,
		"an attempt in place of another, under its number": was.resident() && is.seeks() && was.Attempt == is.Attempt,
	} {
		if broken {
			t.Fatalf("%s, after %s: %+v became %+v", what, after, was, is)
		}
	}
}

// sound is what holds in every state.
func sound(t *rapid.T, m *machine, after string) {
	s, owed := m.State, m.Owed()
	lease := s.Placement.GetId() // each placement here has one lease, of its own name
	has := func(prefix string) bool {
		return slices.ContainsFunc(owed, func(k string) bool { return strings.HasPrefix(k, prefix) })
	}
	for what, broken := range map[string]bool{
		"resident without placement and nonce":             s.resident() && (lease == "" || s.Nonce == ""),
		"running without a runner":                         s.Phase == Running && s.Runner == nil,
		"a placement or processes although it holds none":  !s.resident() && (s.Placement != nil || s.Runner != nil || s.Nonce != "" || s.BeganMS != 0),
		"placed while an old lease is out":                 has("place/") && len(s.Returning) > 0,
		"resident while an old lease is out":               s.resident() && len(s.Returning) > 0,
		"an old lease that isn't returned":                 len(s.Returning) > 0 && !has("return/"),
		"a job that is forgotten":                          s.waits() && !has("place/") && !has("retry/") && !has("return/"),
		"seeks memory without a time":                      s.seeks() != (s.WaitingMS != 0),
		"a paused job that goes on":                        s.Phase == Paused && (has("place/") || has("start/") || has("retry/") || has("follow/")),
		"an ended job that goes on":                        s.over() && (has("place/") || has("start/") || has("retry/") || has("follow/")),
		"an attempt whose lease is being returned":         slices.ContainsFunc(s.Returning, func(p *messages.Placement) bool { return p.Id == lease }),
		"an attempt whose leases aren't verified":          s.resident() && s.LostLease == "" && !has("verify/"),
		"an attempt that nobody follows":                   s.resident() && s.Runner != nil && !has("follow/"),
		"an attempt on its way out that nobody stops":      s.Phase == Checkpointing && !has("checkpoint/") && !has("stop/") && !has("kill/") && !has("find/"),
		"without its memory and not ended at once":         s.LostLease != "" && (has("checkpoint/") || has("stop/")),
		"a placement of another host":                      s.Placement != nil && (s.Placement.Holder != tune.String() || s.Placement.Host != "main_pc"),
		"deleted although it hasn't ended":                 s.Deleted && !s.over(),
		"files of a deleted job that stay":                 s.Deleted && !s.Removed && !has("remove"),
		"files removed although the job isn't deleted":     s.Removed && !s.Deleted,
		"a view with another phase, or a stop without one": !shown(s),
	} {
		if broken {
			t.Fatalf("%s, after %s: %+v owes %v", what, after, s, owed)
		}
	}
	ends := 0
	for _, r := range m.Recorded {
		for _, e := range r.Events {
			switch e.(type) {
			case *messages.JobCompleted, *messages.JobFailed, *messages.JobCancelled:
				ends++
			case *messages.JobLeaseReturned, *messages.JobDeleted, *messages.JobFilesRemoved:
			default:
				if ends > 0 {
					t.Fatalf("%T after the job's end, after %s", e, after)
				}
			}
		}
	}
	if ends > 1 {
		t.Fatalf("%d ends, after %s", ends, after)
	}
}

func shown(s State) bool {
	v := View(s).(*messages.JobView)
	return v.Phase == s.Phase && (v.Stopping != 0) == (s.Phase == Checkpointing)
}

func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		if err := m.Replayed(rapid.IntRange(0, len(m.Recorded)).Draw(t, "snapshot")); err != nil {
			t.Fatal(err)
		}
	})
}

// Once the world works, owed work alone brings every job to its end, without another command, and all memory back. A paused one rests until it is
// resumed; one that was cancelled is cancelled, unless it was done.
func TestLiveOnceCalm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		from := m.State
		for range 40 {
			work := slices.DeleteFunc(m.Kind.Owed(m.State), func(e entity.Effect) bool { return success(e) == nil })
			if len(work) == 0 {
				break
			}
			c := success(rapid.SampledFrom(work).Draw(t, "work"))
			if ended, ok := c.(*messages.ReportJobEnded); ok && m.State.Phase == Checkpointing && rapid.Bool().Draw(t, "is stopped") {
				ended.Outcome.End = messages.JobOutcome_stopped
			}
			if _, err := m.Do(c); err != nil {
				t.Fatalf("%T was refused: %v", c, err)
			}
			sound(t, m, "calm")
		}
		s := m.State
		if !s.over() && s.Phase != Paused || len(s.Returning) > 0 || s.Deleted != s.Removed {
			t.Fatalf("from %s to %s, leases out %v, owed %v", from.Phase, s.Phase, s.Returning, m.Owed())
		}
	})
}

// Each attempt begins at the last acknowledged checkpoint, with all that was reserved for it and the setting that it is to use.
func TestAttemptsGoOnWhereTheLastOneWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		var acknowledged *messages.Checkpoint
		s := New(tune)
		for _, r := range m.Recorded {
			for _, e := range r.Events {
				s = Evolve(s, e, r.Sequence)
				if c, ok := e.(*messages.CheckpointAcknowledged); ok {
					acknowledged = c.Checkpoint
				}
			}
			for _, e := range Owed(s) {
				if l, ok := e.(start); ok && (!proto.Equal(l.Resume, acknowledged) || l.Nonce != s.Nonce || l.Smaller != s.Smaller || l.Placement != s.Placement) {
					t.Fatalf("it begins at %v with %+v, acknowledged is %v", l.Resume, l, acknowledged)
				}
			}
		}
	})
}
