package pool

import (
	"slices"
	"sort"
	"time"

	"modelops/messages"
)

// order says which request goes first: by class, but a request rises through the classes as it waits and is before all of them when it has
// waited for maxWait (0 = never), so that no request starves. Within a rank the earlier request goes first.
type order struct {
	maxWait time.Duration
}

// rank of a request at a time; -1 is before all classes. A lower class rises in more steps, so that all are at -1 after the same time.
func (o order) rank(r Request, now time.Time) int {
	if o.maxWait <= 0 {
		return r.Class
	}
	return max(r.Class-int(float64(r.Class+1)*float64(now.Sub(r.came()))/float64(o.maxWait)), -1)
}

// before tells whether a goes before b.
func (o order) before(a, b Request, now time.Time) bool {
	ra, rb := o.rank(a, now), o.rank(b, now)
	switch {
	case ra != rb:
		return ra < rb
	case !a.came().Equal(b.came()):
		return a.came().Before(b.came())
	}
	return a.Ticket < b.Ticket
}

// came is when the request came to the first host that it waited at.
func (r Request) came() time.Time {
	if r.Before <= 0 {
		return r.Since
	}
	return r.Since.Add(-r.Before)
}

// queue holds the requests that wait, a line for each class and for each place that they are bound to. Within a line the earlier request goes
// first at any time, so only the heads of the lines are compared.
type queue struct {
	lines []line
	n     int
}

type line struct {
	class int
	only  messages.Only
	rs    []Request
}

// push puts a request into its line, mostly at the end, and says its position.
func (q *queue) push(r Request, o order, now time.Time) int {
	at := slices.IndexFunc(q.lines, func(l line) bool { return l.class == r.Class && l.only == r.Only })
	if at < 0 {
		at = len(q.lines)
		q.lines = append(q.lines, line{class: r.Class, only: r.Only})
	}
	l := &q.lines[at]
	i := len(l.rs)
	for i > 0 && o.before(r, l.rs[i-1], now) { // it has waited elsewhere
		i--
	}
	l.rs = slices.Insert(l.rs, i, r)
	q.n++
	return q.rankOf(at, i, o, now)
}

// pop takes the head of a line out.
func (q *queue) pop(at int) {
	q.lines[at].rs = q.lines[at].rs[1:]
	q.n--
}

// remove takes a ticket out, wherever it stands; false when it doesn't wait.
func (q *queue) remove(ticket uint64) bool {
	at, i := q.find(ticket)
	if i < 0 {
		return false
	}
	q.lines[at].rs = slices.Delete(q.lines[at].rs, i, i+1)
	q.n--
	return true
}

// impatient are the tickets that may not wait until a time; all when it is zero.
func (q *queue) impatient(end time.Time) (out []uint64) {
	for _, l := range q.lines {
		for _, r := range l.rs {
			if !r.outlasts(end) {
				out = append(out, r.Ticket)
			}
		}
	}
	return out
}

func (q *queue) find(ticket uint64) (at, i int) {
	for at, l := range q.lines {
		if i := slices.IndexFunc(l.rs, func(r Request) bool { return r.Ticket == ticket }); i >= 0 {
			return at, i
		}
	}
	return 0, -1
}

// position of a waiting ticket, from 1; 0 when it doesn't wait.
func (q *queue) position(ticket uint64, o order, now time.Time) int {
	at, i := q.find(ticket)
	if i < 0 {
		return 0
	}
	return q.rankOf(at, i, o, now)
}

// rankOf is the position, from 1, of the i-th request of a line. Those of another line that go before it stand at that line's head.
func (q *queue) rankOf(at, i int, o order, now time.Time) int {
	r, n := q.lines[at].rs[i], i+1
	for other, l := range q.lines {
		if other != at {
			n += sort.Search(len(l.rs), func(k int) bool { return !o.before(l.rs[k], r, now) })
		}
	}
	return n
}

// tickets of all requests, line after line.
func (q *queue) tickets() (out []uint64) {
	for _, l := range q.lines {
		out = append(out, l.tickets()...)
	}
	return out
}

func (l *line) tickets() (out []uint64) {
	for _, r := range l.rs {
		out = append(out, r.Ticket)
	}
	return out
}
