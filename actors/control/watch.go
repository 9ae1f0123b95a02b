package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// causesCome is how long a decision is held back on a host of a cluster, so that the copies bring what caused it at another host.
const causesCome = 100 * time.Millisecond

// watched is a journal that is watched.
type watched struct {
	host  string
	from  JournalCopy
	after uint64 // what was told up to now
	seen  uint64 // up to here is told now; what comes later follows with the next answer
	end   uint64 // up to here the list is read
	list  []messages.Recorded
	cut   bool // there is more in the journal than in the list
}

// Watch tells of new decisions of every host, an effect behind its cause. It stands on the copies of the other hosts' journals, so it goes on while
// a host is off.
func (c *Control) Watch(ctx context.Context, r *messages.WatchRequest) (*messages.WatchReply, error) {
	var actor messages.ActorID
	if r.Actor != "" {
		var err error
		if actor, err = c.actor(r.Actor); err != nil {
			return nil, err
		}
	}
	all, err := c.watchedBy(ctx, r)
	if err != nil {
		return nil, err
	}
	grown := func() bool {
		return slices.ContainsFunc(all, func(w *watched) bool { return w.from.Sequence() > w.after })
	}
	if err := c.awaitDecision(ctx, r.WaitMs, grown); err != nil {
		return nil, err
	}
	if grown() {
		for _, w := range all {
			w.seen = w.from.Sequence()
		}
		if err := c.awaitCauses(ctx, len(all)); err != nil {
			return nil, err
		}
	}
	limit := int(min(r.Limit, longestPage))
	if limit == 0 {
		limit = defaultPage
	}
	for _, w := range all {
		if err := w.read(ctx, actor, limit); err != nil {
			return nil, err
		}
	}
	return told(all, limit, r.Stored)
}

// watchedBy are the journals that a request is about, each from where it goes on.
func (c *Control) watchedBy(ctx context.Context, r *messages.WatchRequest) (all []*watched, err error) {
	hosts := []string{r.Host}
	if r.Host == "" {
		hosts[0] = c.o.Host
		if c.o.Copied != nil {
			copied, err := c.o.Copied()
			if err != nil {
				return nil, err
			}
			hosts = append(hosts, copied...)
		}
	}
	after, err := positions(r.After)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		from, err := c.journalOf(ctx, host, "")
		if err != nil && r.Host != "" {
			return nil, err
		}
		if err != nil {
			continue // a copy that can't be read takes nothing from the others
		}
		at, known := after[host]
		switch end := from.Sequence(); {
		case !known:
			at = end
		case at > end: // the host lost its disk, and has begun another journal
			at = 0
		}
		all = append(all, &watched{host: host, from: from, after: at, seen: at, end: at})
	}
	return all, nil
}

// positions reads HOST=SEQUENCE with commas between.
func positions(text string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for one := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		i := strings.LastIndex(one, "=")
		n, err := strconv.ParseUint(one[i+1:], 10, 64)
		if i < 1 || err != nil {
			return nil, invalid("after", fmt.Sprintf("%q is no HOST=SEQUENCE", one), "give what an answer had as next")
		}
		out[one[:i]] = n
	}
	return out, nil
}

func (c *Control) awaitCauses(ctx context.Context, journals int) error {
	if journals < 2 {
		return nil
	}
	enough := time.NewTimer(causesCome)
	defer enough.Stop()
	select {
	case <-ctx.Done():
		return messages.AsError(ctx.Err())
	case <-c.o.Life.Done():
		return messages.AsError(context.Cause(c.o.Life))
	case <-enough.C:
		return nil
	}
}

// read reads the decisions of an actor, or of all, that come next.
func (w *watched) read(ctx context.Context, actor messages.ActorID, limit int) error {
	w.end = max(w.from.Sequence(), w.after)
	if w.end == w.after {
		return nil
	}
	size := 0
	err := w.from.Replay(ctx, actor, w.after, func(d messages.Recorded) error {
		size += proto.Size(d.Decision)
		if n := len(w.list); d.Sequence > w.end || n == limit || n > 0 && size > largestPage {
			w.cut = d.Sequence <= w.end
			return errPageFull
		}
		w.list = append(w.list, d)
		return nil
	})
	if err != nil && !errors.Is(err, errPageFull) {
		return err
	}
	return nil
}

// told is the answer: what was there before the wait for causes, in causal order. A list that isn't whole ends the answer with its last decision.
func told(all []*watched, limit int, stored bool) (*messages.WatchReply, error) {
	out := &messages.WatchReply{}
	due, size := 0, 0
	lists, passed := make([][]messages.Recorded, len(all)), make([]int, len(all))
	for i, w := range all {
		lists[i] = w.list
		for _, d := range w.list {
			if d.Sequence <= w.seen {
				due++
			}
		}
	}
	err := messages.InOrder(lists, func(i int, d messages.Recorded) error {
		w := all[i]
		size += proto.Size(d.Decision)
		if n := len(out.Decisions); due == 0 || n == limit || n > 0 && size > largestPage {
			return errPageFull
		}
		shown, err := decision(d, stored)
		if err != nil {
			return err
		}
		shown.Host = w.host
		out.Decisions = append(out.Decisions, shown)
		w.after = d.Sequence
		if d.Sequence <= w.seen {
			due--
		}
		if passed[i]++; w.cut && passed[i] == len(w.list) {
			return errPageFull
		}
		return nil
	})
	if err != nil && !errors.Is(err, errPageFull) {
		return nil, err
	}
	var next []string
	for i, w := range all {
		if passed[i] == len(w.list) && !w.cut { // what lies behind is of other actors
			w.after = w.end
		}
		next = append(next, w.host+"="+strconv.FormatUint(w.after, 10))
	}
	out.Next = strings.Join(next, ",")
	return out, nil
}
