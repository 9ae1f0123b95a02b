//go:build e2e

package e2e_test

import (
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/messages"
)

// placements times the arbiter's pure decision. Every device is filled by its share of two hundred resident models, one in eight of them busy; a
// quarter of the devices has room. The small half of the questions fits, the large half needs victims.
func placements(t *testing.T) (took []time.Duration) {
	t.Helper()
	const rounds = 20_000
	defer debug.SetGCPercent(debug.SetGCPercent(300)) // as the daemon runs
	ledgers, allocations := fleet(4, 4, 200)
	seen := &messages.SchedulerReadings{Ledgers: ledgers, Allocations: allocations}
	rules, state := arbiter.Rules{}, arbiter.New(messages.ActorID{Kind: messages.KindArbiter, ID: "arbiter"})
	now := time.Now()
	for i := range rounds {
		need := uint64(1500) * messages.MiB
		if i%2 == 1 {
			need = 9000 * messages.MiB
		}
		c := &messages.RequestPlacement{Holder: "model/*/asked", Preemptible: true, Claim: &messages.Claim{Id: messages.ByName, Needs: []*messages.Need{{Bytes: need}}}}
		began := time.Now()
		v, err := rules.Decide(state, c, entity.Stamp{Now: now, ID: "p1", Readings: seen})
		took = append(took, time.Since(began))
		if err != nil || len(v.Events) == 0 {
			t.Fatalf("no placement for %s: %v", messages.FormatBytes(need), err)
		}
	}
	return took
}

// arithmetic times work of about ten microseconds that touches nothing: its tail is the machine's.
func arithmetic(rounds int) (took []time.Duration) {
	var sums [256]uint64
	for range rounds {
		began := time.Now()
		x := uint64(1)
		for i := range 9000 {
			x = x*6364136223846793005 + 1
			sums[i&255] += x
		}
		took = append(took, time.Since(began))
	}
	return took
}

func fleet(hosts, devices, models int) (ledgers []*messages.GpuView, allocations []*messages.Allocation) {
	for h := range hosts {
		for g := range devices {
			ledgers = append(ledgers, &messages.GpuView{Id: fmt.Sprintf("gpu/host%d/gpu%d", h, g), Host: fmt.Sprintf("host%d", h), Device: fmt.Sprintf("gpu%d", g),
				Kind: "simulated", CapacityBytes: 24000 * messages.MiB, SoftLimitBytes: 22000 * messages.MiB, LimitBytes: 22000 * messages.MiB})
		}
	}
	for i := range models {
		l := ledgers[i%len(ledgers)]
		size := uint64(1600) * messages.MiB
		if i%len(ledgers)%4 == 3 {
			size = 1400 * messages.MiB
		}
		l.ReservedBytes += size
		r := &messages.Allocation{Holder: fmt.Sprintf("model/%s/m%d", l.Host, i), Shares: []*messages.Share{{Gpu: l.Id, Bytes: size}}, State: messages.Allocation_settled, IdleMs: int64(i * 977 % 60_000), HeldMs: int64(60_000 + i*331), LoadMs: int64(500 + i*37%9000)}
		if i%8 == 0 {
			r.Active = 1
		}
		allocations = append(allocations, r)
	}
	return ledgers, allocations
}
