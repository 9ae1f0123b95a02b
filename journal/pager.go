package journal

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// The bounds of one page.
const (
	usualPage   = 1000 // decisions
	mostOfPage  = 4096
	pageBytes   = 900 << 10 // beside one that is larger alone: a page stays below 1 MiB
	longestPoll = 30 * time.Second
)

// errPageFull ends the reading of a page.
var errPageFull = errNamed("the page is full")

type errNamed string

func (e errNamed) Error() string { return string(e) }

// Pager serves other hosts the decisions of this host's journal, and of the copies that it keeps.
type Pager struct {
	Host    string
	Journal *Journal
	Copies  *Copies // nil = it keeps none
}

// paged is what pages are read from.
type paged interface {
	Sequence() uint64
	Grown() <-chan struct{}
	BootID() string
	Replay(ctx context.Context, q Query, fn func(messages.Recorded) error) error
}

// Page answers a request. It waits when there is nothing yet, as long as the request says.
func (p Pager) Page(ctx context.Context, r *messages.PageRequest) (*messages.PageReply, error) {
	var from paged = p.Journal
	host := p.Host
	if r.Host != "" && r.Host != p.Host {
		kept, err := p.Copies.Of(ctx, r.Host)
		if err != nil {
			return nil, err
		}
		from, host = kept, r.Host
	}
	if err := awaitBehind(ctx, from, r.After, min(time.Duration(r.WaitMs)*time.Millisecond, longestPoll)); err != nil {
		return nil, err
	}
	page := &messages.PageReply{Host: host, LastSequence: from.Sequence(), BootId: from.BootID()}
	if page.LastSequence <= r.After {
		return page, nil
	}
	limit, size := int(min(r.Limit, mostOfPage)), 0
	if limit == 0 {
		limit = usualPage
	}
	err := from.Replay(ctx, Query{After: r.After, Until: page.LastSequence, Unknown: true}, func(rec messages.Recorded) error {
		d := Stored(rec)
		size += proto.Size(d)
		if n := len(page.Decisions); n == limit || n > 0 && size > pageBytes {
			return errPageFull
		}
		page.Decisions = append(page.Decisions, d)
		return nil
	})
	if err != nil && err != errPageFull {
		return nil, err
	}
	return page, nil
}

// awaitBehind waits until there is a decision behind a sequence, and no longer than said.
func awaitBehind(ctx context.Context, from paged, after uint64, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	enough := time.NewTimer(wait)
	defer enough.Stop()
	for {
		grown := from.Grown()
		if from.Sequence() > after {
			return nil
		}
		select {
		case <-ctx.Done():
			return messages.AsError(ctx.Err())
		case <-enough.C:
			return nil
		case <-grown:
		}
	}
}
