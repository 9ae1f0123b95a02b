package control

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Want of memory is an answer with a time to come back; every other refusal is an error, and ends the search.
func TestAcquireLease(t *testing.T) {
	full := messages.NewError(messages.GPUUnavailable, "gpu/h/gpu0", "full")
	lost := messages.NewError(messages.JournalFull, "journal", "full")
	reserve := func(devices ...string) (out []string) {
		for _, d := range devices {
			out = append(out, "gpu/h/"+d+" ReserveVram")
		}
		return out
	}
	for name, c := range map[string]struct {
		refuse  map[string]error
		asked   []string
		granted string
		code    messages.Code
	}{
		"the first has room":  {nil, reserve("gpu0"), "gpu0_1", 0},
		"the second has room": {map[string]error{"gpu0": full}, reserve("gpu0", "gpu1"), "gpu1_2", 0},
		"none has room":       {map[string]error{"gpu0": full, "gpu1": full}, reserve("gpu0", "gpu1"), "", 0},
		"the ledger fails":    {map[string]error{"gpu0": lost}, reserve("gpu0"), "", messages.JournalFull},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			h.device("gpu1")
			h.device("gpu0")
			h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
				if r := m.(*messages.ReserveVram); r.Bytes != 3*messages.MiB || r.Holder != "client/python" || r.TtlSeconds != 60 {
					t.Errorf("reserved %v", r)
				}
				return messages.Reply{}, c.refuse[to.Name()]
			}
			r, err := h.AcquireLease(t.Context(), &messages.GpuLeaseRequest{Client: "python", VramEstimateMb: 3, TtlSeconds: 60})
			if messages.CodeOf(err) != c.code || !slices.Equal(h.asked, c.asked) {
				t.Fatalf("%v, asked %q", err, h.asked)
			}
			refused := err == nil && c.granted == "" && (r.Granted || r.Reason != "Insufficient VRAM" || r.RetryAfterMs != 250)
			if refused || c.granted != "" && (!r.Granted || r.LeaseId != c.granted || r.VramReservedMb != 3) {
				t.Errorf("%v", r)
			}
		})
	}
}

// Who says nothing is "unknown" and has 30 seconds; a negative amount is none; a host without devices has no memory.
func TestLeaseDefaults(t *testing.T) {
	h := open()
	if r, err := h.AcquireLease(t.Context(), &messages.GpuLeaseRequest{}); err != nil || r.Granted || h.asked != nil {
		t.Errorf("%v, %v", r, err)
	}
	h.device("cpu")
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		if r := m.(*messages.ReserveVram); r.Bytes != 0 || r.Holder != "client/unknown" || r.TtlSeconds != 30 {
			t.Errorf("reserved %v", r)
		}
		return messages.Reply{}, nil
	}
	if r, err := h.AcquireLease(t.Context(), &messages.GpuLeaseRequest{VramEstimateMb: -4, TtlSeconds: -1}); err != nil || !r.Granted || r.VramReservedMb != 0 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestReleaseLease(t *testing.T) {
	refused := messages.NewError(messages.JournalFull, "journal", "full")
	for lease, c := range map[string]struct {
		refuse error
		asked  []string
		code   messages.Code
	}{
		"gpu1_7": {nil, []string{"gpu/h/gpu1 ReleaseVram"}, 0},
		"gpu9_7": {}, "what": {}, "": {},
		"gpu0_7": {refused, []string{"gpu/h/gpu0 ReleaseVram"}, messages.JournalFull},
	} {
		t.Run(fmt.Sprintf("%q", lease), func(t *testing.T) {
			h := open()
			h.device("gpu0")
			h.device("gpu1")
			h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { return messages.Reply{}, c.refuse }
			ack, err := h.ReleaseLease(t.Context(), &messages.GpuLeaseRelease{LeaseId: lease})
			if messages.CodeOf(err) != c.code || err == nil && !ack.Success || !slices.Equal(h.asked, c.asked) {
				t.Errorf("%v, %v, asked %q", ack, err, h.asked)
			}
		})
	}
}
