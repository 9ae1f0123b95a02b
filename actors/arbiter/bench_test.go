//go:build languagepending

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
	var ledgers []*messages.GpuView
	for i := range 16 {
		ledgers = append(ledgers, &messages.GpuView{Id: fmt.Sprintf("gpu/host%d/gpu%d", i/4, i%4), Kind: "cuda", LimitBytes: 22000 * messages.MiB})
	}
	var residents []*messages.Allocation
	for i := range 200 {
		l := ledgers[i%16]
		l.ReservedBytes += 1650 * messages.MiB
		r := &messages.Allocation{Model: fmt.Sprintf("model/host%d/m%d", i%16/4, i), Gpu: l.Id, Bytes: 1650 * messages.MiB, Phase: messages.ModelView_ready,
			IdleMs: int64(i * 977 % 60_000), HeldMs: 60_000, LoadMs: int64(500 + i*37%9000)}
		l.Reservations = append(l.Reservations, &messages.Reservation{Lease: r.Model, Holder: r.Model, Bytes: r.Bytes})
		residents = append(residents, r)
	}
	s, at := New(messages.ArbiterActor()), entity.Stamp{Now: time.Unix(0, 0), ID: "p"}
	for i := 0; b.Loop(); i++ {
		c := &messages.RequestPlacement{Model: "model/host0/asked", Attempt: 1, NeedBytes: uint64(500+i%2*8500) * messages.MiB, Ledgers: ledgers, Residents: residents}
		if _, err := (Rules{}).Decide(s, c, at); err != nil {
			b.Fatal(err)
		}
	}
}
