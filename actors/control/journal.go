package control

import (
	"context"
	"errors"
	"time"

	"modelops/messages"
)

// The decisions of one page of the journal.
const (
	defaultPage = 100
	longestPage = 1000
)

// errPageFull ends the reading of a page.
var errPageFull = errors.New("the page is full")

// ReadJournal lists decisions, oldest first. Events that this build doesn't know have no body.
func (c *Control) ReadJournal(ctx context.Context, r *messages.JournalRequest) (*messages.JournalPage, error) {
	var actor messages.ActorID
	var err error
	if r.Actor != "" {
		if actor, err = c.actor(r.Actor); err != nil {
			return nil, err
		}
	}
	limit := int(min(r.Limit, longestPage))
	if limit == 0 {
		limit = defaultPage
	}
	page := &messages.JournalPage{LastSequence: c.o.Sequence()}
	err = c.o.Replay(ctx, actor, r.After, func(d messages.Recorded) error {
		if len(page.Decisions) == limit {
			return errPageFull
		}
		shown, err := decision(d)
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

func decision(d messages.Recorded) (*messages.RecordedDecision, error) {
	out := &messages.RecordedDecision{Sequence: d.Sequence, At: d.At.UTC().Format(time.RFC3339Nano), Actor: d.Actor.String(), Id: d.ID,
		Correlation: d.Meta.Correlation, Causation: d.Meta.Causation, Caller: d.Meta.Caller}
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
