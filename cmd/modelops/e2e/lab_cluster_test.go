//go:build e2e

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// cluster starts a daemon at each host of the laboratory, on what sections says of it, and waits until they agree. They join with the commands that
// people use; with proxies between them each declares the others, whom it reaches through its own.
func (l *lab) cluster(sections func(host string) string) []*labHost {
	l.t.Helper()
	ports := map[string]int{}
	members := slices.DeleteFunc(slices.Clone(l.names), func(name string) bool { return name == outsider })
	for _, name := range members {
		ports[name] = freePort(l.t)
	}
	_, proxied := l.net.(*proxies)
	var all []*labHost
	for _, name := range members {
		section := fmt.Sprintf("cluster: {port: %d, actors_port: %d", ports[name], freePort(l.t))
		if proxied {
			section += ", peers: [" + l.peers(name, ports) + "]"
		}
		all = append(all, l.host(name, section+"}\n"+sections(name)))
	}
	for i, h := range all {
		switch {
		case proxied:
		case i == 0:
			h.typed("cluster", "init")
		default:
			h.args = all[0].invitation(h.name())
		}
		h.launch()
		h.args = nil
	}
	l.agree(all...)
	return all
}

// peers declares the other hosts by the addresses of the proxies to them.
func (l *lab) peers(name string, ports map[string]int) string {
	var out []string
	for _, other := range l.names {
		if other != name {
			out = append(out, fmt.Sprintf("{host: %s, address: %q}", other, l.link(name, other, ports[other])))
		}
	}
	return strings.Join(out, ", ")
}

// invitation is what `serve` needs to join the host's cluster.
func (h *labHost) invitation(guest string) []string {
	h.t.Helper()
	var r struct {
		Token   string `json:"token"`
		Address string `json:"address"`
	}
	out := h.typed("cluster", "invite", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Token == "" {
		h.t.Fatalf("modelops cluster invite: %v: %s", err, out)
	}
	_, port, err := net.SplitHostPort(r.Address)
	n, wrong := strconv.Atoi(port)
	if err := errors.Join(err, wrong); err != nil {
		h.t.Fatalf("modelops cluster invite: %v: %s", err, out)
	}
	return []string{"--join", h.lab.link(guest, h.name(), n), "--token", r.Token}
}

// loaded has a model loaded on this very host, and waits until it is ready.
func (h *labHost) loaded(models ...string) {
	h.t.Helper()
	nc := h.dial()
	defer nc.Close()
	for _, m := range models {
		h.lab.until(fmt.Sprintf("%s is ready on %s", m, h.name()), func() bool {
			switch h.model(m).Phase {
			case messages.ModelView_ready:
				return true
			case messages.ModelView_absent, messages.ModelView_failed, messages.ModelView_asleep:
				_, _ = command(nc, messages.ModelActor(h.name(), m), &messages.EnsureModel{Reason: "lab"})
			}
			return false
		})
	}
}

// sends gives an actor of this host a command and fails the test when it is refused.
func (h *labHost) sends(to messages.ActorID, m proto.Message) {
	h.t.Helper()
	nc := h.dial()
	defer nc.Close()
	if _, err := command(nc, to, m); err != nil {
		h.t.Fatalf("%s to %s: %v", m.ProtoReflect().Descriptor().Name(), to, err)
	}
}

// misses waits until this host doesn't see the other alive, and tells how long that took.
func (h *labHost) misses(member string) time.Duration {
	h.t.Helper()
	return h.lab.until(fmt.Sprintf("%s misses %s", h.name(), member), func() bool {
		s := h.sees(member).State
		return s == messages.MemberView_unreachable || s == messages.MemberView_gone
	})
}

// pauses stops the daemon's process, as a machine that hangs does, until resume.
func (h *labHost) pauses() (resume func()) {
	h.t.Helper()
	signal := func(s syscall.Signal) {
		h.lab.timeline.note("lab", "%s gets %s", h.name(), s)
		if err := h.cmd.Process.Signal(s); err != nil {
			h.t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// budget fails the test when a measured time is over its budget, where budgets are judged: other work on the machine can make everything slow.
func budget(t *testing.T, what string, took, most time.Duration) {
	t.Helper()
	t.Logf("%s: %s (budget %s)", what, took.Round(time.Millisecond), most)
	if os.Getenv("MODELOPS_BUDGETS") != "" && took > most {
		t.Errorf("%s took %s, the budget is %s", what, took, most)
	}
}
