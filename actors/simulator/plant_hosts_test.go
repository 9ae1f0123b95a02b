package simulator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/gpu"
	"modelops/messages"
)

// Plants that only show where arbiters and owners are apart.
func TestPlantedBugsOfHostsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		plants Plants
		says   string
	}{
		"a ledger ignores the epoch of arbiters":                         {Plants{GPU: ledgerSeeing(func(s gpu.State) gpu.State { s.Obeyed = 0; return s })}, "obeys the arbiter of"},
		"an arbiter trusts its memory of the ledgers instead of reports": {Plants{Arbiter: trustingMemory}, "not at rest|it answers"},
		"a ledger grants what another arbiter's lease holds":             {Plants{GPU: seeingOneArbiter}, "granted memory over its limit"},
		"a host keeps what another one has too":                          {Plants{Residents: func(string, []*messages.ModelView) []*messages.ModelView { return nil }}, "not at rest"},
	} {
		t.Run(name, func(t *testing.T) {
			v := findAmongHosts(t, c.plants)
			if v == nil {
				t.Fatalf("not found in %d steps", findWithin)
			}
			if !slices.ContainsFunc(strings.Split(c.says, "|"), func(says string) bool { return strings.Contains(v.What, says) }) {
				t.Errorf("found something else: %v", v)
			}
			t.Logf("seed %d, step %d: %s", v.Seed, v.Step, v.What)
		})
	}
}

func findAmongHosts(t *testing.T, r Plants) *Violation {
	for seed, taken := uint64(1), 0; taken < findWithin; seed++ {
		o := restlessHosts(seed)
		o.Plants = r
		c := NewCluster(o)
		err := c.Run(t.Context(), 4*perWorld)
		if err == nil {
			err = c.Calm(t.Context())
		}
		if v, ok := err.(*Violation); ok {
			return v
		}
		taken += c.steps
	}
	return nil
}

// restlessHosts are hosts whose links change all the time, so that decisions come late.
func restlessHosts(seed uint64) Options {
	o := hosts(seed, 2+int(seed%2))
	o.Links = Links{Every: time.Second, Shortest: 200 * time.Millisecond, Longest: 3 * time.Second}
	o.Rate, o.Faults.Every, o.Faults.LostAsk, o.Faults.LateAsk = 3, time.Minute, 0.05, 0.1
	return o
}

// trustingMemory decides on the ledgers as they were at its first look in a term, but for those of its placements.
func trustingMemory(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	right := k.Observe
	var remembered []*messages.GpuView
	k.Observe = func(ctx context.Context, c proto.Message) proto.Message {
		seen := right(ctx, c)
		if r, ok := seen.(*messages.SchedulerReadings); ok {
			if len(remembered) < len(r.Ledgers) {
				remembered = r.Ledgers
			}
			r.Ledgers = remembered
		}
		return seen
	}
	return k
}

// seeingOneArbiter counts the leases of the arbiter that asks, and no others.
func seeingOneArbiter(k entity.Kind[gpu.State]) entity.Kind[gpu.State] {
	right := k.Decide
	k.Decide = func(s gpu.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
		if r, ok := c.(*messages.ReserveVram); ok && r.Arbiter != "" {
			leases := map[string]gpu.Lease{}
			for id, l := range s.Leases {
				if l.Arbiter == r.Arbiter {
					leases[id] = l
				}
			}
			s.Leases = leases
		}
		return right(s, c, at)
	}
	return k
}
