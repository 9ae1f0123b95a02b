package simulator

import (
	"testing"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// twoHosts is a world whose second host has the larger device.
func twoHosts(models ...Model) Options {
	return Options{Seed: 1, Hosts: 2, Devices: []uint64{8 * messages.GiB, 24 * messages.GiB}, Models: models}
}

func (s stage) on(host int, name string) *model.State {
	return &s.models[s.byID[messages.ModelActor(hostName(host), name)]].state
}

func TestANameIsPlacedOnTheHostThatHasRoom(t *testing.T) {
	s := onStage(t, twoHosts(plain("big", 20), plain("small", 4)))
	if r := s.ended(s.call("big", time.Millisecond), time.Minute); r.code != 0 {
		t.Fatalf("it answers %s", r.code)
	}
	if here, there := s.on(0, "big"), s.on(1, "big"); here.Attempt != 0 || there.Phase != model.Ready || there.Placement.Host != hostName(1) {
		t.Errorf("the first host's actor is %s in attempt %d, the second's %s on %s", here.Phase, here.Attempt, there.Phase, there.Placement.GetHost())
	}
	if r := s.ended(s.call("small", time.Millisecond), time.Minute); r.code != 0 {
		t.Fatalf("the small one answers %s", r.code)
	}
	s.rests()
}

// One name lives on both hosts: the end of one worker takes nothing from the other.
func TestOneNameOnTwoHosts(t *testing.T) {
	s := onStage(t, twoHosts(plain("both", 4)))
	for host := range 2 {
		if _, err := s.models[s.byID[messages.ModelActor(hostName(host), "both")]].ask(&messages.EnsureModel{Reason: "a person wants it there"}); err != nil {
			t.Fatal(err)
		}
	}
	s.until("both are ready", time.Minute, func() bool { return s.on(0, "both").Phase == model.Ready && s.on(1, "both").Phase == model.Ready })
	if s.tally.loads != 2 || s.workers[0].parts[0].device == s.workers[1].parts[0].device {
		t.Fatalf("%d loads, workers %v", s.tally.loads, s.workers)
	}
	if _, err := s.models[s.byID[messages.ModelActor(hostName(1), "both")]].ask(&messages.UnloadModel{Reason: "a person doesn't want it there"}); err != nil {
		t.Fatal(err)
	}
	s.until("the second host's is gone", time.Minute, func() bool { return s.on(1, "both").Phase == model.Absent })
	if r := s.ended(s.call("both", time.Millisecond), time.Second); r.code != 0 || s.tally.loads != 2 {
		t.Errorf("the first host's worker answers %s after %d loads", r.code, s.tally.loads)
	}
	s.rests()
}
