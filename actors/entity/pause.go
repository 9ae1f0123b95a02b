package entity

import (
	"context"
	"time"
)

// Pauser is a context in which time passes otherwise, as in the simulator.
type Pauser interface{ Pause(time.Duration) error }

// Pause waits for a time, or until ctx ends, whose error it then is.
func Pause(ctx context.Context, d time.Duration) error {
	if p, ok := ctx.(Pauser); ok {
		return p.Pause(d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
