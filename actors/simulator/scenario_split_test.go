package simulator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/model"
	"modelops/messages"
)

// parts is a Cluster without chance, and what a scenario does with it.
type parts struct {
	*Cluster
	t *testing.T
}

func apart(t *testing.T, n int, models ...Model) parts {
	t.Helper()
	return apartWith(t, n, Plants{}, models...)
}

func apartWith(t *testing.T, n int, r Plants, models ...Model) parts {
	t.Helper()
	p := parts{NewCluster(Options{Seed: 1, Hosts: n, Devices: []uint64{24 * messages.GiB}, Models: models, Plants: r}), t}
	p.until("the hosts agree", time.Minute, func() bool { return p.settled() && p.discord() == "" })
	return p
}

func (p parts) until(what string, within time.Duration, holds func() bool) {
	p.t.Helper()
	for deadline := p.elapsed + within; !holds(); {
		if p.elapsed > deadline || !p.step() {
			p.t.Fatalf("%s: not within %s; %v\n%v", what, within, p.err(), p.told.words())
		}
	}
}

// cut parts two hosts, both ways.
func (p parts) cut(a, b int) {
	p.links[a][b], p.links[b][a] = link{cut: true}, link{cut: true}
	p.unsettled()
}

func (p parts) join(a, b int) {
	p.links[a][b], p.links[b][a] = link{}, link{}
	p.unsettled()
}

// loads demands that a model answers at a host, by a worker of that host.
func (p parts) loads(host int, name string) {
	p.t.Helper()
	w := p.worlds[host]
	r := w.call(name, time.Millisecond)
	p.until(name+" answers at "+w.host(0), time.Minute, func() bool { return r.ended })
	m := w.models[w.byID[messages.ModelActor(w.host(0), name)]]
	if r.code != 0 || m.state.Phase != model.Ready {
		p.t.Errorf("%s answers %s at %s, where it is %s", name, r.code, w.host(0), m.state.Phase)
	}
}

func (p parts) rests() {
	p.t.Helper()
	if err := p.Calm(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func TestEachSideOfACutGoesOnLoading(t *testing.T) {
	p := apart(t, 2, plain("a", 4), plain("b", 8))
	p.cut(0, 1)
	began := p.elapsed
	for host := range 2 {
		p.loads(host, "a")
		p.loads(host, "b")
	}
	t.Logf("both models answered on both sides %s after the cut", p.elapsed-began)
	p.join(0, 1)
	p.until("the hosts agree", agreement+time.Second, func() bool { return p.settled() && p.discord() == "" })
	p.rests()
}

// Both sides of a cut load a model and use it for the last time at the same moment. Afterwards one of the two workers leaves, and only one.
func TestOneOfTwoWorkersLeavesAfterACut(t *testing.T) {
	for name, c := range map[string]struct {
		plants Plants
		says   string
	}{
		"as shipped": {},
		"a host takes every worker of another one for one that is in use": {Plants{Residents: othersInUse}, "no host has it now"},
		"a host doesn't look at its idle workers":                         {Plants{Residents: func(string, []*messages.ModelView) []*messages.ModelView { return nil }}, "not at rest"},
	} {
		t.Run(name, func(t *testing.T) {
			p := apartWith(t, 2, c.plants, plain("a", 4))
			p.cut(0, 1)
			p.loads(0, "a")
			p.loads(1, "a")
			last := []*request{p.worlds[0].call("a", time.Millisecond), p.worlds[1].call("a", time.Millisecond)}
			p.until("both are used at once", time.Minute, func() bool { return last[0].ended && last[1].ended })
			p.join(0, 1)
			err := p.toRest(t.Context())
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("the plant isn't found: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := len(p.worlds[0].workers) + len(p.worlds[1].workers); n != 1 || p.spares != 1 {
				t.Errorf("%d workers are left, and %d have left", n, p.spares)
			}
			p.rests()
		})
	}
}

// othersInUse takes the workers of all other hosts for such as were used just now, so that each host relies on the others.
func othersInUse(host string, models []*messages.ModelView) []*messages.ModelView {
	for i, m := range models {
		if m.Host != host {
			models[i] = proto.CloneOf(m)
			models[i].IdleMs = 0
		}
	}
	return models
}

// Three hosts alone take over above the epoch that they all know: two of them under one and the same. Then these two meet, and neither outdates the other.
func TestTwoArbitersOfOneEpochMeet(t *testing.T) {
	p := apart(t, 3, plain("a", 4), plain("b", 8))
	seat := p.named(p.worlds[0].far.table.Seat()).first
	one, two := (seat+1)%3, (seat+2)%3
	p.cut(0, 1)
	p.cut(0, 2)
	p.cut(1, 2)
	for _, host := range []int{one, two} {
		p.loads(host, "a")
	}
	a, b := p.worlds[one].arbiter.state.Epoch, p.worlds[two].arbiter.state.Epoch
	if a != b {
		t.Fatalf("epochs %d and %d: they took over above the same one", a, b)
	}
	p.join(one, two)
	for range 20 { // while they find each other both place, also on the other's devices
		p.worlds[one].call("b", time.Millisecond)
		p.worlds[two].call("b", time.Millisecond)
		next := p.elapsed + 50*time.Millisecond
		p.until("time passes", time.Minute, func() bool { return p.elapsed >= next })
	}
	p.until("the two agree", agreement+time.Second, func() bool { return p.settled() && p.discord() == "" })
	p.rests()
}

// Each host has room for one of the two workers that the declaration wants: both hosts have one.
func TestReplicasOfAModelAreOnBothItsHosts(t *testing.T) {
	m := plain("chat", 20)
	m.MinReplicas, m.MaxReplicas, m.On = 2, 2, []string{hostName(0), hostName(1)}
	p := apart(t, 2, m)
	p.worlds[1].call("chat", time.Millisecond)
	ready := func(w *World) bool {
		return w.models[w.byID[messages.ModelActor(w.host(0), "chat")]].state.Phase == model.Ready
	}
	p.until("both hosts have a worker", time.Minute, func() bool { return ready(p.worlds[0]) && ready(p.worlds[1]) })
	for _, w := range p.worlds {
		if _, made := w.byID[messages.ModelActor(w.host(0), "chat~2")]; made {
			t.Errorf("%s seeks room for a second one", w.host(0))
		}
	}
	p.rests()
}
