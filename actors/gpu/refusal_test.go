package gpu

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A device that comes back otherwise than the ledger knows it is recorded: its limit follows from what it is.
func TestADeviceThatChangedIsRegisteredAgain(t *testing.T) {
	was := &messages.RegisterDevice{Kind: "cuda", Name: "RTX", Uuid: "u1", CapacityBytes: 8 * messages.GiB, MarginBytes: messages.GiB, SoftLimitBytes: 6 * messages.GiB}
	for name, change := range map[string]func(*messages.RegisterDevice){
		"nothing":           func(*messages.RegisterDevice) {},
		"another kind":      func(r *messages.RegisterDevice) { r.Kind = "simulated" },
		"another name":      func(r *messages.RegisterDevice) { r.Name = "GTX" },
		"another card":      func(r *messages.RegisterDevice) { r.Uuid = "u2" },
		"more memory":       func(r *messages.RegisterDevice) { r.CapacityBytes *= 2 },
		"another margin":    func(r *messages.RegisterDevice) { r.MarginBytes *= 2 },
		"a higher limit":    func(r *messages.RegisterDevice) { r.SoftLimitBytes++ },
		"no limit any more": func(r *messages.RegisterDevice) { r.SoftLimitBytes = 0 },
	} {
		m, now := fresh(), proto.CloneOf(was)
		change(now)
		_, _ = m.Do(was)
		v, err := m.Do(now)
		if changed := len(v.Events) == 1; err != nil || changed != (name != "nothing") {
			t.Errorf("%s: %v, %v", name, v.Events, err)
		}
		s := m.State
		if got := (&messages.RegisterDevice{Kind: s.Kind, Name: s.Name, Uuid: s.UUID, CapacityBytes: s.Capacity, MarginBytes: s.Margin, SoftLimitBytes: s.SoftLimit}); !proto.Equal(got, now) {
			t.Errorf("%s: it is known as %v", name, got)
		}
	}
}

// A caller waits only for memory that can become free. The sums in a refusal are never to the caller's favour: what is needed is rounded up.
func TestShortages(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 8 * messages.GiB})
	m.Happen(&messages.VramReserved{Lease: "l1", Holder: "client/me", Bytes: messages.GiB})
	for name, c := range map[string]struct {
		bytes uint64
		says  string
		retry bool
	}{
		"one byte too many":       {7*messages.GiB + 1, "required 7169MB, available 7168MB", true},
		"all of the device":       {8 * messages.GiB, "required 8192MB", true},
		"more than there ever is": {8*messages.GiB + 1, "required 8193MB", false},
	} {
		_, err := m.Do(&messages.ReserveVram{Lease: "l2", Holder: "client/me", Bytes: c.bytes, TtlSeconds: 30})
		if e := messages.AsError(err); e.Code != messages.GPUUnavailable || !strings.Contains(e.Message, c.says) || (e.Retry > 0) != c.retry {
			t.Errorf("%s: %v, retry %s", name, err, e.Retry)
		}
	}
	if _, err := m.Do(&messages.ReserveVram{Lease: "l2", Bytes: 1}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("without a holder: %v", err)
	}
}

// A measurement that can't be true leaves nothing free: sums stop at the largest number and don't wrap round to free memory.
func TestAMeasurementBeyondAllMemory(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 8 * messages.GiB})
	m.Happen(&messages.VramReserved{Lease: "l1", Holder: "client/me", Bytes: messages.GiB})
	m.Happen(&messages.VramReserved{Lease: "l2", Holder: "client/me", Bytes: messages.GiB})
	if _, err := m.Do(&messages.SettleVram{Lease: "l1", Holder: "client/me", Epoch: 2, MeasuredBytes: math.MaxUint64}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Do(&messages.ReserveVram{Lease: "l3", Holder: "client/me", Bytes: 1, TtlSeconds: 30}); messages.CodeOf(err) != messages.GPUUnavailable {
		t.Errorf("%v: %d reserved, %d free", err, m.State.Reserved(), m.State.Free())
	}
}

// An epoch with which no arbiter can have taken over is refused: the ledger would refuse every arbiter after it, for good.
func TestAnAbsurdEpochIsRefused(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 8 * messages.GiB})
	for _, c := range []struct {
		arbiter string
		epoch   uint64
		want    messages.Code
	}{{"pc2", math.MaxUint64, messages.InvalidArgument}, {"", math.MaxUint64, messages.InvalidArgument}, {"pc2", 1 << 40, messages.InvalidArgument}, {"pc2", 500, 0}, {"pc2", 499, messages.FailedPrecondition}} {
		lease := fmt.Sprintf("%s %d", c.arbiter, c.epoch)
		if _, err := m.Do(&messages.ReserveVram{Lease: lease, Holder: "client/me", Bytes: 1, TtlSeconds: 30, Arbiter: c.arbiter, ArbiterEpoch: c.epoch}); messages.CodeOf(err) != c.want {
			t.Errorf("epoch %s: %v", lease, err)
		}
	}
	if m.State.Obeyed != 500 {
		t.Errorf("it has obeyed %d", m.State.Obeyed)
	}
}
