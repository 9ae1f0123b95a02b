//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// labPressure is callers, an operator and programs with leases at each host of a cluster, until it ends: models don't have room together, so that
// placements, evictions and grants never rest.
type labPressure struct {
	l      *lab
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	ended map[string]int
	said  map[string]string
	open  map[int]bool
	next  int
}

// labCrowd are models of a host of the laboratory: two have room together on its device, big has it alone.
func (l *lab) crowd(string) string {
	declared := ""
	for name, mb := range map[string]int{"light": 500, "a": 8000, "b": 8000, "big": 20000} {
		declared += plays(l.t, name, "--load 30ms", fmt.Sprintf("vram_mb: %d", mb), "min_residency: 0s")
	}
	return "resilience: {bulkhead: {queue_timeout: 6s}}\n" + labDevices(declared)
}

func (l *lab) press(seed uint64, hosts ...*labHost) *labPressure {
	ctx, cancel := context.WithCancel(l.t.Context())
	p := &labPressure{l: l, cancel: cancel, ended: map[string]int{}, said: map[string]string{}, open: map[int]bool{}}
	l.t.Cleanup(func() { cancel(); p.work.Wait() })
	p.work.Go(func() { l.watches(ctx, hosts...) })
	for i, h := range hosts {
		for k, model := range pressured { // a model that waits for memory keeps nobody from asking for the others
			p.loop(ctx, nil, func(*rand.Rand) { p.infer(ctx, h, model) })
			if k%2 == 0 {
				p.loop(ctx, rand.New(rand.NewPCG(seed, uint64(i*100+k))), func(c *rand.Rand) { p.infer(ctx, h, pressured[c.IntN(len(pressured))]) })
			}
		}
		p.loop(ctx, rand.New(rand.NewPCG(seed, uint64(i*100+50))), func(c *rand.Rand) { p.operate(ctx, h, c) })
		p.loop(ctx, rand.New(rand.NewPCG(seed, uint64(i*100+60))), func(c *rand.Rand) { p.lease(ctx, h, c) })
	}
	return p
}

func (p *labPressure) loop(ctx context.Context, chance *rand.Rand, step func(*rand.Rand)) {
	p.work.Go(func() {
		for ctx.Err() == nil {
			step(chance)
			pause(p.l.t)
		}
	})
}

// track does something and counts how it ended; what never ends is found by stop.
func (p *labPressure) track(h *labHost, what string, ask func(ctx context.Context) answer) answer {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	p.mu.Lock()
	p.next++
	n := p.next
	p.open[n] = true
	p.mu.Unlock()
	a := ask(ctx)
	how := "OK"
	switch {
	case a.err != nil:
		how = "no answer"
	case a.status != 200:
		how = cmp.Or(a.code(), fmt.Sprint(a.status))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, n)
	p.ended[h.name()+" "+what+" "+how]++
	if how != "OK" {
		p.said[h.name()+" "+what+" "+how] = a.String()
	}
	return a
}

func (p *labPressure) infer(_ context.Context, h *labHost, model string) {
	p.track(h, "infer", func(ctx context.Context) answer {
		return h.do(ctx, "POST", "/v1/chat/completions", question(model, france))
	})
}

// operate loads or unloads a model.
func (p *labPressure) operate(ctx context.Context, h *labHost, chance *rand.Rand) {
	model := pressured[1+chance.IntN(len(pressured)-1)]
	verb := []string{"load", "unload"}[chance.IntN(2)]
	p.track(h, verb, func(ctx context.Context) answer { return h.do(ctx, "POST", "/api/models/"+verb+"/"+model, object{}) })
	pauseFor(ctx, time.Duration(chance.IntN(300))*time.Millisecond)
}

// lease takes memory for a program, holds it for a moment, renews it and gives it back.
func (p *labPressure) lease(ctx context.Context, h *labHost, chance *rand.Rand) {
	var granted struct {
		Granted bool   `json:"granted"`
		Lease   string `json:"lease_id"`
	}
	a := p.track(h, "lease", func(ctx context.Context) answer {
		return h.do(ctx, "POST", "/api/leases", object{"client": "lab-" + h.name(), "vram_estimate_mb": 4000, "ttl_seconds": 3, "wait_seconds": 2})
	})
	if json.Unmarshal(a.body, &granted) != nil || !granted.Granted {
		return
	}
	p.l.books.promise(granted.Lease, false)
	pauseFor(ctx, time.Duration(chance.IntN(400))*time.Millisecond)
	if chance.IntN(4) == 0 {
		return // its holder has died: it ends by its time
	}
	if a = p.track(h, "release", func(ctx context.Context) answer {
		return h.do(ctx, "POST", "/api/leases/release", object{"lease_id": granted.Lease})
	}); a.err == nil && a.status == 200 {
		p.l.books.promise(granted.Lease, true)
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d): // meant to pass
	}
}

// count is how many requests of a host were answered well.
func (p *labPressure) good(h *labHost) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended[h.name()+" infer OK"]
}

// works waits until each of the hosts answers more requests.
func (p *labPressure) works(where string, hosts ...*labHost) {
	p.l.t.Helper()
	for _, h := range hosts {
		before := p.good(h)
		defer func() {
			if p.l.t.Failed() {
				p.l.t.Logf("%s shows:\n%s\n%s", h.name(), h.cli("why", "light"), h.cli("queue"))
			}
		}()
		p.l.until(fmt.Sprintf("%s: %s answers requests", where, h.name()), func() bool { return p.good(h) >= before+3 })
	}
}

// stop ends the pressure, waits until each request has ended by itself, and fails the test for internal errors.
func (p *labPressure) stop(where string) {
	p.l.t.Helper()
	p.cancel()
	p.l.until(where+": all requests have ended", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.open) == 0
	})
	p.work.Wait()
	for how, n := range p.ended {
		if strings.HasSuffix(how, " INTERNAL") {
			p.l.t.Errorf("%d times %s: %s", n, how, p.said[how])
		}
	}
}

func (p *labPressure) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, how := range slices.Sorted(maps.Keys(p.ended)) {
		out = append(out, fmt.Sprintf("%s %d %.200s", how, p.ended[how], p.said[how]))
	}
	return strings.Join(out, "\n")
}
