package messages

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Bodies wait for the budget in order, give it back, and are refused after a bounded time; a body that can never fit is refused at once.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		first, second, third := b.Body(), b.Body(), b.Body()
		if err := first.Grow(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		if err := second.Grow(t.Context(), 101); CodeOf(err) != PayloadTooLarge {
			t.Errorf("larger than all: %v", err)
		}
		began := time.Now()
		if err := second.Grow(t.Context(), 50); CodeOf(err) != BulkheadRejection || AsError(err).Retry <= 0 || time.Since(began) != bodyPatience {
			t.Errorf("full: %v after %s", err, time.Since(began))
		}
		got := make(chan int, 2)
		go func() { _ = second.Grow(t.Context(), 50); got <- 2 }()
		synctest.Wait()
		left, leave := context.WithCancel(t.Context())
		go func() {
			if err := third.Grow(left, 60); CodeOf(err) != Cancelled {
				t.Errorf("a caller that left got %v", err)
			}
			got <- 3
		}()
		synctest.Wait()
		leave()
		if n := <-got; n != 3 {
			t.Fatal("it got room where there is none")
		}
		first.Free()
		first.Free()
		if n := <-got; n != 2 || b.Used() != 50 {
			t.Errorf("%d, used %d", n, b.Used())
		}
		second.Free()
		if b.Used() != 0 || len(b.waiting) != 0 || b.waits.Load() != 0 {
			t.Errorf("left: %+v", b)
		}
		var none Body
		if err := none.Grow(t.Context(), 1<<40); err != nil {
			t.Error(err)
		}
		none.Free()
	})
}

// However bodies come and go, no more is taken than there is, and in the end nothing is.
func TestBudgetUnderLoad(t *testing.T) {
	b := NewBudget(1000)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for k := range 200 {
				body := b.Body()
				for range 3 {
					if err := body.Grow(t.Context(), int64((i*31+k*17)%300)); err != nil {
						break
					}
					if used := b.Used(); used > 1000 || used < 0 {
						t.Errorf("used %d", used)
					}
					if body.n > 250 { // who holds much asks for no more: two such would wait for each other
						break
					}
				}
				body.Free()
			}
		})
	}
	all.Wait()
	if b.Used() != 0 || b.waits.Load() != 0 {
		t.Errorf("left: used %d, waits %d", b.Used(), b.waits.Load())
	}
}

// What large bodies leave as garbage is collected before it is given back, and it is given back.
func TestBudgetCollects(t *testing.T) {
	b := NewBudget(8 << 20)
	for range 20 {
		body := b.Body()
		if err := body.Grow(t.Context(), 7<<20); err != nil { // waits for the collection
			t.Fatal(err)
		}
		body.Free()
	}
	last := b.Body()
	if err := last.Grow(t.Context(), 8<<20); err != nil || b.garbage.Load() != 0 {
		t.Errorf("%v, garbage %d", err, b.garbage.Load())
	}
}
