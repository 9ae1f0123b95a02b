//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"
)

// measureFar compares a model that the peer runs with the same model asked for at its own host. Two hosts of one machine, joined as two machines are.
func measureFar(t *testing.T, f *findings) {
	l := newLabOn(t, direct{openProxies()}, "main_pc", "pc2")
	hosts := l.cluster(func(host string) string {
		model := "near"
		if host == "pc2" {
			model = "fast"
		}
		return fmt.Sprintf("resilience: {bulkhead: {max_concurrent: 64, max_queue_size: 1024}}\nresources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {preload: [{name: %s}], declare: {%s: %s}}\n", model, model, worker(t, ""))
	})
	asked, owner := hosts[0], hosts[1]
	owner.awaitPhase("fast", "ready")
	l.until("the peer answers", func() bool { return asked.post("/v1/chat/completions", chatBody("fast", "")).status == 200 })
	targets := []target{{"own", owner.at.HTTP}, {"far", asked.at.HTTP}}
	var took quantiles
	perform(t, "sequential", timing{Targets: targets, Model: "fast", Rounds: 7, Requests: 1000}, &took)
	added50 := seconds(took.P50.compare("far", "own", difference))
	f.add(finding{"the peer's model instead of one's own, p50", "adds <= 0.60 ms on loopback", added(added50), added50 <= 600*time.Microsecond, "two daemons with certificates on one machine; 1,000 requests a round, 50 to each in turn, medians of 7 rounds"})
	var rate rounds
	perform(t, "throughput", timing{Targets: targets, Model: "fast", Callers: 64, Rounds: 7, For: 2 * time.Second}, &rate)
	r := rate.compare("far", "own", ratio)
	f.add(finding{"the peer's model instead of one's own, c=64", "throughput >= 0.6 of one's own", fmt.Sprintf("%.2f (%.0f against %.0f requests/s)", r, median(rate["far"]), median(rate["own"])), r >= 0.6, "the same, 2 s a round; both daemons share the machine's cores"})
}

// measureSplit cuts two hosts from each other, kills one and measures how long it takes until they go on. The hosts are on loopback with proxies between them.
func measureSplit(t *testing.T, f *findings) {
	l := newLabOn(t, openProxies(), "main_pc", "pc2")
	hosts := l.cluster(func(string) string { return labDevices(sized(t, "m", 500)) })
	var moved, healed, copied []time.Duration
	for range 5 {
		seat := l.agree(hosts...)
		other := l.other(seat)
		l.cut(hosts[0].name(), hosts[1].name())
		began := time.Now()
		l.until("the arbiter moves", func() bool { return other.cluster().GetArbiter() == other.name() })
		moved = append(moved, time.Since(began))
		for range 20 { // decisions that the other one lacks
			other.loaded("m")
			other.typed("unload", "m")
		}
		l.heal()
		began = time.Now()
		l.agree(hosts...)
		healed = append(healed, time.Since(began))
		l.until("the copy is caught up", func() bool {
			m := seat.sees(other.name())
			return m.Copied > 0 && m.Copied >= other.sees(other.name()).Sequence
		})
		copied = append(copied, time.Since(began))
	}
	for _, x := range []struct {
		what string
		took []time.Duration
		most time.Duration
	}{{"arbiter moves", moved, 1200 * time.Millisecond}, {"split heals", healed, 500 * time.Millisecond}, {"journal copy caught up", copied, 500 * time.Millisecond}} {
		p50 := median(x.took)
		f.add(finding{x.what, "<= " + ms(x.most), fmt.Sprintf("p50 %s, longest %s", ms(p50), ms(quantile(x.took, 1))), p50 <= x.most, "two daemons, cut from each other 5 times by proxies; polled over HTTP"})
	}
}

// measureHub is measureFar and measureSplit for hosts that have nothing but a hub of three servers between them. A cut is one of pc2 from the hub.
func measureHub(t *testing.T, f *findings) {
	h := startHub(t)
	wires := openProxies()
	t.Cleanup(wires.close)
	pcToHub := way{2, 1}
	h.at = func(host string, port int) string {
		if host != "pc2" {
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
		at, err := wires.link(pcToHub, port)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	main, pc2 := atHub(t, h, "", func(host string) string {
		return fmt.Sprintf("resilience: {bulkhead: {max_concurrent: 64, max_queue_size: 1024}}\nresources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {%s: %s, m: %[2]s}}\n",
			map[string]string{"main_pc": "near", "pc2": "fast"}[host], worker(t, ""))
	})
	settled := func() {
		t.Helper()
		main.until(startLimit, "one arbiter", func() bool {
			a, b := members(main), members(pc2)
			return a.Arbiter == b.Arbiter && a.ArbiterEpoch > 0 && a.ArbiterEpoch == b.ArbiterEpoch && !a.Apart && !b.Apart
		})
	}
	settled()
	pc2.typed("load", "fast")
	main.until(startLimit, "the peer answers", func() bool { return main.post("/v1/chat/completions", chatBody("fast", "")).status == 200 })
	targets := []target{{"own", pc2.at.HTTP}, {"far", main.at.HTTP}}
	var took quantiles
	perform(t, "sequential", timing{Targets: targets, Model: "fast", Rounds: 5, Requests: 500}, &took)
	added50 := seconds(took.P50.compare("far", "own", difference))
	const how = "two daemons, three servers of a hub and no other link on one machine"
	f.add(finding{"the peer's model over a hub, p50", "no budget", added(added50), true, how + "; 500 requests a round, medians of 5 rounds"})
	var moved, healed, copied []time.Duration
	for range 3 {
		settled()
		seat, other := main, pc2
		if members(main).Arbiter == "pc2" {
			seat, other = pc2, main
		}
		cut := func(is bool) {
			wires.set(pcToHub, condition{cut: is})
			wires.set(way{pcToHub.to, pcToHub.from}, condition{cut: is})
		}
		cut(true)
		began := time.Now()
		other.until(startLimit, "the arbiter moves", func() bool { v := members(other); return v.Arbiter == v.Host })
		moved = append(moved, time.Since(began))
		for range 5 { // decisions that the other one lacks
			other.typed("load", "m", "--host", members(other).Host)
			other.typed("unload", "m", "--host", members(other).Host)
		}
		cut(false)
		began = time.Now()
		settled()
		healed = append(healed, time.Since(began))
		seat.until(startLimit, "the copy is caught up", func() bool {
			for _, m := range members(seat).Members {
				if !m.Self {
					return m.Copied > 0 && m.Copied >= m.Sequence
				}
			}
			return false
		})
		copied = append(copied, time.Since(began))
	}
	for what, took := range map[string][]time.Duration{"arbiter moves, over a hub": moved, "split heals, over a hub": healed, "journal copy caught up, over a hub": copied} {
		f.add(finding{what, "no budget", fmt.Sprintf("p50 %s, longest %s", ms(median(took)), ms(quantile(took, 1))), true, how + "; pc2 cut from the hub 3 times by proxies; polled by `modelops cluster`"})
	}
}
