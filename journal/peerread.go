package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"modelops/messages"
)

// Replay is Reader.Replay, of the copy.
func (p *PeerCopy) Replay(ctx context.Context, q Query, fn func(messages.Recorded) error) error {
	until := p.Sequence()
	if q.Until != 0 {
		until = min(until, q.Until)
	}
	c := newChain(q)
	err := p.stored(q.After, until, func(d *messages.RecordedDecision) error {
		if ctx.Err() != nil {
			return messages.AsError(ctx.Err())
		}
		if q.Actor != (messages.ActorID{}) && d.Actor != q.Actor.String() {
			return nil
		}
		return c.takePage(d, q, fn)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// Follow is Reader.Follow, of the copy as it grows.
func (p *PeerCopy) Follow(ctx context.Context, after uint64, fn func(messages.Recorded) error) error {
	for {
		grown := p.Grown()
		err := p.Replay(ctx, Query{After: after, Unknown: true}, func(r messages.Recorded) error { after = r.Sequence; return fn(r) })
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return messages.AsError(ctx.Err())
		case <-grown:
		}
	}
}

// Read calls fn with the decisions of some sequences, in order. messages.InvalidArgument: the copy doesn't hold one.
func (p *PeerCopy) Read(ctx context.Context, sequences []uint64, fn func(messages.Recorded) error) error {
	wanted := slices.Compact(slices.Sorted(slices.Values(sequences)))
	if n := len(wanted); n > 0 && (wanted[0] == 0 || wanted[n-1] > p.Sequence()) {
		return messages.Errorf(messages.InvalidArgument, "copy of the journal of "+p.host, "sequences %d to %d were asked for, and it holds 1 to %d", wanted[0], wanted[n-1], p.Sequence())
	}
	for len(wanted) > 0 {
		first, n := wanted[0], 1
		for n < len(wanted) && wanted[n] < first+64 { // they lie together: one reading for all
			n++
		}
		run := wanted[:n]
		wanted = wanted[n:]
		err := p.stored(first-1, run[n-1], func(d *messages.RecordedDecision) error {
			if _, found := slices.BinarySearch(run, d.Sequence); !found {
				return ctx.Err()
			}
			r, err := FromStored(d)
			if err != nil {
				return err
			}
			_ = open(&r) // an unknown event leaves Events nil
			return fn(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stored passes the decisions behind a sequence up to another as they are stored.
func (p *PeerCopy) stored(after, until uint64, fn func(*messages.RecordedDecision) error) error {
	p.mu.Lock()
	files := slices.Clone(p.files)
	p.mu.Unlock()
	for i, f := range files {
		if i+1 < len(files) && files[i+1].first <= after+1 {
			continue // all of f lies at or before after
		}
		err := f.pass(p.places.before(f.path, after+1).offset, func(d *messages.RecordedDecision, _, _ int64) error {
			switch {
			case d.Sequence <= after:
				return nil
			case d.Sequence > until:
				return errPassed
			}
			return fn(d)
		})
		var broken *brokenAt
		switch {
		case errors.Is(err, errPassed):
			return nil
		case errors.As(err, &broken):
			return messages.Errorf(messages.JournalDamaged, p.dir, "the copy of the journal of %s can't be read: %w", p.host, err)
		case err != nil:
			return err
		}
	}
	return nil
}

// errPassed ends the reading of a copy where it was to end.
var errPassed = errors.New("passed")

func itoaPadded(n uint64) string { return fmt.Sprintf("%09d", n) }
