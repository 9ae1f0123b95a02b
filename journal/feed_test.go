package journal

import (
	"context"
	"sync"
	"testing"

	"modelops/messages"
)

// A feed passes on what is appended after its making, also what came before it runs, and knows how far behind it is.
func TestFeedPassesOnWhatComes(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	f := NewFeed(j)
	mustAppend(t, j, modelName(100), 0, wanted("before it runs")...)
	if f.Lag() != 1 {
		t.Errorf("it lags %d behind", f.Lag())
	}
	ctx, end := context.WithCancel(t.Context())
	passed := make(chan uint64, 10)
	var ran sync.WaitGroup
	ran.Go(func() { f.Run(ctx, func(r messages.Recorded) { passed <- r.Sequence }) })
	mustAppend(t, j, modelName(101), 0, wanted("while it runs")...)
	if first, second := <-passed, <-passed; first != 4 || second != 5 || f.Lag() != 0 {
		t.Errorf("passed on %d and %d, and lags %d behind", first, second, f.Lag())
	}
	end()
	ran.Wait()
}

// What a feed has passed on can be read, also when the append of it has yet to return.
func TestWhatAFeedPassesOnCanBeRead(t *testing.T) {
	j := testOpen(t)
	f := NewFeed(j)
	ctx, end := context.WithCancel(t.Context())
	const many = 300
	done := make(chan struct{})
	var ran sync.WaitGroup
	ran.Go(func() {
		f.Run(ctx, func(r messages.Recorded) {
			if err := j.Read(ctx, []uint64{r.Sequence}, func(messages.Recorded) error { return nil }); err != nil {
				t.Error(err)
			}
			if r.Sequence == many {
				close(done)
			}
		})
	})
	head := uint64(0)
	for range many {
		head = mustAppend(t, j, modelName(1), head, wanted("x")...)
	}
	<-done
	end()
	ran.Wait()
}

func TestLastTime(t *testing.T) {
	j := testOpen(t)
	if at, err := j.LastTime(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("an empty journal ends at %s, %v", at, err)
	}
	fill(t, j, 3)
	want, err := j.LastTime(t.Context())
	if err != nil || want.IsZero() {
		t.Errorf("it ends at %s, %v", want, err)
	}
}
