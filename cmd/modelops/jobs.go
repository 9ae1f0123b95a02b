package main

import (
	"context"
	"time"

	"modelops/actors/job"
	"modelops/messages"
)

// liveJobs are this host's jobs that have memory or seek some.
func (d *daemon) liveJobs() []*messages.JobView { return d.view.LiveJobsOf(d.host) }

// noTrainer refuses to run jobs: this build has no trainer. A job that is submitted fails with the reason, once it has its memory.
type noTrainer struct{}

func (noTrainer) refusal(id messages.ActorID) error {
	return messages.NewError(messages.Unsupported, id.String(), "this build runs no trainers")
}

// Start implements job.Trainer.
func (n noTrainer) Start(_ context.Context, l job.Launch) (*messages.Runner, error) {
	return nil, n.refusal(l.Job)
}

// Find implements job.Trainer: nothing was ever begun.
func (noTrainer) Find(context.Context, job.Run) (*messages.Runner, error) { return nil, nil }

// Follow implements job.Trainer.
func (n noTrainer) Follow(_ context.Context, r job.Run, _ uint64) (job.Next, error) {
	return job.Next{}, n.refusal(r.Job)
}

// Checkpoint implements job.Trainer.
func (n noTrainer) Checkpoint(_ context.Context, r job.Run) error { return n.refusal(r.Job) }

// Stop implements job.Trainer: nothing runs.
func (noTrainer) Stop(context.Context, job.Run, time.Duration) error { return nil }

// Remove implements job.Trainer: there are no files.
func (noTrainer) Remove(context.Context, messages.ActorID) (uint64, error) { return 0, nil }
