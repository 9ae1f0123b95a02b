//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// settle waits until, on each of the hosts, ledger, processes and journal agree, and compares the hosts' journals with each other.
func (l *lab) settle(where string, hosts ...*labHost) {
	l.t.Helper()
	c := cluster{}
	for _, h := range hosts {
		h.observer().settles(where + ": " + h.name())
		h.reads(&c)
	}
	for _, w := range c.wrong {
		l.t.Errorf("%s: %s", where, w)
	}
	l.timeline.note("lab", "%s: ledgers, processes and journals agree", where)
}

// reads passes this host's own journal to the comparison.
func (h *labHost) reads(c *cluster) {
	h.t.Helper()
	nc := h.dial()
	defer nc.Close()
	err := journalOf(h.name(), nc).Replay(h.t.Context(), journal.Query{}, func(r messages.Recorded) error {
		c.take(h.name(), r)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// cluster judges what the hosts of a cluster have decided, by all their journals.
type cluster struct {
	granted map[string]string // the host that granted a lease
	nonces  map[string]string // the host that started a worker
	wrong   []string
}

// take judges a decision of a host's journal. A host decides only about its own; no lease is granted, and no
// worker started, by two hosts.
func (c *cluster) take(host string, r messages.Recorded) {
	if c.granted == nil {
		c.granted, c.nonces = map[string]string{}, map[string]string{}
	}
	if slices.Contains([]string{messages.KindModel, messages.KindGPU, messages.KindHost}, r.Actor.Kind) && r.Actor.Host() != host {
		c.wrong = append(c.wrong, fmt.Sprintf("%s decided for %s at sequence %d", host, r.Actor, r.Sequence))
	}
	for _, e := range r.Events {
		switch e := e.(type) {
		case *messages.VramReserved:
			c.once(c.granted, "lease "+e.Lease, host, r)
		case *messages.WorkerStarted:
			c.once(c.nonces, "worker "+e.Worker.GetNonce(), host, r)
		}
	}
}

// once finds what two hosts did, of what one of them may do.
func (c *cluster) once(by map[string]string, what, host string, r messages.Recorded) {
	if first, ok := by[what]; ok && first != host {
		c.wrong = append(c.wrong, fmt.Sprintf("%s is of %s, and of %s at sequence %d", what, first, host, r.Sequence))
	}
	by[what] = host
}

// instances are the workers of a model on all hosts, by their process tables.
func (l *lab) instances(model string) (n int) {
	for _, h := range l.hosts {
		for _, c := range carriers(h.dir) {
			if c.leader && environOf(c.pid)["MODELOPS_MODEL"] == model {
				n++
			}
		}
	}
	return n
}

func TestClusterCheckerFindsWhatIsPlanted(t *testing.T) {
	c := cluster{}
	gpu := func(host string) messages.ActorID { return messages.GPUActor(host, "gpu0") }
	c.take("a", messages.Recorded{Actor: gpu("a"), Events: []proto.Message{&messages.VramReserved{Lease: "1"}}})
	c.take("b", messages.Recorded{Actor: gpu("b"), Events: []proto.Message{&messages.VramReserved{Lease: "2"}}})
	c.take("b", messages.Recorded{Actor: messages.ModelActor("b", "m"), Events: []proto.Message{&messages.WorkerStarted{Worker: &messages.Worker{Nonce: "n"}}}})
	if len(c.wrong) > 0 {
		t.Errorf("a good cluster: %q", c.wrong)
	}
	c.take("a", messages.Recorded{Actor: gpu("a"), Events: []proto.Message{&messages.VramReserved{Lease: "2"}}})
	c.take("a", messages.Recorded{Actor: gpu("b")})
	c.take("a", messages.Recorded{Actor: messages.ModelActor("a", "m"), Events: []proto.Message{&messages.WorkerStarted{Worker: &messages.Worker{Nonce: "n"}}}})
	if len(c.wrong) != 3 {
		t.Errorf("it found %q", c.wrong)
	}
}
