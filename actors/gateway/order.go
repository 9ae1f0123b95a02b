package gateway

import (
	"slices"
	"sort"
	"time"
)

// pending is a request that waits or runs.
type pending struct {
	ticket uint64
	class  int // rank of its priority class: 0 goes first
	since  time.Time
}

// order says who goes first: by class, but a request rises through the classes as it waits and is before all of them when it has
// waited for maxWait (0 = never), so that nobody starves. Within a rank, who came first goes first.
type order struct {
	maxWait time.Duration
}

// rank of a request at a time; -1 is before all classes. A lower class rises in more steps, so that all are at -1 after the same time.
func (o order) rank(p pending, now time.Time) int {
	if o.maxWait <= 0 {
		return p.class
	}
	return max(p.class-int(float64(p.class+1)*float64(now.Sub(p.since))/float64(o.maxWait)), -1)
}

// before tells whether a goes before b.
func (o order) before(a, b pending, now time.Time) bool {
	ra, rb := o.rank(a, now), o.rank(b, now)
	switch {
	case ra != rb:
		return ra < rb
	case !a.since.Equal(b.since):
		return a.since.Before(b.since)
	}
	return a.ticket < b.ticket
}

// queue is who waits, a line for each class. Within a line who came first goes first whatever time it is, so only the heads of the lines
// have to be compared.
type queue struct {
	lines [][]pending
	n     int
}

// push puts a request at the end of its class's line, and says its position.
func (q *queue) push(p pending, o order, now time.Time) int {
	for len(q.lines) <= p.class {
		q.lines = append(q.lines, nil)
	}
	q.lines[p.class] = append(q.lines[p.class], p)
	q.n++
	return q.rankOf(p.class, len(q.lines[p.class])-1, o, now)
}

// first is who goes first; false when nobody waits.
func (q *queue) first(o order, now time.Time) (best pending, ok bool) {
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

func (q *queue) find(ticket uint64) (class, i int) {
	for class, line := range q.lines {
		if i := slices.IndexFunc(line, func(p pending) bool { return p.ticket == ticket }); i >= 0 {
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

// rankOf is the position, from 1, of the i-th of a line. Those of another line who go before it stand at that line's head.
func (q *queue) rankOf(class, i int, o order, now time.Time) int {
	p, n := q.lines[class][i], i+1
	for other, line := range q.lines {
		if other != class {
			n += sort.Search(len(line), func(k int) bool { return !o.before(line[k], p, now) })
		}
	}
	return n
}

// tickets are all who wait, line after line.
func (q *queue) tickets() (out []uint64) {
	for _, line := range q.lines {
		for _, p := range line {
			out = append(out, p.ticket)
		}
	}
	return out
}
