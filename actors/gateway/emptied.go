package gateway

import (
	"strings"

	"modelops/messages"
)

// emptied are the hosts for the end of whose drain a request waits: no other host that can be asked declares its model. l is locked.
func (g *Gateway) emptied(l *lockedPool, only messages.Only) []string {
	if g.o.Emptied == nil {
		return nil
	}
	hosts := l.pool.Homes(only)
	for _, host := range hosts {
		if !g.o.Emptied(host) {
			return nil
		}
	}
	return hosts
}

// waitsFor says what a waiting request waits for. l is locked.
func (g *Gateway) waitsFor(l *lockedPool, only messages.Only) string {
	if hosts := g.emptied(l, only); len(hosts) > 0 {
		return beingEmptied(hosts) + " (" + undo(hosts) + " ends that)"
	}
	return l.pool.WaitsFor()
}

func beingEmptied(hosts []string) string {
	if len(hosts) == 1 {
		return hosts[0] + ", which is being emptied"
	}
	return strings.Join(hosts, " and ") + ", which are being emptied"
}

// undo is the command that lets the first of the hosts take models again.
func undo(hosts []string) string { return "modelops drain " + hosts[0] + " --undo" }

// loadsNowhere refuses a load by hand of a model that only hosts declare which are being emptied, as a load on such a host is. l is locked.
func (g *Gateway) loadsNowhere(l *lockedPool) error {
	hosts := g.emptied(l, messages.Only{})
	if len(hosts) == 0 {
		return nil
	}
	return messages.Errorf(messages.FailedPrecondition, l.id.String(), "only %s declares it, and is being emptied: no model is loaded there", strings.Join(hosts, " and ")).
		WithHint(undo(hosts) + " lets it take models again")
}
