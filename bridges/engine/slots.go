package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// errQueueFull is returned when too many requests wait already.
var errQueueFull = errors.New("all slots are busy and the queue is full")

// slot is one place for a running request. Its sequence belongs to the request that acquired it.
type slot struct {
	id     int
	seq    *sequence
	used   uint64 // when it was last given back, in turns; the oldest is reused first
	task   int64  // guarded by the pool: the running request, or the last one
	active bool   // guarded by the pool
}

// pool hands out slots in order of arrival.
type pool struct {
	mu       sync.Mutex
	slots    []*slot
	waiting  []chan *slot // FIFO; each has room for one, so handing over never blocks
	maxQueue int
	turn     uint64
	tasks    int64
}

func newPool(seqs []*sequence, maxQueue int) *pool {
	p := &pool{maxQueue: maxQueue}
	for i, s := range seqs {
		p.slots = append(p.slots, &slot{id: i, seq: s, task: -1})
	}
	return p
}

// acquire waits for a slot. Among several free ones it takes that whose cache shares the longest prefix with prompt.
func (p *pool) acquire(ctx context.Context, prompt []int32) (*slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if s := p.best(prompt); s != nil {
		p.occupy(s)
		p.mu.Unlock()
		return s, nil
	}
	if len(p.waiting) >= p.maxQueue {
		p.mu.Unlock()
		return nil, errQueueFull
	}
	turn := make(chan *slot, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case s := <-turn:
		return s, nil
	case <-ctx.Done():
		p.abandon(turn)
		return nil, ctx.Err()
	}
}

// abandon leaves the queue. A slot that was handed over in the same instant goes to the next in line.
func (p *pool) abandon(turn chan *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	p.pass(<-turn)
}

func (p *pool) release(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass(s)
}

// pass gives a slot to the longest waiting request, or marks it free. The lock is held.
func (p *pool) pass(s *slot) {
	p.turn++
	s.used, s.active = p.turn, false
	if len(p.waiting) == 0 {
		return
	}
	turn := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	p.occupy(s)
	turn <- s
}

func (p *pool) occupy(s *slot) {
	s.active, s.task = true, p.tasks
	p.tasks++
}

func (p *pool) best(prompt []int32) *slot {
	var best *slot
	longest := -1
	for _, s := range p.slots {
		if s.active {
			continue
		}
		n := shared(s.seq.tokens, prompt)
		if n > longest || n == longest && s.used < best.used {
			best, longest = s, n
		}
	}
	return best
}

// slotView is a slot's public state at one moment.
type slotView struct {
	id     int
	active bool
	task   int64
}

func (p *pool) view() (views []slotView, busy, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		views = append(views, slotView{s.id, s.active, s.task})
		if s.active {
			busy++
		}
	}
	return views, busy, len(p.waiting)
}
