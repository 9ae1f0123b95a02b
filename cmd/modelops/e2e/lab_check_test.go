//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// settle waits until, on each of the hosts, ledger, processes and journal agree, and compares the hosts' journals with each other and with what callers were
// promised.
func (l *lab) settle(where string, hosts ...*labHost) {
	l.t.Helper()
	for _, h := range hosts {
		if h.watch == nil {
			h.watch = h.observer()
		}
		h.watch.settles(where + ": " + h.name())
		h.reads(&l.books)
	}
	for _, w := range append(l.books.kept(), l.books.wrong...) {
		l.t.Errorf("%s: %s", where, w)
	}
	l.timeline.note("lab", "%s: ledgers, processes and journals agree", where)
}

// reads passes what is new in this host's own journal to the comparison.
func (h *labHost) reads(c *cluster) {
	h.t.Helper()
	nc := h.dial()
	defer nc.Close()
	err := journalOf(h.name(), nc).Replay(h.t.Context(), journal.Query{After: c.read[h.name()]}, func(r messages.Recorded) error {
		c.take(h.name(), r)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// cluster judges what the hosts of a cluster have decided, by all their journals.
type cluster struct {
	read    map[string]uint64 // how far a host's journal was read
	granted map[string]string // the host that granted a lease
	ended   map[string]bool   // leases that aren't held any more
	nonces  map[string]string // the host that started a worker
	evicted int
	wrong   []string

	mu       sync.Mutex
	promised map[string]bool // leases by what their callers were told: false = granted, true = given back
}

// take judges a decision of a host's journal. A host decides only about its own; no lease is granted, and no
// worker started, by two hosts.
func (c *cluster) take(host string, r messages.Recorded) {
	if c.granted == nil {
		c.read, c.granted, c.ended, c.nonces = map[string]uint64{}, map[string]string{}, map[string]bool{}, map[string]string{}
	}
	c.read[host] = r.Sequence
	if slices.Contains([]string{messages.KindModel, messages.KindGPU, messages.KindHost}, r.Actor.Kind) && r.Actor.Host() != host {
		c.wrong = append(c.wrong, fmt.Sprintf("%s decided for %s at sequence %d", host, r.Actor, r.Sequence))
	}
	for _, e := range r.Events {
		switch e := e.(type) {
		case *messages.VramReserved:
			c.once(c.granted, "lease "+e.Lease, host, r)
		case *messages.VramReleased:
			c.ended["lease "+e.Lease] = true
		case *messages.LeaseExpired:
			c.ended["lease "+e.Lease] = true
		case *messages.LeaseReclaimed:
			c.ended["lease "+e.Lease] = true
		case *messages.WorkerStarted:
			c.once(c.nonces, "worker "+e.Worker.GetNonce(), host, r)
		case *messages.VictimPreempted:
			c.evicted++
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

// promise notes what a caller was told of its lease.
func (c *cluster) promise(lease string, givenBack bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.promised == nil {
		c.promised = map[string]bool{}
	}
	c.promised["lease "+lease] = givenBack
}

// kept finds the promises that no journal knows.
func (c *cluster) kept() (broken []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for lease, givenBack := range c.promised {
		switch {
		case c.granted[lease] == "":
			broken = append(broken, lease+" was granted to its caller, and no journal knows of it")
		case givenBack && !c.ended[lease]:
			broken = append(broken, fmt.Sprintf("%s was given back by its caller, and %s holds it", lease, c.granted[lease]))
		}
	}
	return broken
}

// String counts what the journals tell.
func (c *cluster) String() string {
	return fmt.Sprintf("%d grants, %d workers started, %d evictions", len(c.granted), len(c.nonces), c.evicted)
}

// watches looks at the process tables until ctx ends: no model of a host has two workers at once, not even for a moment.
func (l *lab) watches(ctx context.Context, hosts ...*labHost) {
	for ctx.Err() == nil {
		for _, h := range hosts {
			for model, pids := range doubles(leadersOf(h.dir), func() map[string][]int { return leadersOf(h.dir) }) {
				l.t.Errorf("%s of %s has the workers %v at once", model, h.name(), pids)
				l.timeline.note("lab", "%s of %s has the workers %v at once", model, h.name(), pids)
			}
		}
		pauseFor(ctx, 50*time.Millisecond)
	}
}

// doubles are the models with two workers that were there together. One look reads the processes one after the other, so it can meet a worker that ends
// and then its successor; who is there in a second look too was there beside the others.
func doubles(first map[string][]int, again func() map[string][]int) map[string][]int {
	out := map[string][]int{}
	for model, pids := range first {
		if len(pids) < 2 {
			continue
		}
		still := again()[model]
		pids = slices.DeleteFunc(pids, func(pid int) bool { return !slices.Contains(still, pid) })
		if len(pids) > 1 {
			out[model] = pids
		}
	}
	return out
}

// leadersOf are the living workers of a host by model.
func leadersOf(dir string) map[string][]int {
	out := map[string][]int{}
	for _, c := range carriers(dir) {
		if c.leader {
			model := environOf(c.pid)["MODELOPS_MODEL"]
			out[model] = append(out[model], c.pid)
		}
	}
	return out
}

// instances are the workers of a model on all hosts, by their process tables.
func (l *lab) instances(model string) (n int) {
	for _, h := range l.hosts {
		n += len(leadersOf(h.dir)[model])
	}
	return n
}

func TestClusterCheckerFindsWhatIsPlanted(t *testing.T) {
	c := cluster{}
	gpu := func(host string) messages.ActorID { return messages.GPUActor(host, "gpu0") }
	c.take("a", messages.Recorded{Actor: gpu("a"), Events: []proto.Message{&messages.VramReserved{Lease: "1"}}})
	c.take("b", messages.Recorded{Actor: gpu("b"), Events: []proto.Message{&messages.VramReserved{Lease: "2"}}})
	c.take("b", messages.Recorded{Actor: messages.ModelActor("b", "m"), Events: []proto.Message{&messages.WorkerStarted{Worker: &messages.Worker{Nonce: "n"}}}})
	c.promise("1", false)
	c.promise("2", true)
	c.take("b", messages.Recorded{Actor: gpu("b"), Events: []proto.Message{&messages.VramReleased{Lease: "2"}}})
	if wrong := append(c.kept(), c.wrong...); len(wrong) > 0 {
		t.Errorf("a good cluster: %q", wrong)
	}
	c.promise("1", true)
	c.promise("3", false)
	if broken := c.kept(); len(broken) != 2 {
		t.Errorf("it found %q", broken)
	}
	c.take("a", messages.Recorded{Actor: gpu("a"), Events: []proto.Message{&messages.VramReserved{Lease: "2"}}})
	c.take("a", messages.Recorded{Actor: gpu("b")})
	c.take("a", messages.Recorded{Actor: messages.ModelActor("a", "m"), Events: []proto.Message{&messages.WorkerStarted{Worker: &messages.Worker{Nonce: "n"}}}})
	if len(c.wrong) != 3 {
		t.Errorf("it found %q", c.wrong)
	}
}

func TestDoublesAreThereTogether(t *testing.T) {
	first := map[string][]int{"one": {1}, "successor": {2, 3}, "two": {4, 5}}
	again := func() map[string][]int { return map[string][]int{"one": {1}, "successor": {3}, "two": {4, 5, 6}} }
	if got := doubles(first, again); len(got) != 1 || !slices.Equal(got["two"], []int{4, 5}) {
		t.Errorf("it found %v", got)
	}
}
