//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// slowly is a model whose load takes some time.
func slowly(t *testing.T, name string, mb int, load time.Duration, more ...string) string {
	t.Helper()
	return plays(t, name, "--progress --load "+load.String(), append([]string{fmt.Sprintf("vram_mb: %d", mb), "min_residency: 0s"}, more...)...)
}

// TestS13HostDiesMidLoad: a host dies while it loads a model that another one asks for. The asker's request is answered by a load of its own, and no memory
// stays reserved for what died.
func TestS13HostDiesMidLoad(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(host string) string {
		load := time.Second
		if host == "pc2" {
			load = 10 * time.Minute
		}
		return labDevices(slowly(t, "m", 20000, load) + sized(t, "next", 20000))
	})
	here, there := hosts[0], hosts[1]
	there.sends(messages.ModelActor("pc2", "m"), &messages.EnsureModel{Reason: "lab"})
	there.awaitPhase("m", "loading")
	waits := here.asks("m", 0)
	there.lose()
	if a := here.heard(waits, waitLimit); said(a.answer) != "m" {
		t.Fatalf("%s", a)
	}
	here.says("next", "next")
	l.settle("the survivor", here)
	there.launch()
	l.agree(hosts...)
	l.until("what died is not loaded again by nobody's wish, or is on its way", func() bool {
		return there.model("m").Attempt > 0 || there.model("m").Phase == messages.ModelView_absent
	})
}

// TestS14SlowNetworkStartsNoSecondInstance: while the network is slow and both hosts live, requests at one host for the other's model start no second worker; when
// it is too slow for the hosts to see each other, each has at most one, and nothing is orphaned afterwards.
func TestS14SlowNetworkStartsNoSecondInstance(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(string) string { return labDevices(sized(t, "m", 8000)) })
	here, there := hosts[0], hosts[1]
	there.loaded("m")
	l.until("the other is seen", func() bool { return here.modelOf("pc2", "m").Phase == messages.ModelView_ready })
	l.slow("main_pc", "pc2", 150*time.Millisecond)
	load := here.load("m", 10, 0)
	load.flows(50)
	if n := l.instances("m"); n != 1 {
		t.Errorf("%d instances while the network was slow", n)
	}
	l.slow("main_pc", "pc2", 3*time.Second)
	load.flows(10)
	for _, h := range hosts {
		if n := len(h.pidsOf("m")); n > 1 {
			t.Errorf("%d workers on %s", n, h.name())
		}
	}
	l.heal()
	l.agree(hosts...)
	load.flows(10)
	load.stop()
	t.Log(load)
	l.settle("healed", hosts...)
}

// TestS15InstanceStoppedElsewhere: a host is cut off with a model that is unloaded for the whole cluster meanwhile. After its return nothing of it is left that nobody wants.
func TestS15InstanceStoppedElsewhere(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(string) string { return labDevices(sized(t, "m", 8000)) })
	here, there := hosts[0], hosts[1]
	there.loaded("m")
	there.kill() // its worker lives on
	here.misses("pc2")
	here.says("m", "m")
	there.launch()
	l.agree(hosts...)
	there.awaitPhase("m", "ready") // adopted: two endpoints of one name
	l.settle("two endpoints", hosts...)
	for _, h := range hosts {
		h.sends(messages.ModelActor(h.name(), "m"), &messages.UnloadModel{Reason: "lab"})
	}
	l.until("no instance is left", func() bool { return l.instances("m") == 0 })
	l.settle("unloaded", hosts...)
}

// TestS16BusyBackendAtThePeer: an engine of one thread computes for another host's caller and misses every probe meanwhile. It is neither stopped nor given up.
func TestS16BusyBackendAtThePeer(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(host string) string {
		if host == "pc2" {
			return labDevices(plays(t, "busy", "--single", "vram_mb: 4000"))
		}
		return labDevices(sized(t, "other", 4000))
	})
	here, there := hosts[0], hosts[1]
	there.loaded("busy")
	l.until("the other is seen", func() bool { return here.modelOf("pc2", "busy").Phase == messages.ModelView_ready })
	worker := there.model("busy").Worker.Pid
	if a := here.heard(here.asks("busy", 12*time.Second), waitLimit); said(a.answer) != "busy" {
		t.Errorf("%s", a)
	}
	if v := there.model("busy"); v.Phase != messages.ModelView_ready || v.Worker.Pid != worker || v.Attempt != 1 {
		t.Errorf("the worker was %d: %v", worker, v)
	}
	l.settle("after it", hosts...)
}

// TestS27EditedAtThePeer: a model is edited on the host that runs it, while another host's callers use it. After the answer of `config apply` none of them gets the
// old revision.
func TestS27EditedAtThePeer(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(func(host string) string {
		if host == "pc2" {
			return labDevices(sized(t, "m", 4000))
		}
		return labDevices(sized(t, "other", 4000))
	})
	here, there := hosts[0], hosts[1]
	there.loaded("m")
	here.says("m", "m")
	load := here.load("m", 50, 0)
	load.flows(20)
	config := there.configuration()
	there.write("cluster.yaml", strings.Replace(config, "--says m ", "--says edited ", 1))
	if o := there.cli("config", "apply"); o.code != 0 {
		t.Fatalf("config apply: %s", o)
	}
	l.timeline.note("lab", "config apply has answered")
	for range 20 {
		if got, a := here.chat("m", france); got != "edited" {
			t.Errorf("after config apply: %s", a)
		}
	}
	load.stop()
	t.Log(load)
	if load.bad() > 0 {
		t.Error("requests failed meanwhile")
	}
	l.settle("after the edit", hosts...)
}

// TestS29StaleArbiter: the arbiter's host hangs for so long that another arbiter takes over, and then goes on with what it had in hand. Owners refuse it, and one
// arbiter is left.
func TestS29StaleArbiter(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(l.crowd)
	p := l.press(seeded(t), hosts...)
	for range 3 {
		p.works("before", hosts...)
		seat := l.agree(hosts...)
		other := l.other(seat)
		before := other.cluster().GetArbiterEpoch()
		resume := seat.pauses()
		l.until("the other takes over", func() bool {
			v := other.cluster()
			return v.GetArbiter() == other.name() && v.GetArbiterEpoch() > before
		})
		p.works("meanwhile", other)
		resume()
		l.agree(hosts...)
	}
	p.stop("after stale arbiters")
	l.settle("after stale arbiters", hosts...)
	t.Log(p)
}
