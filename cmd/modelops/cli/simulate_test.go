package cli

import (
	"math"
	"testing"

	"modelops/messages"
)

func TestSimulateReadsItsFlags(t *testing.T) {
	good := simulation{seed: 1, steps: 10, hosts: 1, devices: "24000, 24000", models: "4000..20000x12", policy: "lru", rate: 2}
	o, err := good.options()
	if err != nil || len(o.Devices) != 2 || len(o.Models) != 12 || o.Devices[0] != 24000*messages.MiB {
		t.Fatalf("%+v %v", o, err)
	}
	for _, m := range o.Models {
		if m.Truth < 4000*messages.MiB || m.Truth > 20000*messages.MiB {
			t.Errorf("%s takes %d bytes", m.Name, m.Truth)
		}
	}
	for name, spoil := range map[string]func(*simulation){
		"policy":      func(s *simulation) { s.policy = "best" },
		"rate":        func(s *simulation) { s.rate = 0 },
		"no rate":     func(s *simulation) { s.rate = math.NaN() },
		"no host":     func(s *simulation) { s.hosts = 0 },
		"many hosts":  func(s *simulation) { s.hosts = 33 },
		"steps":       func(s *simulation) { s.steps = -1 },
		"devices":     func(s *simulation) { s.devices = "24000,x" },
		"no memory":   func(s *simulation) { s.devices = "0" },
		"models":      func(s *simulation) { s.models = "many" },
		"model order": func(s *simulation) { s.models = "9..8x1" },
	} {
		bad := good
		spoil(&bad)
		if _, err := bad.options(); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
