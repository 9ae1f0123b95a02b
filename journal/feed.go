package journal

import (
	"context"
	"sync/atomic"
	"time"

	"modelops/messages"
)

// Feed passes on every decision that is appended from its making on, in order, and knows how far behind it is.
type Feed struct {
	j    *Journal
	seen atomic.Uint64
}

// NewFeed makes a feed that begins with the next decision.
func NewFeed(j *Journal) *Feed {
	f := &Feed{j: j}
	f.seen.Store(j.Sequence())
	return f
}

// Lag is how many decisions the feed has yet to pass on.
func (f *Feed) Lag() uint64 {
	last, seen := f.j.Sequence(), f.seen.Load()
	return last - min(seen, last)
}

// feedAgain is the pause before a feed goes on after it was interrupted.
const feedAgain = time.Second

// Run passes decisions on until ctx ends. When the journal is restarted in place it goes on after a pause.
func (f *Feed) Run(ctx context.Context, pass func(messages.Recorded)) {
	for ctx.Err() == nil {
		_ = f.j.Follow(ctx, f.seen.Load(), func(r messages.Recorded) error {
			f.j.raise(r.Sequence) // it is stored, although its append may not have returned yet
			f.seen.Store(r.Sequence)
			pass(r)
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(feedAgain):
		}
	}
}
