//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// twoDeclared starts main_pc and pc2, which declare each other on loopback, and waits until they follow one arbiter. Each has a device of 24000 MB.
func twoDeclared(t *testing.T, declared func(host string) string) (main, pc2 *daemon) {
	t.Helper()
	ports := map[string]int{"main_pc": freePort(t), "pc2": freePort(t)}
	of := func(host, other string) *daemon {
		config := strings.Replace(base, "host: main_pc", "host: "+host, 1)
		return prepare(t, config+fmt.Sprintf("cluster: {port: %d, actors_port: 0, peers: [{host: %s, address: '127.0.0.1:%d'}]}\n", ports[host], other, ports[other])+labDevices(declared(host)))
	}
	main, pc2 = of("main_pc", "pc2"), of("pc2", "main_pc")
	main.launch()
	pc2.launch()
	main.until(waitLimit, "both hosts follow one arbiter, and know each other's models", func() bool {
		a, b := main.cluster(), pc2.cluster()
		return a.GetArbiter() != "" && a.GetArbiter() == b.GetArbiter() && a.GetArbiterEpoch() > 0 && main.sees("pc2").State.String() == "alive" && pc2.sees("main_pc").State.String() == "alive" &&
			main.modelOf("pc2", "big").Id != "" && pc2.modelOf("main_pc", "big").Id != ""
	})
	return main, pc2
}

func (d *daemon) readyAt(host, model string) bool {
	return d.modelOf(host, model).Phase.String() == "ready"
}

// TestReplicasAreOnBothHosts: each host has room for one of the two workers that the declaration wants.
func TestReplicasAreOnBothHosts(t *testing.T) {
	main, pc2 := twoDeclared(t, func(string) string {
		return sized(t, "big", 20000, "hosts: [main_pc, pc2]", "replicas: {min: 2, max: 2}")
	})
	main.says("big", "big")
	main.until(waitLimit, "both hosts have a worker", func() bool { return main.readyAt("main_pc", "big") && main.readyAt("pc2", "big") })
	pc2.says("big", "big")
	if got := main.modelOf("main_pc", "big~2").Id + main.modelOf("pc2", "big~2").Id; got != "" {
		t.Errorf("%s seeks room where there is none", got)
	}
}

// TestPlacementOnTheOtherHost: a model goes to the other host because this one's device is full of what can't leave, and a second one evicts it there.
func TestPlacementOnTheOtherHost(t *testing.T) {
	main, pc2 := twoDeclared(t, func(host string) string {
		declared := sized(t, "big", 10000) + sized(t, "other", 20000)
		if host == "main_pc" {
			declared += sized(t, "kept", 20000, "pinned: true")
		}
		return declared
	})
	main.says("kept", "kept")
	main.says("big", "big")
	if !main.readyAt("pc2", "big") || main.readyAt("main_pc", "big") {
		t.Errorf("it is %s on pc2 and %s on main_pc, whose device is full", main.modelOf("pc2", "big").Phase, main.modelOf("main_pc", "big").Phase)
	}
	main.says("other", "other")
	if !main.readyAt("pc2", "other") || main.readyAt("pc2", "big") {
		t.Errorf("on pc2 other is %s and big is %s", main.modelOf("pc2", "other").Phase, main.modelOf("pc2", "big").Phase)
	}
	said := pc2.typed("why", "other") // a moment without heartbeats may have main_pc want it too
	for _, word := range []string{"where big (10000 MiB", "had to leave", "Not taken: ", "(3488 MiB free)"} {
		if !strings.Contains(said, word) {
			t.Errorf("why other doesn't say %s:\n%s", word, said)
		}
	}
	t.Log(said)
}
