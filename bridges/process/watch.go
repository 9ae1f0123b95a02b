package process

import (
	"context"
	"time"
)

// Watch blocks until the process has ended and tells how. A process that is Gone when it is first looked at has ended unwitnessed. One of
// which nothing can be told is looked at again, until it can. What the process left behind is killed before Watch returns, because it would
// hold memory that counts as free. When ctx ends, its error is returned and the process is left alone. Meanwhile the log is kept below its
// limit.
func (s *Supervisor) Watch(ctx context.Context, h Handle) (Exit, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, unknownPause) {
		if c := s.childOf(h); c != nil {
			return s.watchChild(ctx, c)
		}
		p, live, why := s.Open(h)
		switch live {
		case Alive:
			return s.watchHeld(ctx, h, p)
		case Gone:
			if _, rest, _ := s.Find(ctx, h.Nonce); rest != Unknown { // it kills what the process left behind, unless a leader lives
				return unwitnessed(h, why), nil
			}
		}
		s.log.Debug("it can't be told whether a process lives", "pid", h.Pid, "why", why)
		if err := Sleep(ctx, pause); err != nil {
			return Exit{}, err
		}
	}
}

// watchHeld waits for a process that another program had started.
func (s *Supervisor) watchHeld(ctx context.Context, h Handle, p *Hold) (Exit, error) {
	defer p.Close()
	stop := s.keepLog(ctx, h)
	defer stop()
	if err := p.Wait(ctx); err != nil {
		return Exit{}, err
	}
	return p.exit(h), s.killRest(ctx, h)
}

// watchChild waits for our own child, whose exit status is given to us in any case.
func (s *Supervisor) watchChild(ctx context.Context, c *child) (Exit, error) {
	stop := s.keepLog(ctx, c.handle)
	defer stop()
	select {
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	case <-c.done:
		return c.exit(), s.killRest(ctx, c.handle)
	}
}

// logCheck is how often the size of a log is looked at: a chatty program writes some MiB a second at most.
const logCheck = 2 * time.Second

// keepLog keeps the log below its limit until stop is called.
func (s *Supervisor) keepLog(ctx context.Context, h Handle) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(logCheck)
		defer tick.Stop()
		for {
			keepBelow(h.LogPath, s.logLimit)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}
