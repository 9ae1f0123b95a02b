package journal

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Follow calls fn with every decision behind sequence after, first those that are there, then each new one, in order and without a gap, until
// ctx ends (then its error is returned as messages.Cancelled or DeadlineExceeded) or fn returns an error. It survives lost connections
// and restarts of the server. messages.FailedPrecondition: the journal ends before after, so it is not the one that was read before. Events this build doesn't know are not an error here: Events is then nil and Decision holds the envelopes.
func (r *Reader) Follow(ctx context.Context, after uint64, fn func(messages.Recorded) error) error {
	q := Query{After: after, Unknown: true}
	c := newChain(q)
	if r.files != nil {
		if err := r.files.replay(ctx, q, func(s stored) error { return deliver(s, c, q, fn) }); err != nil {
			return err
		}
		<-ctx.Done()
		return messages.AsError(ctx.Err())
	}
	if err := r.reaches(ctx, after); err != nil {
		return err
	}
	for {
		err := r.follow(ctx, c, q, fn)
		if !errors.Is(err, errInterrupted) {
			return err
		}
		select {
		case <-ctx.Done():
			return messages.AsError(ctx.Err())
		case <-time.After(reconnectWait):
		}
	}
}

// reaches refuses to follow a journal that was shortened or replaced: its next sequences were other decisions before.
func (r *Reader) reaches(ctx context.Context, after uint64) error {
	state, err := r.state(ctx)
	if err != nil {
		return err
	}
	if state.LastSeq < after {
		return shortened(r.host, state.LastSeq, after)
	}
	return nil
}

func shortened(host string, last, after uint64) *messages.Error {
	return messages.Errorf(messages.FailedPrecondition, "journal of "+host, "it ends at sequence %d, but was already read up to %d", last, after).
		WithHint("the host lost its journal; start again from sequence 0")
}

// errInterrupted says that the stream went away and may come back.
var errInterrupted = errors.New("interrupted")

func (r *Reader) follow(ctx context.Context, c *chain, q Query, fn func(messages.Recorded) error) error {
	in, err := r.ordered(ctx, c.last+1, "")
	if err != nil {
		return r.interrupted(ctx, err)
	}
	defer in.Stop()
	for {
		m, err := in.Next(jetstream.NextContext(ctx))
		if err != nil {
			return r.interrupted(ctx, err)
		}
		s, err := fromNATS(m)
		if err != nil {
			return r.interrupted(ctx, err)
		}
		if err := deliver(s, c, q, fn); err != nil {
			return err
		}
	}
}

func (r *Reader) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return messages.AsError(ctx.Err())
	}
	if r.nc.IsClosed() {
		return r.unreachable(err)
	}
	return errInterrupted
}
