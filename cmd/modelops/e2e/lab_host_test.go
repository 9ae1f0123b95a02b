//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"modelops/messages"
)

// labHost is a `modelops serve` at a host of a laboratory. It keeps its ports through all its starts.
type labHost struct {
	*daemon
	lab   *lab
	watch *observer // of settle; what it has read stays
}

// host prepares a daemon on sections (models, devices, queues) without starting it.
func (l *lab) host(name, sections string) *labHost {
	l.t.Helper()
	config := fmt.Sprintf(`
host: %s
data_dir: state
server: {zmq_port: 0, grpc_port: %d, rest_port: %d, nats_port: %d, drain_timeout: 5s, names: ["%s"]}
`, name, freePort(l.t), freePort(l.t), freePort(l.t), l.address(name))
	h := &labHost{daemon: prepare(l.t, config+sections), lab: l}
	h.site = &site{name: name, number: l.number(name), lab: l}
	h.at.Host = name
	l.hosts[name] = h
	l.t.Cleanup(func() {
		if l.t.Failed() {
			h.confess()
		}
	})
	return h
}

func (h *labHost) name() string { return h.site.name }

// launch, kill and stop are the daemon's, noted in the timeline.
func (h *labHost) launch() {
	h.t.Helper()
	h.lab.timeline.note("lab", "start %s", h.name())
	h.daemon.launch()
	h.lab.timeline.note("lab", "%s is up", h.name())
}

func (h *labHost) kill() {
	h.t.Helper()
	h.lab.timeline.note("lab", "kill -9 %s", h.name())
	h.daemon.kill()
}

func (h *labHost) stop() int {
	h.t.Helper()
	h.lab.timeline.note("lab", "stop %s", h.name())
	return h.daemon.stop()
}

// lose is the death of the machine: the daemon and all its workers at once.
func (h *labHost) lose() {
	h.t.Helper()
	h.lab.timeline.note("lab", "%s dies with all its processes", h.name())
	h.daemon.kill()
	for _, p := range processesOf(h.dir) {
		h.killPid(p.pid)
	}
}

// in is the host as a subtest sees it.
func (h *labHost) in(t *testing.T) *labHost { return &labHost{daemon: h.daemon.in(t), lab: h.lab} }

// model is a model of this host, as a host shows it; an empty view when it doesn't.
func (h *labHost) model(name string) *messages.ModelView { return h.modelOf(h.name(), name) }

func (h *labHost) awaitPhase(model, phase string) *messages.ModelView {
	h.t.Helper()
	var v *messages.ModelView
	h.lab.until(fmt.Sprintf("%s is %s on %s", model, phase, h.name()), func() bool {
		v = h.model(model)
		return v.Phase.String() == phase
	})
	return v
}

// agreed tells whether each of the hosts sees all of them alive, and the same arbiter.
func agreed(hosts []*labHost) (arbiter string, agree bool, differs string) {
	var said []string
	arbiters := map[string]bool{}
	agree = true
	for _, h := range hosts {
		v := h.cluster()
		alive := 0
		for _, m := range v.GetMembers() {
			if m.State == messages.MemberView_alive {
				alive++
			}
			said = append(said, fmt.Sprintf("%s: %s is %s %s", h.name(), m.Host, m.State, m.Reason))
		}
		arbiter = v.GetArbiter()
		arbiters[fmt.Sprint(arbiter, " ", v.GetArbiterEpoch())] = true
		said = append(said, fmt.Sprintf("%s: the arbiter is on %q, epoch %d", h.name(), arbiter, v.GetArbiterEpoch()))
		agree = agree && v != nil && alive == len(hosts)
	}
	return arbiter, agree && len(arbiters) == 1 && arbiter != "", strings.Join(said, "\n")
}

// agree waits until the hosts see each other alive and follow one arbiter, and tells whose.
func (l *lab) agree(hosts ...*labHost) *labHost {
	l.t.Helper()
	var arbiter, said string
	defer func() {
		if l.t.Failed() {
			l.t.Logf("they see:\n%s", said)
		}
	}()
	l.until(fmt.Sprintf("%d hosts agree", len(hosts)), func() (agree bool) {
		arbiter, agree, said = agreed(hosts)
		return agree
	})
	return l.hosts[arbiter]
}

// other is the host of two that isn't this one.
func (l *lab) other(h *labHost) *labHost {
	for _, o := range l.hosts {
		if o != h {
			return o
		}
	}
	panic("a laboratory of one host")
}
