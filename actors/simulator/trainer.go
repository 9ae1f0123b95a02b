package simulator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"modelops/actors/job"
	"modelops/messages"
)

// training is an attempt's process. It outlives the coordinator.
type training struct {
	job      messages.ActorID
	attempt  uint64
	pid      int64
	nonce    string
	parts    []part
	step     uint64
	total    uint64
	told     []uint64 // steps of its checkpoints
	outcome  *messages.JobOutcome
	stopping bool
}

func (r *training) key() string { return fmt.Sprintf("train/%s/%d", r.job, r.attempt) }

// trainer is the job's port to its processes.
type trainer struct{ w *World }

func (w *World) training(r job.Run) *training {
	for _, x := range w.runs {
		if x.job == r.Job && x.attempt == r.Attempt {
			return x
		}
	}
	return nil
}

func (r *training) runner() *messages.Runner { return &messages.Runner{Pid: r.pid, Nonce: r.nonce} }

// Start implements job.Trainer.
func (t trainer) Start(_ context.Context, l job.Launch) (*messages.Runner, error) {
	w := t.w
	r := w.training(l.Run)
	if r == nil {
		if w.mishap(w.o.Faults.StartFails) {
			return nil, messages.NewError(messages.JobError, l.Job.String(), "the program can't be started").WithRetry(time.Second)
		}
		w.ids++
		r = &training{job: l.Job, attempt: l.Attempt, pid: int64(w.ids), nonce: l.Nonce, step: l.Resume.GetStep(), total: w.stepsOf(l.Job)}
		for _, x := range l.Placement.Shares {
			r.parts = append(r.parts, part{w.deviceOf(x.Gpu), x.Lease, x.Bytes, 0})
		}
		for _, other := range w.runs {
			if other.job == l.Job && other.outcome == nil {
				w.violated("%s is trained twice: attempt %d begins while attempt %d runs", l.Job, l.Attempt, other.attempt)
			}
		}
		w.runs = append(w.runs, r)
		w.say("attempt %d of %s begins at step %d of %d", r.attempt, r.job, r.step, r.total)
		w.after(stepTakes, func() { w.trains(r) })
	}
	if w.mishap(w.o.Faults.StartFails) {
		return nil, messages.NewError(messages.Unavailable, l.Job.String(), "the answer is lost").WithRetry(time.Second)
	}
	return r.runner(), nil
}

// stepsOf is how many steps a job takes: it follows from its name, so that each attempt takes as many.
func (w *World) stepsOf(id messages.ActorID) uint64 {
	if w.o.Jobs.Steps > 0 {
		return w.o.Jobs.Steps
	}
	return 3 + uint64(w.jobAt[id]*7)%mostSteps
}

// trains takes one step.
func (w *World) trains(r *training) {
	if r.outcome != nil {
		return
	}
	r.step++
	switch {
	case r.step >= r.total:
		w.endRun(r, &messages.JobOutcome{End: messages.JobOutcome_done, Step: r.step, Total: r.total})
		return
	case r.step%savesEvery == 0:
		w.save(r)
	}
	w.after(stepTakes, func() { w.trains(r) })
}

// save tells a checkpoint of the present step.
func (w *World) save(r *training) {
	if len(r.told) > 0 && r.told[len(r.told)-1] >= r.step || r.step == 0 {
		return
	}
	r.told = append(r.told, r.step)
	w.poke(r.key())
}

// endRun is the end of a process. The driver sees its memory free a little later.
func (w *World) endRun(r *training, o *messages.JobOutcome) {
	if r.outcome != nil {
		return
	}
	r.outcome = o
	w.say("attempt %d of %s ends at step %d: %s", r.attempt, r.job, r.step, o.End)
	if w.mishap(w.o.Faults.SlowDriver) {
		for _, p := range r.parts {
			w.lag(p.device, p.bytes)
		}
	}
	w.poke(r.key())
}

// Find implements job.Trainer.
func (t trainer) Find(_ context.Context, run job.Run) (*messages.Runner, error) {
	if r := t.w.training(run); r != nil {
		return r.runner(), nil
	}
	return nil, nil
}

// Follow implements job.Trainer.
func (t trainer) Follow(ctx context.Context, run job.Run, after uint64) (job.Next, error) {
	r := t.w.training(run)
	if r == nil {
		return job.Next{Outcome: &messages.JobOutcome{End: messages.JobOutcome_lost, Reason: "nothing is left of it"}}, nil
	}
	for _, step := range r.told {
		if step > after {
			return job.Next{Checkpoint: &messages.Checkpoint{Step: step, Path: "x"}}, nil
		}
	}
	if r.outcome != nil {
		return job.Next{Outcome: r.outcome}, nil
	}
	return job.Next{}, notYet(ctx, r.key())
}

// Checkpoint implements job.Trainer.
func (t trainer) Checkpoint(_ context.Context, run job.Run) error {
	if r := t.w.training(run); r != nil && r.outcome == nil {
		t.w.save(r)
	}
	return nil
}

// Stop implements job.Trainer: SIGTERM, patience, SIGKILL.
func (t trainer) Stop(ctx context.Context, run job.Run, grace time.Duration) error {
	w := t.w
	r := w.training(run)
	if r == nil || r.outcome != nil {
		return nil
	}
	if !r.stopping {
		r.stopping = true
		takes := w.latency()
		if w.mishap(w.o.Faults.SlowStop) {
			takes = max(grace, time.Millisecond)
		}
		w.after(takes, func() { w.endRun(r, &messages.JobOutcome{End: messages.JobOutcome_stopped, Step: r.step}) })
	}
	return notYet(ctx, r.key())
}

// Remove implements job.Trainer.
func (t trainer) Remove(_ context.Context, id messages.ActorID) (uint64, error) {
	t.w.runs = slices.DeleteFunc(t.w.runs, func(r *training) bool { return r.job == id && r.outcome != nil })
	return 1, nil
}
