package main

import (
	"context"
	"sync/atomic"
	"time"

	"modelops/journal"
	"modelops/messages"
)

// publisher is where the feed tells watchers what happened.
type publisher interface {
	Publish(subject string, r messages.Recorded) error
}

// feed follows the journal from now on and tells watchers on NATS. How far it is behind is the journal's lag.
type feed struct {
	j    *journal.Journal
	seen atomic.Uint64
	to   atomic.Pointer[publisher]
}

func newFeed(j *journal.Journal) *feed {
	f := &feed{j: j}
	f.seen.Store(j.Sequence())
	return f
}

func (f *feed) publishTo(p publisher) { f.to.Store(&p) }

// lag is how many decisions the feed hasn't seen.
func (f *feed) lag() uint64 {
	last, seen := f.j.Sequence(), f.seen.Load()
	return last - min(seen, last)
}

// run follows until ctx ends, and again after a pause when the journal was restarted in place.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = f.j.Follow(ctx, f.seen.Load(), func(r messages.Recorded) error {
			f.seen.Store(r.Sequence)
			if to := f.to.Load(); to != nil {
				return (*to).Publish(r.Actor.Kind+"."+r.Actor.Name(), r)
			}
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
