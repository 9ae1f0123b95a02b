package main

import (
	"sync"
	"time"
)

const (
	// writingLooks is how often a journal is asked whether it takes decisions.
	writingLooks = time.Second
	// writingAgain is how long it must have taken them, so that a disk at its limit doesn't move the seat each second.
	writingAgain = 10 * time.Second
)

// writing is whether this host's journal takes decisions. While it doesn't, the arbiter here can place nothing on any host, and another host's has to.
type writing struct {
	ill func() error

	mu           sync.Mutex
	looked, last time.Time // last: when it was ill
}

// not tells whether the journal takes no decisions, or did so until a moment ago.
func (w *writing) not() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.looked) >= writingLooks {
		w.looked = now
		if w.ill() != nil {
			w.last = now
		}
	}
	return !w.last.IsZero() && now.Sub(w.last) < writingAgain
}
