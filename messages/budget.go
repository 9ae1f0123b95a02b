package messages

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// bodyPatience is how long a body waits for its part of the budget.
const bodyPatience = 10 * time.Second

// Budget bounds the memory of all request bodies together, at every door. A nil one has no bound. It is for concurrent use.
type Budget struct {
	limit   int64
	used    atomic.Int64
	waits   atomic.Int64 // those in line, and those about to be
	garbage atomic.Int64 // bytes of large bodies that ended since the last collection
	mu      sync.Mutex
	waiting []*bodyWaiter // the first one goes first
	// owed is what goes back after a collection; collects while one runs.
	owed     int64
	collects bool
}

// largeBody is from how many bytes on a body that ended counts as garbage: the runtime collects it in its own time, which can be several bodies late.
const largeBody = 1 << 20

type bodyWaiter struct {
	n   int64
	has chan struct{} // closed when it has its part
}

// NewBudget makes a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is how many bytes are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Full tells that a small body would have to wait.
func (b *Budget) Full() bool { return b != nil && b.used.Load() >= b.limit }

// Body is one body's part of a budget. The zero value has no bound; Free gives all of it back.
type Body struct {
	b *Budget
	n int64
}

// Body begins a body without a part.
func (b *Budget) Body() Body { return Body{b: b} }

// Doubled is the part of a body of n bytes that is there twice, as it came and as an engine gets it: all of the budget at most, where one alone fits.
func (b *Budget) Doubled(n int64) int64 {
	if b == nil {
		return n
	}
	return max(n, min(2*n, b.limit))
}

// Grow takes n bytes more before they are read. What doesn't fit waits, for a bounded time and as long as ctx.
func (p *Body) Grow(ctx context.Context, n int64) error {
	if p.b == nil || n <= 0 {
		return nil
	}
	if p.n+n > p.b.limit {
		return Errorf(PayloadTooLarge, "", "the body is larger than all bodies together may be, %s", FormatBytes(uint64(p.b.limit))).
			WithHint("send less, or raise server.body_budget_mb")
	}
	if !p.b.take(n) {
		if err := p.b.await(ctx, n); err != nil {
			return err
		}
	}
	p.n += n
	return nil
}

// Free gives the part back. The caller must not hold the body any more. It may be called again. When large bodies have left a quarter of the budget
// as garbage, it is collected first: else the process would hold several times what the budget says.
func (p *Body) Free() {
	n := p.n
	p.n = 0
	switch {
	case p.b == nil || n == 0:
	case n >= largeBody && p.b.garbage.Add(n) > p.b.limit/4:
		p.b.collect(n)
	default:
		p.b.giveBack(n)
	}
}

func (b *Budget) giveBack(n int64) {
	b.used.Add(-n)
	if b.waits.Load() > 0 {
		b.handOut()
	}
}

// collect gives n back after a collection. One runs at a time, for all that ended before it began.
func (b *Budget) collect(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed += n
	if b.collects {
		return
	}
	b.collects = true
	go func() {
		for {
			b.mu.Lock()
			back := b.owed
			b.owed, b.collects = 0, back > 0
			b.mu.Unlock()
			if back == 0 {
				return
			}
			b.garbage.Store(0)
			runtime.GC()
			b.giveBack(back)
		}
	}()
}

func (b *Budget) take(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (b *Budget) await(ctx context.Context, n int64) error {
	b.waits.Add(1) // before the last look: who frees from now on looks at the line
	defer b.waits.Add(-1)
	w := &bodyWaiter{n: n, has: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	b.handOut()
	patience := time.NewTimer(bodyPatience)
	defer patience.Stop()
	var err error
	select {
	case <-w.has:
		return nil
	case <-ctx.Done():
		err = AsError(context.Cause(ctx))
	case <-patience.C:
		err = Errorf(BulkheadRejection, "", "request bodies take %s of %s, and this one found no room within %s", FormatBytes(uint64(b.used.Load())), FormatBytes(uint64(b.limit)), bodyPatience).
			WithRetry(time.Second).WithHint("try again later, or raise server.body_budget_mb")
	}
	return b.leave(w, err)
}

// leave takes a waiter out of the line; one that got its part in the same instant keeps it.
func (b *Budget) leave(w *bodyWaiter, err error) error {
	b.mu.Lock()
	for i, x := range b.waiting {
		if x == w {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.mu.Unlock()
			b.handOut() // those behind it may fit
			return err
		}
	}
	b.mu.Unlock()
	return nil
}

// handOut gives the first in line what is free.
func (b *Budget) handOut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) > 0 && b.take(b.waiting[0].n) {
		close(b.waiting[0].has)
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
	}
}
