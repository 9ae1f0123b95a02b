package control

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The bounds of one page of the journal.
const (
	defaultPage = 100 // decisions
	longestPage = 1000
	largestPage = 1 << 20 // bytes of decisions, beside one that is larger alone: a page must fit into one message of every door
	longestWait = 30 * time.Second
	waitStep    = 20 * time.Millisecond
)

// errPageFull ends the reading of a page.
var errPageFull = errors.New("the page is full")

// ReadJournal lists decisions, oldest first. Events that this build doesn't know have no body.
func (c *Control) ReadJournal(ctx context.Context, r *messages.JournalRequest) (*messages.JournalPage, error) {
	var actor messages.ActorID
	var err error
	from, err := c.journalOf(ctx, r.Host, r.Copy)
	if err != nil {
		return nil, err
	}
	if r.Actor != "" {
		if actor, err = c.actor(r.Actor); err != nil {
			return nil, err
		}
	}
	limit := int(min(r.Limit, longestPage))
	if limit == 0 {
		limit = defaultPage
	}
	if err := c.await(ctx, r.WaitMs, waitStep, func() bool { return from.Sequence() > r.After }); err != nil {
		return nil, err
	}
	page := &messages.JournalPage{LastSequence: from.Sequence(), Told: from.Told()}
	size := 0
	err = from.Replay(ctx, actor, r.After, func(d messages.Recorded) error {
		size += proto.Size(d.Decision)
		if n := len(page.Decisions); n == limit || n > 0 && size > largestPage {
			return errPageFull
		}
		shown, err := decision(d, r.Stored)
		page.Decisions = append(page.Decisions, shown)
		return err
	})
	last := uint64(0)
	if n := len(page.Decisions); n > 0 {
		last = page.Decisions[n-1].Sequence
	}
	page.LastSequence = max(page.LastSequence, last) // the journal may have grown since
	page.NextAfter = page.LastSequence
	switch {
	case errors.Is(err, errPageFull):
		page.NextAfter = last
	case err != nil:
		return nil, err
	}
	return page, nil
}

// JournalCopy is a journal to read: this host's own, or a copy of another host's.
type JournalCopy interface {
	Sequence() uint64
	// Told is the last sequence that the host told before it was lost; 0 for the own one.
	Told() uint64
	Replay(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error
}

// journalOf is a host's journal: this host's own, which an empty name means too, or a copy.
func (c *Control) journalOf(ctx context.Context, host, name string) (JournalCopy, error) {
	if host == "" || host == c.o.Host {
		return ownJournal{c.o}, nil
	}
	if c.o.Copies == nil {
		return nil, messages.NewError(messages.NotFound, "journal of "+host, "this host keeps no copy of it")
	}
	return c.o.Copies(ctx, host, name)
}

type ownJournal struct{ o Options }

func (o ownJournal) Sequence() uint64 { return o.o.Sequence() }
func (o ownJournal) Told() uint64     { return 0 }
func (o ownJournal) Replay(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	return o.o.Replay(ctx, actor, after, fn)
}

// await looks in steps until there is something behind what was read last, and no longer than the request says.
func (c *Control) await(ctx context.Context, waitMs uint32, step time.Duration, there func() bool) error {
	wait := min(time.Duration(waitMs)*time.Millisecond, longestWait)
	if wait == 0 || there() {
		return nil
	}
	enough := time.After(wait)
	tick := time.NewTicker(step)
	defer tick.Stop()
	for !there() {
		select {
		case <-ctx.Done():
			return messages.AsError(ctx.Err())
		case <-c.o.Life.Done():
			return messages.AsError(context.Cause(c.o.Life))
		case <-enough:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

func decision(d messages.Recorded, stored bool) (*messages.RecordedDecision, error) {
	out := &messages.RecordedDecision{Sequence: d.Sequence, At: d.At.UTC().Format(time.RFC3339Nano), Actor: d.Actor.String(), Id: d.ID,
		Correlation: d.Meta.Correlation, Causation: d.Meta.Causation, Caller: d.Meta.Caller}
	if stored {
		out.Expected, out.BootId, out.Decision = d.Expected, d.BootID, d.Decision
		return out, nil
	}
	if d.Events == nil {
		for _, e := range d.Decision.GetEvents() {
			out.Events = append(out.Events, &messages.RecordedEvent{Name: e.GetType()})
		}
		return out, nil
	}
	var err error
	out.Events, err = recorded(d.Events)
	return out, err
}
