package gateway

import "time"

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

// first is the index of who goes first of those who wait; -1 when nobody does.
func (l *lane) first(now time.Time) int {
	best := -1
	for i, p := range l.waiting {
		if best < 0 || l.order.before(p, l.waiting[best], now) {
			best = i
		}
	}
	return best
}

// position of a waiting ticket, from 1; 0 when it doesn't wait.
func (l *lane) position(ticket uint64, now time.Time) int {
	i := l.index(ticket)
	if i < 0 {
		return 0
	}
	n := 1
	for _, p := range l.waiting {
		if p.ticket != ticket && l.order.before(p, l.waiting[i], now) {
			n++
		}
	}
	return n
}

func (l *lane) index(ticket uint64) int {
	for i, p := range l.waiting {
		if p.ticket == ticket {
			return i
		}
	}
	return -1
}
