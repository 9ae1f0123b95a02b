//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/journal"
	"modelops/messages"
)

// settle waits until, on each of the hosts, ledger, processes and journal agree, and compares the hosts with each other.
func (l *lab) settle(where string, hosts ...*labHost) {
	l.t.Helper()
	var wrong []string
	for _, h := range hosts {
		h.observer().settles(where + ": " + h.name())
		wrong = append(wrong, h.foreign()...)
	}
	wrong = append(wrong, epochs(hosts)...)
	for _, w := range wrong {
		l.t.Errorf("%s: %s", where, w)
	}
	l.timeline.note("lab", "%s: ledgers, processes and journals agree", where)
}

// foreign lists decisions of a host's journal about what belongs to another: a host decides only about its own.
func (h *labHost) foreign() (out []string) {
	h.t.Helper()
	nc := h.dial()
	defer nc.Close()
	err := journalOf(h.name(), nc).Replay(h.t.Context(), journal.Query{}, func(r messages.Recorded) error {
		if slices.Contains([]string{messages.KindModel, messages.KindGPU, messages.KindHost}, r.Actor.Kind) && r.Actor.Host() != h.name() {
			out = append(out, fmt.Sprintf("%s decided for %s at sequence %d", h.name(), r.Actor, r.Sequence))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// residents are the hosts where a model has a worker, by their process tables.
func (l *lab) residents(model string) (out []string) {
	for _, name := range l.names {
		if h := l.hosts[name]; h != nil && slices.ContainsFunc(carriers(h.dir), func(c carrier) bool { return c.leader && environOf(c.pid)["MODELOPS_MODEL"] == model }) {
			out = append(out, name)
		}
	}
	return out
}

// instances are the workers of a model on all hosts.
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

// epochs lists take-overs of the arbiter that weren't newer than what their host had followed before.
func epochs(hosts []*labHost) (out []string) {
	for _, h := range hosts {
		last := uint64(0)
		for _, e := range h.remembers(messages.ArbiterActor()) {
			if !strings.HasSuffix(messages.EventName(e), "took_over") {
				continue
			}
			got := numberIn(e, "epoch")
			if got <= last {
				out = append(out, fmt.Sprintf("the arbiter of %s took over with epoch %d after %d", h.name(), got, last))
			}
			last = got
		}
	}
	return out
}

// numberIn reads a field of a message by its name; 0 when it has none.
func numberIn(m proto.Message, field string) uint64 {
	f := m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(field))
	if f == nil {
		return 0
	}
	return m.ProtoReflect().Get(f).Uint()
}
