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

// making is a world in which a is loaded on the first host, and b needs its memory there. kept GiB of the other host are taken for good.
func making(t *testing.T, kept uint64) stage {
	t.Helper()
	o := twoHosts(plain("kept", kept), plain("a", 5), plain("b", 9))
	o.Devices[0], o.KeepWarm, o.Models[0].Pinned = 10*messages.GiB, 10*time.Minute, true
	s := onStage(t, o)
	for _, name := range []string{"kept", "a"} {
		if r := s.ended(s.call(name, time.Millisecond), time.Minute); r.code != 0 {
			t.Fatalf("%s answers %s", name, r.code)
		}
	}
	if s.on(1, "kept").Phase != model.Ready || s.on(0, "a").Phase != model.Ready {
		t.Fatalf("kept is %s on the second host, a %s on the first", s.on(1, "kept").Phase, s.on(0, "a").Phase)
	}
	s.lasts(2 * time.Second)
	return s
}

// A model that has to leave its host is loaded on the other one, which has room. It never has two workers, and its next request finds it loaded.
func TestAModelThatMakesRoomMoves(t *testing.T) {
	s := making(t, 15)
	r := s.call("b", time.Millisecond)
	s.until("a is ready on the second host, and b on the first", time.Minute, func() bool {
		a := 0
		for _, k := range s.workers {
			if s.models[k.model].id.Name() == "a" {
				a++
			}
		}
		if a > 1 {
			t.Fatalf("a has %d workers", a)
		}
		return r.ended && s.on(1, "a").Phase == model.Ready && s.on(0, "b").Phase == model.Ready
	})
	if again := s.ended(s.call("a", time.Millisecond), time.Second); r.code != 0 || again.code != 0 || s.tally.loads != 4 || s.tally.moves != 1 || s.tally.evictions != 1 {
		t.Errorf("%s, %s; %d loads, %d moves, %d evictions", r.code, again.code, s.tally.loads, s.tally.moves, s.tally.evictions)
	}
	s.rests()
}

// Without room for it on the other host it is evicted, as on a host alone.
func TestAModelWithoutRoomElsewhereIsEvicted(t *testing.T) {
	s := making(t, 20)
	if r := s.ended(s.call("b", time.Millisecond), time.Minute); r.code != 0 {
		t.Fatalf("b answers %s", r.code)
	}
	s.lasts(time.Minute)
	if s.on(1, "a").Attempt != 0 || s.tally.moves != 0 || s.tally.loads != 3 {
		t.Errorf("a is in attempt %d on the second host; %d moves, %d loads", s.on(1, "a").Attempt, s.tally.moves, s.tally.loads)
	}
	s.rests()
}

// A request for a model that looks for free memory on another host has it wanted there as any other: it is loaded, and others may have to leave.
func TestARequestTurnsAMoveIntoALoad(t *testing.T) {
	s := onStage(t, twoHosts(plain("a", 5), plain("b", 20)))
	if r := s.ended(s.call("b", time.Millisecond), time.Minute); r.code != 0 || s.on(1, "b").Phase != model.Ready {
		t.Fatalf("b answers %s and is %s", r.code, s.on(1, "b").Phase)
	}
	s.lasts(time.Second)
	a := s.models[s.byID[messages.ModelActor(hostName(1), "a")]]
	if _, err := a.ask(&messages.EnsureModel{Reason: "it moves", OnDemand: true, FreeOnly: true}); err != nil {
		t.Fatal(err)
	}
	if r := s.ended(s.call("a", time.Millisecond), time.Minute); r.code != 0 {
		t.Errorf("a answers %s", r.code)
	}
	s.rests()
}
