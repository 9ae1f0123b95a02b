package arbiter

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// doorFunc is a door that answers by a function.
type doorFunc func(messages.ActorID, proto.Message) (messages.Reply, error)

func (doorFunc) Tell(context.Context, messages.ActorID, proto.Message) {}

func (f doorFunc) Ask(_ context.Context, to messages.ActorID, c proto.Message) (messages.Reply, error) {
	return f(to, c)
}

// A job is a holder like a model, and no kin of a model of its name.
func TestJobsAreHolders(t *testing.T) {
	for holder, valid := range map[string]bool{"job/main_pc/tune": true, "job/*/tune": true, "job/main_pc": false, "goal/main_pc/tune": false, "model/main_pc/tune": true} {
		if validHolder(holder) != valid {
			t.Errorf("%s: valid %t", holder, !valid)
		}
	}
	if familyOf("model/main_pc/tune").has("job/main_pc/tune") || same("model/*/tune", "job/main_pc/tune") {
		t.Error("a job is taken for a model of its name")
	}
	now := int64(100_000)
	runs := AllocationOfJob(&messages.JobView{Id: "job/h/tune", Phase: messages.JobView_running, BeganMs: 1, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g", Bytes: 8}}}}, now)
	if use := useOf(runs, 0); use != busy || (terms{priority: -20}).moves(runs, use) || !(terms{}).moves(runs, use) {
		t.Errorf("a running job is a victim of a claim of lower priority, or none of a higher one: %v", runs)
	}
}

// Who may be asked to leave for whom. Jobs leave at once for what has a higher priority, models with requests never for a job that hasn't.
func TestWhoLeavesForWhom(t *testing.T) {
	job := func(priority int32) *messages.Allocation {
		return &messages.Allocation{Holder: "job/h/j", Job: true, State: messages.Allocation_settled, Active: 1, Priority: priority}
	}
	busyModel, idleModel := settled("model/h/m", "gpu/h/g", 1), settled("model/h/m", "gpu/h/g", 1)
	busyModel.Active, idleModel.IdleMs = 1, 61_000
	young, short, pinned, fixed := settled("model/h/m", "gpu/h/g", 1), settled("model/h/m", "gpu/h/g", 1), settled("model/h/m", "gpu/h/g", 1), job(-20)
	young.IdleMs, young.Young, short.IdleMs, pinned.IdleMs, pinned.Pinned, fixed.Pinned = 61_000, true, 59_000, 61_000, true, true
	starts := job(-20)
	starts.State = messages.Allocation_starting
	model, batch, lent := terms{}, terms{job: true, evictIdle: true, priority: -10}, terms{job: true, priority: -20, lent: map[string]bool{"job/h/j": true}}
	for name, c := range map[string]struct {
		t     terms
		r     *messages.Allocation
		moves bool
	}{
		"a job for a model":                           {model, job(-10), true},
		"a job of the same priority for a model":      {model, job(0), false},
		"and for an overdue one":                      {terms{overdue: true}, job(0), true},
		"a job of a higher priority":                  {terms{overdue: true}, job(1), false},
		"a job that starts":                           {model, starts, false},
		"an unpreemptible job":                        {terms{overdue: true}, fixed, false},
		"a job for one of its own priority":           {batch, job(-10), false},
		"even an overdue one":                         {terms{job: true, overdue: true, priority: -10}, job(-10), false},
		"a job for one of a higher priority":          {batch, job(-20), true},
		"a borrower for who is entitled":              {lent, job(5), true},
		"a busy model for a job":                      {batch, busyModel, false},
		"a busy model for an overdue job":             {terms{job: true, evictIdle: true, overdue: true, priority: -10}, busyModel, false},
		"a busy model for an overdue, urgent job":     {terms{job: true, evictIdle: true, overdue: true, priority: 5}, busyModel, true},
		"an idle model for a job":                     {batch, idleModel, true},
		"one that answered less than a minute ago":    {batch, short, false},
		"one inside its minimum residency":            {batch, young, false},
		"a pinned one":                                {batch, pinned, false},
		"an idle model where they don't leave for it": {terms{job: true, priority: -10}, idleModel, false},
		"an idle model for a borrower":                {terms{job: true, evictIdle: true, free: true}, idleModel, false},
	} {
		if got := c.t.moves(c.r, useOf(c.r, 0)); got != c.moves {
			t.Errorf("%s: leaves %t", name, got)
		}
	}
}

// Jobs leave before models, the lowest priority first, then who loses the least; what isn't needed stays.
func TestJobsLeaveFirst(t *testing.T) {
	job := func(name string, bytes uint64, priority int32, unsavedS int64) allocated {
		return allocated{bytes: bytes, use: busy, Allocation: &messages.Allocation{Holder: name, Job: true, State: messages.Allocation_settled, Active: 1, Priority: priority, UnsavedMs: unsavedS * 1000}}
	}
	rs := func() []allocated {
		return []allocated{idleModel("model/h/old", 8, 3600, 3600, 1), job("job/h/late", 4, -10, 90), job("job/h/saved", 4, -10, 1), job("job/h/low", 4, -20, 600), job("job/h/high", 4, 5, 0)}
	}
	for _, c := range []struct {
		need uint64
		want []string
	}{{4, []string{"job/h/low"}}, {8, []string{"job/h/low", "job/h/saved"}}, {12, []string{"job/h/low", "job/h/saved", "job/h/late"}},
		{20, []string{"job/h/low", "job/h/saved", "job/h/late", "model/h/old"}}, {24, nil}} {
		for policy := range policies {
			victims, ok := chooseVictims(policies[policy], c.need, 0, rs(), terms{}, nil)
			if got := names(victims); ok != (c.want != nil) || ok && !slices.Equal(got, c.want) {
				t.Errorf("%s for %d: %v %t, want %v", policy, c.need, got, ok, c.want)
			}
		}
	}
}

// What left for a job comes back when the job has given the memory back, not before; one that was unloaded since stays away.
func TestModelsComeBackAfterAJob(t *testing.T) {
	asked, holds, fails := []string{}, true, error(nil)
	h := ports{doorFunc(func(to messages.ActorID, c proto.Message) (messages.Reply, error) {
		switch c := c.(type) {
		case *messages.QueryHolding:
			return messages.Reply{Answer: &messages.HoldingReply{Holds: holds}}, fails
		case *messages.Reinstate:
			asked = append(asked, to.String()+" "+c.Placement)
			if to.Name() == "unloaded" {
				return messages.Reply{}, messages.NewError(messages.FailedPrecondition, to.String(), "it was unloaded since")
			}
		}
		return messages.Reply{Answer: &messages.Done{}}, nil
	})}
	e := reinstate{"p", Away{Victims: []string{"model/h/unloaded", "model/h/kept"}, Job: "job/h/tune", Lease: "p"}}
	if c, err := h.perform(t.Context(), e); c != nil || err != nil || len(asked) > 0 {
		t.Errorf("while the job holds the memory: %v %v %v", c, err, asked)
	}
	holds, fails = false, messages.NewError(messages.Unavailable, "job/h/tune", "no answer").WithRetry(1)
	if c, err := h.perform(t.Context(), e); c != nil || err == nil || len(asked) > 0 {
		t.Errorf("while the job can't be asked: %v %v %v", c, err, asked)
	}
	for _, fails = range []error{nil, messages.NewError(messages.NotFound, "job/h/tune", "no such job")} {
		asked = nil
		if c, err := h.perform(t.Context(), e); err != nil || !proto.Equal(c, &messages.ReportReinstated{Id: "p"}) || !slices.Equal(asked, []string{"model/h/unloaded p", "model/h/kept p"}) {
			t.Errorf("%v: %v %v %v", fails, c, err, asked)
		}
	}
}

// S24 with the remedy: the job is asked for a checkpoint and stopped with its grace, again until the inversion has ended, and nothing is owed afterwards.
func TestTheRemedyOfAnInversion(t *testing.T) {
	const need = 8
	tune := &messages.Allocation{Holder: "job/h/tune", Job: true, State: messages.Allocation_settled, Attempt: 2, Active: 1, Priority: -10, Pinned: true, PinnedBy: itsClaim,
		Shares: []*messages.Share{{Gpu: "gpu/h/g", Bytes: 9, Lease: "l"}}}
	waits := &messages.Allocation{Holder: "model/*/chat", State: messages.Allocation_seeking, WaitedMs: 5001, Queued: 3}
	for name, c := range map[string]struct {
		rules Rules
		edit  func()
		found bool
		owed  string
	}{
		"it is told":              {Rules{}, func() {}, true, "inversion/model/*/chat/job/h/tune"},
		"the remedy is taken":     {Rules{Learning: Learning{Invert: true}}, func() {}, true, "inversion/model/*/chat/job/h/tune remedy/model/*/chat/job/h/tune"},
		"one that starts isn't":   {Rules{Learning: Learning{Invert: true}}, func() { tune.State = messages.Allocation_starting }, true, "inversion/model/*/chat/job/h/tune"},
		"it hasn't waited long":   {Rules{}, func() { waits.WaitedMs = 5000 }, false, ""},
		"the job goes first":      {Rules{}, func() { tune.Priority = 1 }, false, ""},
		"it would not fit anyway": {Rules{}, func() { tune.Shares[0].Bytes = 1 }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			old, oldShare, oldWaits := proto.CloneOf(tune), tune.Shares[0].Bytes, waits.WaitedMs
			c.edit()
			defer func() {
				tune.State, tune.Priority, tune.Shares[0].Bytes, waits.WaitedMs = old.State, old.Priority, oldShare, oldWaits
			}()
			b := entitytest.Drive(Kind(c.rules, nil, nil), messages.ArbiterActor())
			b.Readings = &messages.SchedulerReadings{Ledgers: []*messages.GpuView{{Id: "gpu/h/g", Host: "h", Kind: "cuda", LimitBytes: 10, ReservedBytes: 9}}, Allocations: []*messages.Allocation{tune, waits}}
			if _, err := b.Do(request("model/*/chat", need)); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(b.Owed(), " "); (len(b.State.Inversions) > 0) != c.found || got != c.owed {
				t.Errorf("inversions %v, owed %q, want %q", b.State.Inversions, got, c.owed)
			}
		})
	}
	var asked []proto.Message
	report, err := ports{answering{answer: &messages.Done{}, asked: &asked}}.perform(t.Context(), remedy{"model/*/chat", "job/h/tune", 2})
	if stop, ok := asked[0].(*messages.StopJob); report != nil || err != nil || !ok || stop.Attempt != 2 || stop.Cause != messages.StopCause_stop_inversion {
		t.Errorf("%v %v %v", report, err, asked)
	}
}
