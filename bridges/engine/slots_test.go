package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func testPool(slots, queue int) *pool {
	seqs := make([]*sequence, slots)
	for i := range seqs {
		seqs[i] = &sequence{}
	}
	return newPool(seqs, queue)
}

func TestPoolIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(2, 100)
		var order []int
		var mu sync.Mutex
		for i := range 20 {
			go func() {
				s, err := p.acquire(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Duration(1+i%3) * time.Second)
				p.release(s)
			}()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Errorf("served in the order %v", order)
		}
	})
}

func TestPoolRefusesBeyondItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(1, 1)
		s, _ := p.acquire(t.Context(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		go p.acquire(ctx, nil)
		synctest.Wait()
		if _, err := p.acquire(t.Context(), nil); !errors.Is(err, errQueueFull) {
			t.Errorf("got %v", err)
		}
		cancel()
		synctest.Wait()
		p.release(s)
		if _, busy, waiting := p.view(); busy != 0 || waiting != 0 {
			t.Errorf("%d busy, %d waiting", busy, waiting)
		}
	})
}

// Whatever leaves when, no slot is lost and none is held twice.
func TestPoolLosesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPool(3, 1000)
		random := rand.New(rand.NewPCG(1, 2))
		held := map[int]bool{}
		var mu sync.Mutex
		for range 300 {
			patience, work := time.Duration(1+random.IntN(50)), time.Duration(1+random.IntN(5))
			arrive := time.Duration(random.IntN(200))
			go func() {
				time.Sleep(arrive * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), patience*time.Millisecond)
				defer cancel()
				s, err := p.acquire(ctx, nil)
				if err != nil {
					return
				}
				mu.Lock()
				if held[s.id] {
					t.Errorf("slot %d is held twice", s.id)
				}
				held[s.id] = true
				mu.Unlock()
				time.Sleep(work * time.Millisecond)
				mu.Lock()
				held[s.id] = false
				mu.Unlock()
				p.release(s)
			}()
		}
		time.Sleep(time.Minute)
		if _, busy, waiting := p.view(); busy != 0 || waiting != 0 {
			t.Errorf("%d busy, %d waiting", busy, waiting)
		}
	})
}

func TestPoolPrefersTheLongestSharedPrefix(t *testing.T) {
	p := testPool(3, 1)
	p.slots[1].seq.tokens = []int32{1, 2, 3}
	p.slots[2].seq.tokens = []int32{1, 2, 9}
	s, _ := p.acquire(t.Context(), []int32{1, 2, 3, 4})
	if s.id != 1 {
		t.Errorf("got slot %d", s.id)
	}
	p.release(s)
	if s, _ = p.acquire(t.Context(), []int32{7}); s.id != 0 {
		t.Errorf("without a match: got slot %d, want the one unused for longest", s.id)
	}
}
