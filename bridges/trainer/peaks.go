package trainer

import (
	"context"
	"sync"
	"time"
)

// measureEvery is how often a running attempt's memory is measured.
const measureEvery = 2 * time.Second

// peaks are the largest measured amounts of attempts, by nonce. They are lost with the daemon: what is measured afterwards counts alone.
type peaks struct {
	mu   sync.Mutex
	most map[string]uint64
}

func (p *peaks) saw(nonce string, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most == nil {
		p.most = map[string]uint64{}
	}
	p.most[nonce] = max(p.most[nonce], bytes)
}

// of is what was seen of an attempt that has ended; it is asked for once more when its report was lost.
func (p *peaks) of(nonce string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most[nonce]
}

// measure measures an attempt's memory until ctx ends.
func (t *Trainer) measure(ctx context.Context, a Attempt, pid int64) {
	again := time.NewTicker(measureEvery)
	defer again.Stop()
	for {
		if bytes, err := t.o.Measure(ctx, a.Job, pid); err == nil && bytes > 0 {
			t.peaks.saw(a.Nonce, bytes)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
