package journal

import (
	"context"
	"time"

	"modelops/messages"
)

// Pages reads a journal page by page: the operation ReadJournal at any door of its host.
type Pages interface {
	ReadJournal(ctx context.Context, r *messages.JournalRequest) (*messages.JournalPage, error)
}

// Remote reads the journal of a running host through one of its doors, so it needs no right but that operation's. It checks what Reader checks.
type Remote struct {
	host  string
	pages Pages
	lost  time.Duration // how long Follow goes on without an answer
	of    string        // whose copy is read; empty = the journal of the host that answers
	copy  string
	told  uint64 // of the last page
}

// NewRemoteCopy reads a copy of the journal of host, which the host that answers keeps. The name "longest" chooses the longest one.
func NewRemoteCopy(host, name string, pages Pages) *Remote {
	return &Remote{host: host, pages: pages, lost: lostLimit, of: host, copy: name}
}

// Told is the last sequence that the host of a copy told before it was lost, once something was read; 0 = unknown.
func (r *Remote) Told() uint64 { return r.told }

// NewRemote reads the journal of host.
func NewRemote(host string, pages Pages) *Remote {
	return &Remote{host: host, pages: pages, lost: lostLimit}
}

const (
	remotePage = 1000
	remoteWait = 10 * time.Second // a question that waits for the next decision
	lostLimit  = 10 * time.Second
)

// Replay is Reader.Replay.
func (r *Remote) Replay(ctx context.Context, q Query, fn func(messages.Recorded) error) error {
	c := newChain(q)
	for end := q.Until; ; {
		page, err := r.page(ctx, q, c.last, 0)
		if err != nil {
			return err
		}
		if q.Until == 0 && end == 0 {
			end = page.LastSequence
		}
		for _, d := range page.Decisions {
			if d.Sequence > end {
				return nil
			}
			switch err := c.takePage(d, q, fn); {
			case err == errEnough:
				return nil
			case err != nil:
				return err
			}
		}
		if page.NextAfter >= end || page.NextAfter >= page.LastSequence {
			return nil
		}
		c.last = page.NextAfter
	}
}

// Follow is Reader.Follow. It ends when the host gives no answer for some seconds.
func (r *Remote) Follow(ctx context.Context, after uint64, fn func(messages.Recorded) error) error {
	q := Query{After: after, Unknown: true}
	c := newChain(q)
	answered, wait := time.Now(), time.Duration(0) // at first without a wait: the journal may be shorter than after
	for {
		page, err := r.page(ctx, q, c.last, wait)
		switch {
		case ctx.Err() != nil:
			return messages.AsError(ctx.Err())
		case messages.CodeOf(err) == messages.Unavailable && time.Since(answered) < r.lost:
			select {
			case <-ctx.Done():
				return messages.AsError(ctx.Err())
			case <-time.After(2 * reconnectWait):
			}
			continue
		case err != nil:
			return err
		case page.LastSequence < c.last:
			return shortened(r.host, page.LastSequence, c.last)
		}
		answered, wait = time.Now(), remoteWait
		for _, d := range page.Decisions {
			if err := c.takePage(d, q, fn); err != nil {
				return err
			}
		}
	}
}

// page asks for the decisions behind a sequence.
func (r *Remote) page(ctx context.Context, q Query, after uint64, wait time.Duration) (*messages.JournalPage, error) {
	ask := &messages.JournalRequest{After: after, Limit: remotePage, Stored: true, WaitMs: uint32(wait.Milliseconds())}
	if q.Actor != (messages.ActorID{}) {
		ask.Actor = q.Actor.String()
	}
	ask.Host, ask.Copy = r.of, r.copy
	page, err := r.pages.ReadJournal(ctx, ask)
	r.told = max(r.told, page.GetTold())
	return page, err
}

// takePage reads a decision of a page.
func (c *chain) takePage(d *messages.RecordedDecision, q Query, fn func(messages.Recorded) error) error {
	r, err := FromStored(d)
	if err != nil {
		return err
	}
	return c.take(d.Actor, r, q, fn)
}

// FromStored reads a decision as it is stored. Its events are not opened.
func FromStored(d *messages.RecordedDecision) (messages.Recorded, error) {
	actor, err := messages.ParseActorID(d.Actor)
	if err != nil {
		return messages.Recorded{}, damagedAt(d.Sequence, "%v", err)
	}
	at, err := time.Parse(time.RFC3339Nano, d.At)
	if err != nil {
		return messages.Recorded{}, damagedAt(d.Sequence, "the decision of %s has no readable time", actor)
	}
	return messages.Recorded{
		Actor: actor, Sequence: d.Sequence, Expected: d.Expected, ID: d.Id,
		Meta:   messages.Meta{ID: d.Id, Correlation: d.Correlation, Causation: d.Causation, Caller: d.Caller},
		BootID: d.BootId, At: at, Decision: d.Decision,
	}, nil
}

// Stored writes a decision as it is stored, for other hosts and for programs that fold it.
func Stored(r messages.Recorded) *messages.RecordedDecision {
	return &messages.RecordedDecision{Sequence: r.Sequence, At: r.At.UTC().Format(time.RFC3339Nano), Actor: r.Actor.String(), Id: r.ID, Correlation: r.Meta.Correlation,
		Causation: r.Meta.Causation, Caller: r.Meta.Caller, Expected: r.Expected, BootId: r.BootID, Decision: r.Decision}
}
