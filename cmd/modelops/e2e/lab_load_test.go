//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// labLoad asks a host for a model at a steady pace, until it is ended. Each request counts by how it ended.
type labLoad struct {
	h      *labHost
	model  string
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	asked int
	open  map[int]time.Time
	ended map[string]int
	said  map[string]string // the last words of each end but a good one
	took  []time.Duration   // of the good ones
}

// load begins to ask, so many times a second; each answer takes some time at the engine.
func (h *labHost) load(model string, rate int, takes time.Duration) *labLoad {
	ctx, cancel := context.WithCancel(h.t.Context())
	l := &labLoad{h: h, model: model, cancel: cancel, open: map[int]time.Time{}, ended: map[string]int{}, said: map[string]string{}}
	h.t.Cleanup(func() { cancel(); l.work.Wait() })
	h.lab.timeline.note("lab", "ask %s for %s %d times a second", h.name(), model, rate)
	l.work.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				l.work.Go(func() { l.one(context.WithoutCancel(ctx), takes) })
			}
		}
	})
	return l
}

func (l *labLoad) one(ctx context.Context, takes time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	l.mu.Lock()
	l.asked++
	n := l.asked
	began := time.Now()
	l.open[n] = began
	l.mu.Unlock()
	a := l.h.do(ctx, "POST", "/v1/chat/completions", question(l.model, france, "takes_ms", takes.Milliseconds()))
	how := "OK"
	switch {
	case a.err != nil:
		how = "no answer"
	case a.status != 200:
		how = cmp.Or(a.code(), fmt.Sprint(a.status))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, n)
	l.ended[how]++
	if how == "OK" {
		l.took = append(l.took, time.Since(began))
		return
	}
	if l.said[how] == "" {
		l.h.lab.timeline.note("load", "%s for %s: %s: %s", l.h.name(), l.model, how, a)
	}
	l.said[how] = a.String()
}

// good is how many were answered, bad how many were not.
func (l *labLoad) good() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended["OK"]
}

func (l *labLoad) bad() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for how, times := range l.ended {
		if how != "OK" {
			n += times
		}
	}
	return n
}

// flows waits until so many more are answered.
func (l *labLoad) flows(more int) {
	l.h.t.Helper()
	before := l.good()
	l.h.lab.until(fmt.Sprintf("%d more requests are answered by %s", more, l.h.name()), func() bool { return l.good() >= before+more })
}

// stop asks no more and waits until each request has its answer.
func (l *labLoad) stop() {
	l.h.t.Helper()
	l.cancel()
	l.work.Wait()
}

func (l *labLoad) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []string{fmt.Sprintf("%s for %s: %d asked, %d under way", l.h.name(), l.model, l.asked, len(l.open))}
	for _, how := range slices.Sorted(maps.Keys(l.ended)) {
		out = append(out, fmt.Sprintf("%s %d %.300s", how, l.ended[how], l.said[how]))
	}
	if slices.Sort(l.took); len(l.took) > 0 {
		out = append(out, fmt.Sprintf("p50 %s, p99 %s, longest %s", l.took[len(l.took)/2], l.took[len(l.took)*99/100], l.took[len(l.took)-1]))
	}
	return strings.Join(out, "; ")
}
