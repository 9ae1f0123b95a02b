package main

import (
	"context"
	"os"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/job"
	"modelops/bridges/trainer"
	"modelops/messages"
)

// learning is what the operations know of jobs and recipes.
type learning struct{ d *daemon }

// Recipes implements control.Jobs.
func (l learning) Recipes() []string { return l.d.config().Recipes() }

// Recipe implements control.Jobs. It is that of the configuration in force.
func (l learning) Recipe(name string) (*messages.Recipe, messages.JobSpec_Kind) {
	return l.d.config().Recipe(name)
}

// File implements control.Jobs.
func (l learning) File(spec *messages.ModelSpec) string {
	return l.d.runtime.Address(spec.GetName(), spec.GetPath())
}

// Check implements control.Jobs.
func (l learning) Check(name string, spec *messages.JobSpec) error {
	return l.d.trainer.Check(name, spec)
}

// mostHashed bounds the data whose checksum is taken while its submission waits.
const mostHashed = 256 << 20

// Hash implements control.Jobs.
func (l learning) Hash(ctx context.Context, path string) string {
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Size() > mostHashed {
		return ""
	}
	sha, _, _ := trainer.Sum(ctx, path)
	return sha
}

// Samples implements control.Jobs.
func (l learning) Samples(name string, after uint64, most int) ([]*messages.JobSample, error) {
	found, err := l.d.trainer.Samples(name, after, most)
	out := make([]*messages.JobSample, len(found))
	for i, s := range found {
		out[i] = sampleOf(s)
	}
	return out, err
}

func sampleOf(s trainer.Sample) *messages.JobSample {
	return &messages.JobSample{N: s.N, AtMs: s.AtMS, Attempt: s.Attempt, Step: s.Step, Total: s.Total, EtaSeconds: s.ETA, Metrics: s.Metrics}
}

// Last implements control.Jobs. What another host's jobs do comes with its reports.
func (l learning) Last(id messages.ActorID) *messages.JobSample {
	if id.Host() == l.d.host {
		if s, ok := l.d.trainer.Last(id.Name()); ok {
			return sampleOf(s)
		}
		return nil
	}
	for _, s := range l.d.follower.Said(id.Host()).Report.GetSamples() {
		if s.Job == id.Name() {
			return s
		}
	}
	return nil
}

// Log implements control.Jobs.
func (l learning) Log(name, after string, lines int) (*messages.LogPage, error) {
	p, err := l.d.trainer.ReadLog(name, after, lines)
	if err != nil {
		return nil, err
	}
	return l.d.logPage(p), nil
}

// samples are the last ones of the jobs that run here, for other hosts.
func (d *daemon) samples() (out []*messages.JobSample) {
	for _, v := range d.liveJobs() {
		if s, ok := d.trainer.Last(v.Name); ok && v.Attempt > 0 {
			said := sampleOf(s)
			said.Job = v.Name
			out = append(out, said)
		}
	}
	return out
}

// measureJob is what a running attempt holds of each of its devices.
func (d *daemon) measureJob(ctx context.Context, name string, pid int64) (uint64, error) {
	p := d.view.Job(messages.JobActor(d.host, name)).GetPlacement()
	if p.GetDeviceKind() == "simulated" || len(p.GetShares()) == 0 {
		return 0, nil
	}
	bytes, err := d.sampler.MeasureOn(ctx, p, pid)
	return bytes / uint64(len(p.Shares)), err
}

// measuredJobs is the largest memory of a device that earlier runs of a recipe with a model were seen to hold.
func (d *daemon) measuredJobs(spec *messages.JobSpec) (most uint64) {
	for _, v := range d.view.Jobs() {
		if v.Host == d.host && v.Spec.GetRecipe().GetName() == spec.GetRecipe().GetName() && v.Spec.GetModel() == spec.GetModel() {
			most = max(most, v.GetOutcome().GetPeakBytes())
		}
	}
	return most
}

// countEnded counts a job that has ended. Its view may not show the end yet, but it shows the beginning.
func (d *daemon) countEnded(r messages.Recorded) {
	for _, e := range r.Events {
		ended, ok := e.(interface{ GetAt() *timestamppb.Timestamp })
		switch e.(type) {
		case *messages.JobCompleted, *messages.JobFailed, *messages.JobCancelled:
			if v := d.view.Job(r.Actor); ok && v.GetStartedMs() > 0 {
				d.metrics.JobEnded(v.Spec.GetKind(), ended.GetAt().AsTime().Sub(time.UnixMilli(v.StartedMs)))
			}
		}
	}
}

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
