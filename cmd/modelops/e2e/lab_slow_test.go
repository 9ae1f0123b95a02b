//go:build e2e

package e2e_test

import (
	"testing"
	"time"
)

// TestASlowLinkCostsOnlyItself: with 100 ms each way and 2 % loss, both hosts answer for models of their own as before, also each for the other's, and stay members.
func TestASlowLinkCostsOnlyItself(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(host string) string { return labDevices(sized(t, "own_"+host, 4000) + sized(t, "both", 4000)) })
	for _, h := range hosts {
		h.loaded("own_"+h.name(), "both")
	}
	measure := func(h *labHost, model string) *labLoad {
		load := h.load(model, 50, 0)
		load.flows(100)
		load.stop()
		if load.bad() > 0 {
			t.Errorf("%s", load)
		}
		t.Log(load)
		return load
	}
	good := measure(hosts[0], "own_main_pc")
	l.slow("main_pc", "pc2", 100*time.Millisecond)
	l.lossy("main_pc", "pc2", 0.02)
	slow := measure(hosts[0], "own_main_pc")
	budget(l.t, "p50 of a local model while the link is slow", slow.p50(), good.p50()+2*time.Millisecond)
	measure(hosts[1], "both")
	far := measure(hosts[0], "own_pc2")
	budget(l.t, "p50 of the peer's model over the slow link", far.p50(), 500*time.Millisecond)
	l.agree(hosts...)
	l.heal()
	l.settle("after the slow link", hosts...)
}

// p50 is the median of the answered requests.
func (l *labLoad) p50() time.Duration {
	_ = l.String() // sorts
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took) == 0 {
		return 0
	}
	return l.took[len(l.took)/2]
}
