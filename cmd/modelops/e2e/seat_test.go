//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"modelops/messages"
)

// declared starts hosts on loopback that declare each other, without certificates.
func (l *lab) declared() (all []*labHost) {
	l.t.Helper()
	ports := map[string]int{}
	for _, name := range l.names {
		ports[name] = freePort(l.t)
	}
	for _, name := range l.names {
		h := l.host(name, fmt.Sprintf("cluster: {port: %d, actors_port: 0, peers: [%s]}\n", ports[name], l.peers(name, ports)))
		h.launch()
		all = append(all, h)
	}
	return all
}

// follows waits until a host follows the arbiter of another.
func (h *labHost) follows(seat string) {
	h.t.Helper()
	h.lab.until(fmt.Sprintf("%s follows the arbiter of %s", h.name(), seat), func() bool { return h.cluster().GetArbiter() == seat })
}

// tookOver waits until the hosts follow one arbiter that has taken over since the given epoch.
func (l *lab) tookOver(after uint64, hosts ...*labHost) (seat *labHost, epoch uint64) {
	l.t.Helper()
	var said string
	defer func() {
		if l.t.Failed() {
			l.t.Logf("they see:\n%s", said)
		}
	}()
	l.until(fmt.Sprintf("%d hosts follow an arbiter of an epoch above %d", len(hosts), after), func() bool {
		arbiter, agree, differs := agreed(hosts)
		said = differs
		seat, epoch = l.hosts[arbiter], hosts[0].cluster().GetArbiterEpoch()
		return agree && epoch > after
	})
	return seat, epoch
}

// TestArbiterMoves measures how long three hosts are without an arbiter: after kill -9 of its host, when its host is cut off, when the cut is mended, and when its
// host stops well.
func TestArbiterMoves(t *testing.T) {
	l := &lab{t: t, net: openProxies(), names: []string{"main_pc", "pc2", "pc3"}, timeline: newTimeline(), rules: map[way]condition{}, hosts: map[string]*labHost{}}
	t.Cleanup(func() {
		l.net.close()
		if t.Failed() {
			t.Logf("what happened:\n%s", l.timeline)
		}
	})
	hosts := l.declared()
	first, epoch := l.tookOver(0, hosts...)
	others := without(hosts, first)

	began := time.Now()
	first.kill()
	_, epoch = l.tookOver(epoch, others...)
	budget(l.t, "kill -9 of the arbiter's host until all follow the next arbiter", time.Since(began), 1200*time.Millisecond)
	first.launch()
	_, epoch = l.tookOver(epoch, hosts...)

	for _, broken := range []bool{false, false, true} { // a short cut leaves the connections
		l.isolate(first.name())
		began = time.Now()
		l.until("the others see that it is cut off", func() bool { return others[0].sees(first.name()).State == messages.MemberView_unreachable })
		_, epoch = l.tookOver(epoch, others...)
		budget(l.t, "a cut until the others follow an arbiter of theirs", time.Since(began), 1200*time.Millisecond)
		first.follows(first.name())
		l.until("the links are as long cut as they shall be", func() bool {
			return !broken || !others[0].sees(first.name()).LinkTo && !first.sees(others[0].name()).LinkTo
		})
		l.heal()
		began = time.Now()
		_, epoch = l.tookOver(epoch, hosts...)
		budget(l.t, "a mended cut until all follow one arbiter", time.Since(began), 500*time.Millisecond)
	}

	seat, _ := l.tookOver(0, hosts...)
	began = time.Now()
	seat.stop()
	left := without(hosts, seat)
	l.until("it is gone for the others, not unreachable", func() bool { return left[0].sees(seat.name()).State == messages.MemberView_gone })
	l.tookOver(epoch, left...)
	t.Logf("a good stop of the arbiter's host, its end included, until all follow the next arbiter: %s", time.Since(began).Round(time.Millisecond))
}

func without(hosts []*labHost, one *labHost) (out []*labHost) {
	for _, h := range hosts {
		if h != one {
			out = append(out, h)
		}
	}
	return out
}
