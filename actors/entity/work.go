package entity

import (
	"context"
	"time"
)

// work is one owed effect that is being done, or waits for its next try.
type work struct {
	effect  Effect
	cancel  context.CancelFunc // nil while waiting
	timer   *time.Timer        // nil while running
	try     uint64
	failed  uint
	retired bool
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
)

// pause is the exponential back-off before the next try.
func (w *work) pause() time.Duration {
	first, longest := firstPause, longestPause
	if p, ok := w.effect.(Paced); ok {
		first, longest = p.Pace()
	}
	if w.failed > 20 {
		return longest
	}
	return min(first<<w.failed, longest)
}

// retire ends the work: its goroutine's context is cancelled, its late answer will find no such try.
func (w *work) retire() {
	w.retired = true
	if w.cancel != nil {
		w.cancel()
	}
	if w.timer != nil {
		w.timer.Stop()
	}
}
