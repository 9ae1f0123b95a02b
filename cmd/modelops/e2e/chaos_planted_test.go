//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// agreeing is a host at rest: a ready model, an absent one, and a program's lease.
func agreeing() triple {
	const gpu, ready = "gpu/main_pc/gpu0", "model/main_pc/a"
	return triple{
		gpus: []*messages.GpuView{{Id: gpu, LimitBytes: 100, ReservedBytes: 50, Reservations: []*messages.Reservation{
			{Lease: "l", Holder: ready, Bytes: 60, MeasuredBytes: 40, Epoch: 7},
			{Lease: "c", Holder: "client/e2e", Bytes: 10, Epoch: 9, TtlSeconds: 60},
		}}},
		models: []*messages.ModelView{
			{Id: ready, Phase: messages.ModelView_ready, Attempt: 1, Nonce: "n", MeasuredBytes: 40, Worker: &messages.Worker{Pid: 5, Nonce: "n"},
				Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: gpu, Lease: "l", Epoch: 7, Bytes: 60}}}},
			{Id: "model/main_pc/b", Phase: messages.ModelView_absent},
		},
		processes: []carrier{{pid: 5, nonce: "n", leader: true}, {pid: 6, nonce: "n"}},
		live:      map[string]string{gpu: "9 {}"},
		folded:    map[string]string{gpu: "9 {}"},
	}
}

func TestCheckerFindsWhatIsPlanted(t *testing.T) {
	if wrong := agreeing().wrong(); len(wrong) != 0 {
		t.Fatalf("a host at rest: %q", wrong)
	}
	for name, c := range map[string]struct {
		plant func(*triple)
		says  string
	}{
		"a second worker":         {func(p *triple) { p.processes = append(p.processes, carrier{8, "n", true}) }, "its processes are [5 8]"},
		"no worker":               {func(p *triple) { p.processes = nil }, "its processes are []"},
		"another pid":             {func(p *triple) { p.models[0].Worker.Pid = 4 }, "with worker 4"},
		"another nonce":           {func(p *triple) { p.models[0].Worker.Nonce = "x" }, `nonce "n"`},
		"a stray process":         {func(p *triple) { p.processes = append(p.processes, carrier{8, "x", true}) }, "process 8"},
		"a stray child":           {func(p *triple) { p.processes = append(p.processes, carrier{8, "x", false}) }, "process 8"},
		"a worker of an absent":   {func(p *triple) { p.models[0].Phase = messages.ModelView_absent }, "process 5"},
		"a lease of an absent":    {func(p *triple) { p.models[0].Phase = messages.ModelView_absent }, "lease l of model/main_pc/a has no holder"},
		"no lease":                {func(p *triple) { p.gpus[0].Reservations = p.gpus[0].Reservations[1:] }, "lease l on gpu/main_pc/gpu0 isn't in the ledger"},
		"no placement":            {func(p *triple) { p.models[0].Placement = nil }, "without a lease"},
		"another holder":          {func(p *triple) { p.gpus[0].Reservations[0].Holder = "model/main_pc/b" }, "belongs to model/main_pc/b"},
		"an older epoch":          {func(p *triple) { p.models[0].Placement.Shares[0].Epoch = 6 }, "holds it since 6"},
		"other bytes":             {func(p *triple) { p.models[0].MeasuredBytes = 41 }, "the worker as 41"},
		"a lease without end":     {func(p *triple) { p.gpus[0].Reservations[1].TtlSeconds = 0 }, "lease c of client/e2e"},
		"a sum":                   {func(p *triple) { p.gpus[0].ReservedBytes = 51 }, "the leases hold 50"},
		"over the limit":          {func(p *triple) { p.gpus[0].LimitBytes = 49 }, "the limit is 49"},
		"another state":           {func(p *triple) { p.live["gpu/main_pc/gpu0"] = "10 {}" }, `by its journal "9 {}"`},
		"an actor that isn't up":  {func(p *triple) { delete(p.live, "gpu/main_pc/gpu0") }, "by its journal"},
		"an actor of no journal":  {func(p *triple) { p.live["model/main_pc/x"] = "1 {}" }, "is in no journal"},
		"a decision in the past":  {func(p *triple) { p.history = []string{"sequence 3"} }, "sequence 3"},
		"a model that is loading": {func(p *triple) { p.models[1].Phase = messages.ModelView_loading }, "isn't at rest"},
	} {
		t.Run(name, func(t *testing.T) {
			p := agreeing()
			c.plant(&p)
			if got := strings.Join(p.wrong(), "\n"); !strings.Contains(got, c.says) {
				t.Errorf("it says %q, want %q", got, c.says)
			}
		})
	}
}

// TestHistoryFindsOvercommitment: a grant above the limit, and one of a lease that another holds, are found though both are given back.
func TestHistoryFindsOvercommitment(t *testing.T) {
	gpu := messages.GPUActor("main_pc", "gpu0")
	h := history{actors: map[messages.ActorID]*past{}}
	for i, e := range []proto.Message{
		&messages.DeviceRegistered{CapacityBytes: 100},
		&messages.VramReserved{Lease: "a", Holder: "client/a", Bytes: 60},
		&messages.VramReserved{Lease: "b", Holder: "client/b", Bytes: 60},
		&messages.VramReleased{Lease: "b"},
		&messages.VramReserved{Lease: "a", Holder: "client/c", Bytes: 10},
		&messages.VramReleased{Lease: "a"},
	} {
		if err := h.take(messages.Recorded{Actor: gpu, Sequence: uint64(i + 1), Events: []proto.Message{e}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.wrong) != 2 || !strings.Contains(h.wrong[0], "sequence 3") || !strings.Contains(h.wrong[1], "sequence 5") {
		t.Errorf("it found %q", h.wrong)
	}
}

// An arbiter that doesn't place any more has nothing in hand.
func TestCheckerFindsWhatAFormerArbiterKeeps(t *testing.T) {
	o, id := (&daemon{t: t}).observer(), messages.ArbiterActor()
	happens := func(sequence uint64, event proto.Message) {
		if err := o.h.take(messages.Recorded{Actor: id, Sequence: sequence, Events: []proto.Message{event}}); err != nil {
			t.Fatal(err)
		}
	}
	happens(1, &messages.PlacementDecided{Placement: &messages.Placement{Id: "p", Holder: "model/pc2/a", Shares: []*messages.Share{{Gpu: "gpu/pc2/gpu0"}}}})
	if wrong := o.standsDown(id); len(wrong) != 1 || !strings.Contains(wrong[0], "placement p for model/pc2/a") {
		t.Errorf("it found %q", wrong)
	}
	happens(2, &messages.PlacementClosed{Id: "p"})
	if wrong := o.standsDown(id); len(wrong) != 0 {
		t.Errorf("after its end: %q", wrong)
	}
}
