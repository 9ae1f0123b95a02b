package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	w, err := c.watchOf(r)
	if err != nil {
		return nil, err
	}
	if err := w.look(ctx); err != nil {
		return nil, err
	}
	if err := c.await(ctx, r.WaitMs, waitStep, func() bool { return w.grown(ctx) }); err != nil {
		return nil, err
	}
	if w.grown(ctx) {
		for _, j := range w.all {
			j.seen = j.from.Sequence()
		}
		if err := c.awaitCauses(ctx, len(w.all)); err != nil {
			return nil, err
		}
	}
	limit := int(min(r.Limit, longestPage))
	if limit == 0 {
		limit = defaultPage
	}
	for _, j := range w.all {
		if err := j.read(ctx, actor, limit); err != nil {
			return nil, err
		}
	}
	out, err := told(w.all, limit, r.Stored)
	if err != nil {
		return nil, err
	}
	for _, j := range w.all {
		w.at[j.host] = j.after
	}
	out.Next = w.next()
	return out, nil
}

// watch is a question for new decisions while it waits.
type watch struct {
	c      *Control
	host   string            // only of this one; empty = all
	at     map[string]uint64 // by host, what was told up to now. A host whose copy can't be read keeps its place.
	all    []*watched        // those that can be read
	looked time.Time
}

// watchAnew is how often one that waits looks for hosts whose copy has begun or can be read again.
const watchAnew = 500 * time.Millisecond

func (c *Control) watchOf(r *messages.WatchRequest) (*watch, error) {
	at, err := positions(r.After)
	if err != nil {
		return nil, err
	}
	if r.Host != "" {
		maps.DeleteFunc(at, func(host string, _ uint64) bool { return host != r.Host })
	}
	return &watch{c: c, host: r.Host, at: at}, nil
}

// look opens the journals that aren't read yet. A host of which nothing was told goes on from the last decision that it is known to have made, so
// a copy that is still on its way to there brings nothing new.
func (w *watch) look(ctx context.Context) error {
	w.looked = time.Now()
	heard := map[string]uint64{w.host: 0}
	if w.host == "" {
		heard = map[string]uint64{w.c.o.Host: 0}
		if w.c.o.Copied != nil {
			copied, err := w.c.o.Copied()
			if err != nil {
				return err
			}
			maps.Copy(heard, copied)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(heard)) {
		if slices.ContainsFunc(w.all, func(j *watched) bool { return j.host == host }) {
			continue
		}
		end := heard[host]
		from, err := w.c.journalOf(ctx, host, "")
		if err != nil && w.host != "" {
			return err
		}
		if err == nil { // a copy that can't be read takes nothing from the others
			end = max(end, from.Sequence())
		}
		at, known := w.at[host]
		switch {
		case !known && err != nil && end == 0:
			continue // nothing is known of it yet
		case !known:
			at = end
		case err == nil && at > end: // the host lost its disk, and has begun another journal
			at = 0
		}
		w.at[host] = at
		if err == nil {
			w.all = append(w.all, &watched{host: host, from: from, after: at, seen: at, end: at})
		}
	}
	return nil
}

// grown tells whether there is something new.
func (w *watch) grown(ctx context.Context) bool {
	if w.host == "" && time.Since(w.looked) >= watchAnew {
		_ = w.look(ctx) // the next question says it
	}
	return slices.ContainsFunc(w.all, func(j *watched) bool { return j.from.Sequence() > j.after })
}

// next is where the next question goes on.
func (w *watch) next() string {
	var out []string
	for _, host := range slices.Sorted(maps.Keys(w.at)) {
		out = append(out, host+"="+strconv.FormatUint(w.at[host], 10))
	}
	return strings.Join(out, ",")
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
	for i, w := range all {
		if passed[i] == len(w.list) && !w.cut { // what lies behind is of other actors
			w.after = w.end
		}
	}
	return out, nil
}
