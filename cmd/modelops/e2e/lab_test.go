//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// lab is a laboratory: hosts by name, a network between them that can be harmed, and a timeline that is printed when the test fails.
type lab struct {
	t        *testing.T
	net      network
	names    []string
	timeline *timeline
	books    cluster

	mu    sync.Mutex
	rules map[way]condition
	hosts map[string]*labHost
}

// newLab builds a laboratory of the named hosts. It is called after laboratory said that the test runs inside.
func newLab(t *testing.T, names ...string) *lab {
	t.Helper()
	if os.Getenv(insideLab) == "" {
		return newLabOn(t, openProxies(), names...)
	}
	tuns, err := openTUNs(len(names))
	if err != nil {
		t.Fatal(err)
	}
	return newLabOn(t, tuns, names...)
}

// newLabOn builds a laboratory on a network.
func newLabOn(t *testing.T, net network, names ...string) *lab {
	t.Helper()
	l := &lab{t: t, net: net, names: names, timeline: newTimeline(), rules: map[way]condition{}, hosts: map[string]*labHost{}}
	t.Logf("laboratory: %s", l.net.kind())
	t.Cleanup(func() {
		l.net.close()
		if t.Failed() {
			t.Logf("what happened:\n%s", l.timeline)
		}
	})
	return l
}

// number is a host's in the network.
func (l *lab) number(name string) int {
	for i, n := range l.names {
		if n == name {
			return i + 1
		}
	}
	panic("no host " + name)
}

func (l *lab) address(name string) string { return l.net.address(l.number(name)) }

func (l *lab) dial(ctx context.Context, from, address string) (net.Conn, error) {
	return l.net.dial(ctx, l.number(from), address)
}

// link is how a host reaches a port of another.
func (l *lab) link(from, to string, port int) string {
	l.t.Helper()
	address, err := l.net.link(way{l.number(from), l.number(to)}, port)
	if err != nil {
		l.t.Fatal(err)
	}
	return address
}

// rule changes what befalls the packets from one host to another.
func (l *lab) rule(from, to string, change func(*condition)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := way{l.number(from), l.number(to)}
	c := l.rules[w]
	change(&c)
	l.rules[w] = c
	l.net.set(w, c)
}

// cut separates two hosts; cutOneWay loses only what the first sends to the second.
func (l *lab) cut(a, b string) {
	l.timeline.note("lab", "cut %s and %s", a, b)
	l.rule(a, b, func(c *condition) { c.cut = true })
	l.rule(b, a, func(c *condition) { c.cut = true })
}

func (l *lab) cutOneWay(from, to string) {
	l.timeline.note("lab", "cut from %s to %s", from, to)
	l.rule(from, to, func(c *condition) { c.cut = true })
}

// isolate cuts a host from all others.
func (l *lab) isolate(name string) {
	for _, other := range l.names {
		if other != name {
			l.cut(name, other)
		}
	}
}

// lossy loses a share of the packets between two hosts, both ways; slow delays them on each way; narrow bounds their bytes a second.
func (l *lab) lossy(a, b string, share float64) {
	l.timeline.note("lab", "lose %.1f %% between %s and %s", share*100, a, b)
	l.rule(a, b, func(c *condition) { c.loss = share })
	l.rule(b, a, func(c *condition) { c.loss = share })
}

func (l *lab) slow(a, b string, delay time.Duration) {
	l.timeline.note("lab", "delay by %s between %s and %s", delay, a, b)
	l.rule(a, b, func(c *condition) { c.delay = delay })
	l.rule(b, a, func(c *condition) { c.delay = delay })
}

func (l *lab) narrow(a, b string, rate int) {
	l.timeline.note("lab", "%d bytes a second between %s and %s", rate, a, b)
	l.rule(a, b, func(c *condition) { c.rate = rate })
	l.rule(b, a, func(c *condition) { c.rate = rate })
}

// heal makes all lines good.
func (l *lab) heal() {
	l.timeline.note("lab", "heal")
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.rules {
		l.net.set(w, condition{})
	}
	clear(l.rules)
}

// flap cuts and mends the line between two hosts again and again, until it is ended; then the line is good.
func (l *lab) flap(a, b string, period time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var work sync.WaitGroup
	l.timeline.note("lab", "flap between %s and %s each %s", a, b, period)
	work.Go(func() {
		tick := time.NewTicker(period)
		defer tick.Stop()
		for down := true; ; down = !down {
			l.rule(a, b, func(c *condition) { c.cut = down })
			l.rule(b, a, func(c *condition) { c.cut = down })
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
		l.heal()
	}
}

// until is a condition's wait, noted in the timeline.
func (l *lab) until(what string, condition func() bool) time.Duration {
	l.t.Helper()
	began := time.Now()
	until(l.t, waitLimit, what, condition)
	took := time.Since(began)
	l.timeline.note("lab", "%s (after %s)", what, took.Round(time.Millisecond))
	return took
}

func (l *lab) String() string { return fmt.Sprint(l.names) }
