package explain

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// Journal is what a Book reads.
type Journal interface {
	// Sequence is that of the last decision.
	Sequence() uint64
	// Replay calls fn with each decision behind after up to until, in order. Decisions with events that this build doesn't know have none.
	Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error
	// Read calls fn with the decisions of some sequences, in order.
	Read(ctx context.Context, sequences []uint64, fn func(messages.Recorded) error) error
}

// Book answers questions about the journal from an index by subject. The index is built in the background (Run) or by the first question,
// whichever comes first, and fed by Take from then on. A question sees the journal up to the sequence that it had when it was asked. All
// methods may be called from many goroutines.
type Book struct {
	journal Journal
	host    string // whose journal it is; empty = there is one only
	limits  limits
	turn    chan struct{} // holds one token; its owner may use index
	index   *index
	follows atomic.Bool   // the index reached the journal's end once: Take is worth its while
	behind  chan struct{} // Take missed a decision
	search  search
}

// NewBook makes a Book of a host's journal that has read nothing yet. The host may be empty when there is one journal only.
func NewBook(host string, j Journal) *Book { return newBook(host, j, defaultLimits) }

func newBook(host string, j Journal, l limits) *Book {
	return &Book{journal: j, host: host, limits: l, turn: make(chan struct{}, 1), index: newIndex(l), behind: make(chan struct{}, 1), search: search{running: make(chan struct{}, 1)}}
}

const (
	// startAfter keeps the processor free while the daemon starts.
	startAfter = 10 * time.Second
	// slice is how many decisions are read before others get their turn.
	slice = 8192
	// tryAgain is the pause after the journal couldn't be read.
	tryAgain = 5 * time.Second
)

// Run builds the index in the background, with half of one core at most, and closes gaps that Take found. It ends with ctx.
func (b *Book) Run(ctx context.Context) {
	if entity.Pause(ctx, startAfter) != nil {
		return
	}
	for {
		took, err := b.readSlice(ctx)
		switch {
		case err != nil:
			took = tryAgain
		case took == 0:
			select {
			case <-ctx.Done():
				return
			case <-b.behind:
			}
		}
		if entity.Pause(ctx, took) != nil {
			return
		}
	}
}

// readSlice reads on for a bit and tells how long it took; 0 when there was nothing to read.
func (b *Book) readSlice(ctx context.Context) (time.Duration, error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	began, seen := time.Now(), b.index.seen
	if err := b.catchUp(ctx, min(seen+slice, b.journal.Sequence())); err != nil || b.index.seen == seen {
		return 0, err
	}
	return max(time.Since(began), 1), nil
}

// Take feeds the next decision to the index. Before the index is built it does nothing: what is read then comes from the journal.
func (b *Book) Take(r messages.Recorded) {
	if !b.follows.Load() {
		return
	}
	b.turn <- struct{}{}
	defer b.leave()
	switch {
	case r.Sequence == b.index.seen+1:
		b.index.take(r)
	case r.Sequence > b.index.seen+1:
		select {
		case b.behind <- struct{}{}:
		default:
		}
	}
}

// enter waits for the turn at the index.
func (b *Book) enter(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return messages.AsError(ctx.Err())
	}
}

func (b *Book) leave() { <-b.turn }

// catchUp reads on up to a sequence. The caller has the turn. One that is cancelled leaves what it read to the next.
func (b *Book) catchUp(ctx context.Context, until uint64) error {
	if b.index.seen < until {
		err := b.journal.Replay(ctx, b.index.seen, until, func(r messages.Recorded) error {
			b.index.take(r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if b.index.seen >= b.journal.Sequence() {
		b.follows.Store(true)
	}
	return nil
}

// read gathers what a question needs.
func (b *Book) read(ctx context.Context, q Question) (*reading, error) {
	sequence := b.journal.Sequence()
	l := lookup{journal: b.journal, host: b.host, use: func(use func(*index)) error { return b.at(ctx, sequence, use) }}
	r, err := l.read(ctx, q)
	if errors.Is(err, errForgotten) {
		var x *index
		if x, err = b.forgotten(ctx, q.topics()...); err != nil {
			return nil, err
		}
		l.use = func(use func(*index)) error { use(x); return nil }
		r, err = l.read(ctx, q)
	}
	return r, err
}

// at uses the index once it has seen a sequence.
func (b *Book) at(ctx context.Context, sequence uint64, use func(*index)) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	if err := b.catchUp(ctx, sequence); err != nil {
		return err
	}
	use(b.index)
	return nil
}

// topics are what a search for the question's subject keeps.
func (q Question) topics() []topic {
	out := []topic{topicOf(ofID, q.ID), topicOf(ofAsked, q.ID)}
	if q.Model != (messages.ActorID{}) {
		out = append(out, topicOf(ofModel, q.Model.String()))
	}
	return out
}

// search reads the whole journal for subjects that the index has forgotten. One reading runs at a time, and serves every question that waited
// when it began.
type search struct {
	running chan struct{} // holds one token
	mu      sync.Mutex
	next    *pass // that hasn't begun; nil when no question waits for one
}

// pass is one reading of the whole journal.
type pass struct {
	subjects map[topic]bool
	done     chan struct{}
	index    *index
	err      error
}

func (s *search) join(subjects []topic) *pass {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &pass{subjects: map[topic]bool{}, done: make(chan struct{})}
	}
	for _, t := range subjects {
		s.next.subjects[t] = true
	}
	return s.next
}

// begin closes a pass for further subjects; false when another question has begun it.
func (s *search) begin(p *pass) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != p {
		return false
	}
	s.next = nil
	return true
}

// forgotten reads the whole journal for some subjects, together with other questions that need it at the time. The index that it returns is
// shared and must not be changed.
func (b *Book) forgotten(ctx context.Context, subjects ...topic) (*index, error) {
	for {
		p := b.search.join(subjects)
		select {
		case <-ctx.Done():
			return nil, messages.AsError(ctx.Err())
		case <-p.done:
		case b.search.running <- struct{}{}:
			if b.search.begin(p) {
				p.index = newSearch(b.limits, p.subjects)
				p.err = b.journal.Replay(ctx, 0, b.journal.Sequence(), func(r messages.Recorded) error { p.index.take(r); return nil })
				close(p.done)
			}
			<-b.search.running
			<-p.done
		}
		if p.err == nil || ctx.Err() != nil || messages.CodeOf(p.err) != messages.Cancelled && messages.CodeOf(p.err) != messages.DeadlineExceeded {
			return p.index, p.err
		}
	}
}
