package journal

import "sync/atomic"

// signal wakes all who wait when something has grown. Firing it costs nothing while nobody waits.
type signal struct{ waiting atomic.Pointer[chan struct{}] }

// wait is a channel that closes at the next fire. Take it before you look at what grows.
func (s *signal) wait() <-chan struct{} {
	for {
		if ch := s.waiting.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		if s.waiting.CompareAndSwap(nil, &ch) {
			return ch
		}
	}
}

func (s *signal) fire() {
	if ch := s.waiting.Swap(nil); ch != nil {
		close(*ch)
	}
}
