package main

import (
	"context"
	"time"

	"modelops/actors/job"
	"modelops/bridges/trainer"
	"modelops/messages"
)

// liveJobs are this host's jobs that have memory or seek some.
func (d *daemon) liveJobs() []*messages.JobView { return d.view.LiveJobsOf(d.host) }

// trainers lets bridges/trainer run the attempts of jobs.
type trainers struct{ *trainer.Trainer }

func attemptOf(r job.Run) trainer.Attempt {
	return trainer.Attempt{Job: r.Job.Name(), Number: r.Attempt, Nonce: r.Nonce, Spec: r.Spec}
}

// Start implements job.Trainer.
func (t trainers) Start(ctx context.Context, l job.Launch) (*messages.Runner, error) {
	a := attemptOf(l.Run)
	a.Placement, a.Resume, a.Smaller, a.WallLeft = l.Placement, l.Resume, l.Smaller, l.Left
	return t.Trainer.Start(ctx, a)
}

// Find implements job.Trainer.
func (t trainers) Find(ctx context.Context, r job.Run) (*messages.Runner, error) {
	return t.Trainer.Find(ctx, attemptOf(r))
}

// Follow implements job.Trainer.
func (t trainers) Follow(ctx context.Context, r job.Run, after uint64) (job.Next, error) {
	c, out, err := t.Trainer.Follow(ctx, attemptOf(r), r.Runner, after)
	return job.Next{Checkpoint: c, Outcome: out}, err
}

// Checkpoint implements job.Trainer.
func (t trainers) Checkpoint(ctx context.Context, r job.Run) error {
	return t.Trainer.Checkpoint(ctx, attemptOf(r), r.Runner)
}

// Stop implements job.Trainer.
func (t trainers) Stop(ctx context.Context, r job.Run, grace time.Duration) error {
	return t.Trainer.Stop(ctx, attemptOf(r), r.Runner, grace)
}

// Remove implements job.Trainer.
func (t trainers) Remove(ctx context.Context, id messages.ActorID) (uint64, error) {
	return t.Trainer.Remove(ctx, id.Name())
}
