package simulator

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/job"
	"modelops/messages"
)

// Jobs share the devices with models. They come by chance, train in virtual time, and people cancel, pause and delete them.

// Traffic is how jobs come.
type Traffic struct {
	// Rate is how many come a second of virtual time, and Most how many at all; 0 = none.
	Rate float64
	Most int
	// Fixed is the part of them that is never asked to leave, from 0 to 1.
	Fixed float64
	// Bytes is the most that one takes of a device; 0 = 20 GiB.
	Bytes uint64
	// Steps is how many seconds each takes; 0 = from 3 to 22.
	Steps uint64
}

// stepTakes is the time of a trainer's step; after each savesEvery steps it tells a checkpoint.
const (
	stepTakes  = time.Second
	savesEvery = 5
	mostSteps  = 20
	jobGrace   = 5 * time.Second
)

// jobGoals are the goals of the jobs; the first have quotas in some worlds.
var jobGoals = []string{"goal/sim/a", "goal/sim/b", ""}

func (w *World) makeJobs() {
	w.jobKind = job.Kind(job.Rules{First: time.Second, Longest: 10 * time.Second}, job.World{Trainer: trainer{w}, Door: door{w}, Free: w.seenFree, Now: w.now, Busy: w.busyOn})
	if w.o.Plants.Job != nil {
		w.jobKind = w.o.Plants.Job(w.jobKind)
	}
	if w.o.Jobs.Rate > 0 {
		w.after(0, w.jobsCome)
	}
}

// jobsCome submits a job, and the next one by chance.
func (w *World) jobsCome() {
	if w.calm || len(w.jobs) >= w.o.Jobs.Most {
		return
	}
	w.after(time.Duration(w.rng.ExpFloat64()/w.o.Jobs.Rate*float64(time.Second)), w.jobsCome)
	most := w.o.Jobs.Bytes
	if most == 0 {
		most = 20 * messages.GiB
	}
	spec := &messages.JobSpec{Kind: messages.JobSpec_custom, Goal: jobGoals[w.rng.IntN(len(jobGoals))], Priority: []int32{0, 0, 0, -20, 5}[w.rng.IntN(5)],
		VramBytes: messages.GiB + w.rng.Uint64N(most-messages.GiB), Unpreemptible: w.rng.Float64() < w.o.Jobs.Fixed,
		Recipe: &messages.Recipe{Name: "sim", Command: []string{"train"}, Checkpoint: "signal", GraceSeconds: uint32(jobGrace.Seconds()), Retries: 100}}
	switch w.rng.IntN(5) {
	case 0:
		spec.IdleOnly = true
	case 1:
		spec.Window = openings
	}
	w.submit(spec)
}

// openings is a window that is open for each other minute.
const openings = "*/2 * * * * 1m UTC"

// busyOn says which requests are at the models of a placement's devices.
func (w *World) busyOn(p *messages.Placement) string {
	for i, m := range w.views {
		if m.Placement == nil || !slices.ContainsFunc(p.Shares, func(x *messages.Share) bool { _, on := m.Placement.On(x.Gpu); return on }) {
			continue
		}
		if n := w.runningAt(i); n > 0 {
			return fmt.Sprintf("%s has %d requests", m.Id, n)
		}
	}
	return ""
}

// submit makes a job; nil when the coordinator is down.
func (w *World) submit(spec *messages.JobSpec) *node[job.State] {
	if w.down {
		return nil
	}
	id := messages.ActorID{Kind: messages.KindJob, ID: fmt.Sprintf("%s/j%d", w.host(w.rng.IntN(w.o.Hosts)), len(w.jobs))}
	m := newNode(w, w.jobKind, id)
	m.changed = func([]proto.Message) {}
	w.jobs = append(w.jobs, m)
	w.jobAt[id], w.nodes[id] = len(w.jobs)-1, m
	m.rebuild()
	_, _ = m.ask(&messages.SubmitJob{Spec: spec, By: "sim"})
	return m
}

// jobOrders are what people and chance do to jobs.
func (w *World) jobOrders() {
	if w.calm || len(w.jobs) == 0 {
		return
	}
	m := w.jobs[w.rng.IntN(len(w.jobs))]
	if w.rng.IntN(4) == 0 {
		if r := w.runOf(m); r != nil {
			w.endRun(r, &messages.JobOutcome{End: messages.JobOutcome_lost, Reason: "it was killed"})
		}
		return
	}
	if w.down {
		return
	}
	var c proto.Message
	switch w.rng.IntN(6) {
	case 0, 1:
		c = &messages.CancelJob{Reason: "a person doesn't want it"}
	case 2:
		c = &messages.PauseJob{Reason: "a person wants its memory"}
	case 3:
		c = &messages.ResumeJob{}
	case 4:
		c = &messages.CheckpointJob{}
	case 5:
		c = &messages.DeleteJob{}
	}
	_, err := m.ask(c)
	if _, cancels := c.(*messages.CancelJob); cancels && err == nil && !over(m.state.Phase) {
		w.cancelled[m.id] = true
	}
}

func over(p job.Phase) bool { return p == job.Completed || p == job.Failed || p == job.Cancelled }

// runOf is the live process of a job's attempt; nil when it has none.
func (w *World) runOf(m *node[job.State]) *training {
	for _, r := range w.runs {
		if r.job == m.id && r.outcome == nil {
			return r
		}
	}
	return nil
}

// resumeAll ends the pauses of jobs.
func (w *World) resumeAll() {
	for _, m := range w.jobs {
		if m.state.Phase == job.Paused || m.state.Phase == job.Checkpointing {
			door{w}.Tell(&try{}, m.id, &messages.ResumeJob{})
		}
	}
}

// jobAllocations are those of this coordinator's jobs, with what their goals have spent.
func (b view) jobAllocations() (out []*messages.Allocation) {
	if len(b.w.jobs) == 0 {
		return nil
	}
	now, spent := b.w.now().UnixMilli(), map[string]int64{}
	for _, m := range b.w.jobs {
		s := &m.state
		spent[s.Spec.GetGoal()] += s.DeviceMS
		if s.BeganMS > 0 {
			spent[s.Spec.GetGoal()] += max(now-s.BeganMS, 0)
		}
		if a := arbiter.AllocationOfJob(job.View(m.state).(*messages.JobView), now); a != nil {
			out = append(out, a)
		}
	}
	for _, a := range out {
		if a.Goal != "" {
			a.GoalSpentMs = spent[a.Goal]
		}
	}
	return out
}
