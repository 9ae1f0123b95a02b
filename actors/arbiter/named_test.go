package arbiter

import (
	"fmt"
	"strings"
	"testing"

	"modelops/messages"
)

// A holder goes to the devices that its declaration names and to no other, however empty that is.
func TestNamedDevices(t *testing.T) {
	device := func(name, kind, uuid string, free uint64) *messages.GpuView {
		return &messages.GpuView{Id: "gpu/h/" + name, Host: "h", Device: name, Kind: kind, Uuid: uuid, CapacityBytes: 100, LimitBytes: 100, ReservedBytes: 100 - free, FreeBytes: free}
	}
	ledgers := []*messages.GpuView{device("cpu", "cpu", "", 100), device("gpu0", "cuda", "GPU-aaaa", 100), device("gpu1", "cuda", "GPU-bbbb", 50),
		device("gpu2-mig0", "cuda", "MIG-cccc", 100), device("amd0", "rocm", "", 100), device("amd1", "rocm", "GPU-dddd", 20)}
	every := []string{"cuda", "rocm", "cpu"}
	for _, c := range []struct {
		kinds, names string
		want         string
	}{
		{"", "", "gpu/h/gpu0 gpu/h/gpu1 gpu/h/gpu2-mig0"},
		{"", "gpu1", "gpu/h/gpu1"},
		{"", "GPU-BBBB", "gpu/h/gpu1"},
		{"", "gpu2", "gpu/h/gpu2-mig0"},
		{"", "MIG-cccc", "gpu/h/gpu2-mig0"},
		{"", "amd1", "gpu/h/amd1"},
		{"", "1", "gpu/h/gpu1"},
		{"rocm", "1", "gpu/h/amd1"},
		{"cuda", "gpu7", ""},
		{"cpu", "", "gpu/h/cpu"},
	} {
		kinds, names := every, []string(nil)
		if c.kinds != "" {
			kinds = []string{c.kinds}
		}
		if c.names != "" {
			names = []string{c.names}
		}
		q := questionOf(State{}, &messages.RequestPlacement{Holder: "model/h/m", Claim: &messages.Claim{Needs: []*messages.Need{{Host: "h", Bytes: 10, Kinds: kinds, Devices: names}}}},
			&messages.SchedulerReadings{Ledgers: ledgers}, 0)
		var got []string
		for _, l := range q.ledgers {
			got = append(got, l.Id)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %v, want %s", c.kinds, c.names, got, c.want)
		}
		if c.want == "" {
			if err := never(q, nil); !strings.Contains(fmt.Sprint(err), "names the devices gpu7, and none of them is here") || err.Retry > 0 {
				t.Error(err)
			}
		}
	}
}
