package view

import (
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	// mostReported bounds the actors of one report, so that it fits a message. What is left comes with the next.
	mostReported = 256
	// longestReport is how long a report may wait for a change.
	longestReport = 10 * time.Second
	// loadLooks is how often a waiting report looks whether what runs and waits has changed: no view changes with it.
	loadLooks = 100 * time.Millisecond
)

// Reporter tells other hosts what they need to know of this one's actors. It never tells what this host knows from others.
type Reporter struct {
	Host, BootID string
	View         *Projection
	Ledgers      Ledgers // of this host's own actors
	Queue        func() *messages.QueueView
	Files        func() []*messages.ModelFile // of this host's models; nil = none is known
	Samples      func() []*messages.JobSample // the last of each job that runs here; nil = none is known
	MaxJobs      func() uint32                // how many jobs may run here at a time; nil = it isn't said
	Now          func() time.Time
}

// Report says what changed since a version. It waits for a change as long as the request says.
func (r Reporter) Report(ctx context.Context, q *messages.ReportRequest) (*messages.Report, error) {
	over := time.NewTimer(min(time.Duration(q.WaitMs)*time.Millisecond, longestReport))
	defer over.Stop()
	looks := time.NewTicker(loadLooks)
	defer looks.Stop()
	out, version := &messages.Report{}, q.Since
	for before := r.activity(); ; {
		d, changed := r.View.since(version, math.MaxInt)
		if changed == nil {
			out.Snapshot, out.Version = d.Snapshot, d.Version
			if err := r.add(out, d); err != nil {
				return nil, err
			}
			if version = out.Version; len(out.Actors) > 0 || out.Snapshot {
				return r.sign(out), nil
			}
			continue // what changed was of other hosts
		}
		out.Version = version
		select {
		case <-changed:
		case <-looks.C:
			if now := r.activity(); now != before {
				return r.sign(out), nil
			}
		case <-over.C:
			return r.sign(out), nil
		case <-ctx.Done():
			return nil, messages.AsError(context.Cause(ctx))
		}
	}
}

// add puts this host's own changes into a report. The version goes with the last one that fits.
func (r Reporter) add(out *messages.Report, d Delta) error {
	for _, c := range d.Changes {
		if c.Actor.Host() != r.Host {
			continue
		}
		if len(out.Actors) == mostReported {
			return nil
		}
		body, err := proto.Marshal(c.View)
		if err != nil {
			return messages.Errorf(messages.Internal, c.Actor.String(), "its view can't be reported: %w", err)
		}
		out.Actors = append(out.Actors, &messages.ActorReport{Actor: c.Actor.String(), Sequence: c.Sequence, View: string(c.View.ProtoReflect().Descriptor().Name()), Body: body})
		if len(out.Actors) == mostReported {
			out.Version = c.Version
		}
	}
	return nil
}

// sign adds what is of now.
func (r Reporter) sign(out *messages.Report) *messages.Report {
	out.Host, out.BootId, out.AtMs = r.Host, r.BootID, r.Now().UnixMilli()
	out.Allocations, out.Queue = r.Ledgers.own(), r.Queue()
	if r.Samples != nil {
		out.Samples = r.Samples()
	}
	if r.Files != nil {
		out.Files = r.Files()
	}
	if r.MaxJobs != nil {
		out.MaxJobs = r.MaxJobs()
	}
	for _, m := range r.Ledgers.Models() {
		out.Loads = append(out.Loads, &messages.ModelLoad{Model: m.Name, Active: m.Active, Queued: m.Queued, IdleMs: m.IdleMs, Breaker: m.Breaker})
	}
	return out
}

// activity is what runs and waits, so far as it matters to others.
func (r Reporter) activity() (a struct{ active, queued, waiting uint32 }) {
	for _, m := range r.Ledgers.ownLive() {
		a.active, a.queued = a.active+m.Active, a.queued+m.Queued
	}
	a.waiting = uint32(len(r.Ledgers.Seeking()))
	return a
}
