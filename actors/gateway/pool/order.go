package pool

import (
	"slices"
	"sort"
	"time"
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
	return max(r.Class-int(float64(r.Class+1)*float64(now.Sub(r.Since))/float64(o.maxWait)), -1)
}

// before tells whether a goes before b.
func (o order) before(a, b Request, now time.Time) bool {
	ra, rb := o.rank(a, now), o.rank(b, now)
	switch {
	case ra != rb:
		return ra < rb
	case !a.Since.Equal(b.Since):
		return a.Since.Before(b.Since)
	}
	return a.Ticket < b.Ticket
}

// queue holds the requests that wait, a line for each class. Within a line the earlier request goes first at any time, so only the heads of
// the lines are compared.
type queue struct {
	lines [][]Request
	n     int
}

// push puts a request at the end of its class's line, and says its position.
func (q *queue) push(r Request, o order, now time.Time) int {
	for len(q.lines) <= r.Class {
		q.lines = append(q.lines, nil)
	}
	q.lines[r.Class] = append(q.lines[r.Class], r)
	q.n++
	return q.rankOf(r.Class, len(q.lines[r.Class])-1, o, now)
}

// first is the request that goes first; false when none waits.
func (q *queue) first(o order, now time.Time) (best Request, ok bool) {
	for _, line := range q.lines {
		if len(line) > 0 && (!ok || o.before(line[0], best, now)) {
			best, ok = line[0], true
		}
	}
	return best, ok
}

// pop takes the head of a class's line out.
func (q *queue) pop(class int) {
	q.lines[class] = q.lines[class][1:]
	q.n--
}

// remove takes a ticket out, wherever it stands; false when it doesn't wait.
func (q *queue) remove(ticket uint64) bool {
	class, i := q.find(ticket)
	if i < 0 {
		return false
	}
	q.lines[class] = slices.Delete(q.lines[class], i, i+1)
	q.n--
	return true
}

// impatient are the tickets that may not wait until a time; all when it is zero.
func (q *queue) impatient(end time.Time) (out []uint64) {
	for _, line := range q.lines {
		for _, r := range line {
			if !r.outlasts(end) {
				out = append(out, r.Ticket)
			}
		}
	}
	return out
}

func (q *queue) find(ticket uint64) (class, i int) {
	for class, line := range q.lines {
		if i := slices.IndexFunc(line, func(r Request) bool { return r.Ticket == ticket }); i >= 0 {
			return class, i
		}
	}
	return 0, -1
}

// position of a waiting ticket, from 1; 0 when it doesn't wait.
func (q *queue) position(ticket uint64, o order, now time.Time) int {
	class, i := q.find(ticket)
	if i < 0 {
		return 0
	}
	return q.rankOf(class, i, o, now)
}

// rankOf is the position, from 1, of the i-th request of a line. Those of another line that go before it stand at that line's head.
func (q *queue) rankOf(class, i int, o order, now time.Time) int {
	r, n := q.lines[class][i], i+1
	for other, line := range q.lines {
		if other != class {
			n += sort.Search(len(line), func(k int) bool { return !o.before(line[k], r, now) })
		}
	}
	return n
}

// tickets of all requests, line after line.
func (q *queue) tickets() (out []uint64) {
	for _, line := range q.lines {
		for _, r := range line {
			out = append(out, r.Ticket)
		}
	}
	return out
}
