package arbiter

import (
	"testing"

	"modelops/messages"
)

// A placement on a host that can't be reached ends when that host is back, which can take for ever: meanwhile the name is placed on another one.
func TestAPlacementOnAHostThatIsCutOffKeepsNoNameWaiting(t *testing.T) {
	m := arbiterWith(0)
	device := func(host string, reserved uint64) *messages.GpuView {
		return &messages.GpuView{Id: "gpu/" + host + "/g0", Host: host, Kind: "cuda", LimitBytes: 24, ReservedBytes: reserved}
	}
	claim := &messages.RequestPlacement{Holder: "model/*/m", Preemptible: true, Claim: &messages.Claim{Id: messages.ByName, Needs: []*messages.Need{{Host: "a", Bytes: 10}, {Host: "b", Bytes: 10}}}}
	there := decide(t, m, seen([]*messages.GpuView{device("a", 20), device("b", 0)}), claim).Placement
	if there.GetHost() != "b" {
		t.Fatalf("it is placed at %q", there.GetHost())
	}
	room := seen([]*messages.GpuView{device("a", 0), device("b", 0)})
	if again := decide(t, m, room, claim).Placement; again.GetId() != there.Id {
		t.Errorf("it is placed anew while b can be reached: %v", again)
	}
	room.Hosts = []*messages.HostReading{{Host: "b", Unreachable: true, Refusal: "it can't be reached"}}
	here := decide(t, m, room, claim).Placement
	if here.GetHost() != "a" {
		t.Errorf("it waits for b: %v", here)
	}
	if again := decide(t, m, room, claim).Placement; again.GetId() != here.GetId() {
		t.Errorf("it is placed a third time: %v", again)
	}
}
