package arbiter

import (
	"fmt"
	"testing"
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// BenchmarkPlace decides over 4 hosts x 4 devices x 200 models; every second question needs victims.
func BenchmarkPlace(b *testing.B) {
	seen := &messages.SchedulerReadings{}
	for i := range 16 {
		host := fmt.Sprintf("host%d", i/4)
		seen.Ledgers = append(seen.Ledgers, &messages.GpuView{Id: fmt.Sprintf("gpu/%s/gpu%d", host, i%4), Host: host, Kind: "cuda", LimitBytes: 22000 * messages.MiB})
	}
	for i := range 200 {
		l := seen.Ledgers[i%16]
		l.ReservedBytes += 1650 * messages.MiB
		a := settled(fmt.Sprintf("model/host%d/m%d", i%16/4, i), l.Id, 1650*messages.MiB)
		a.IdleMs, a.HeldMs, a.LoadMs = int64(i*977%60_000), 60_000, int64(500+i*37%9000)
		l.Reservations = append(l.Reservations, &messages.Reservation{Lease: a.Holder, Holder: a.Holder, Bytes: a.Bytes()})
		seen.Allocations = append(seen.Allocations, a)
	}
	s, at := New(messages.ArbiterActor()), entity.Stamp{Now: time.Unix(0, 0), ID: "p", Readings: seen}
	for i := 0; b.Loop(); i++ {
		if _, err := (Rules{}).Decide(s, request("model/*/asked", uint64(500+i%2*8500)*messages.MiB), at); err != nil {
			b.Fatal(err)
		}
	}
}
