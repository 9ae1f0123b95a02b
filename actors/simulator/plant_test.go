package simulator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gpu"
	"modelops/actors/model"
	"modelops/messages"
)

// Each plant is a bug that a kind could have. A simulator that doesn't find them proves nothing by finding none.

// findWithin is how many steps each plant may stay hidden.
const findWithin = 150_000

func TestPlantedBugsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		plants Plants
		says   string // what is found; two ways in which it shows are parted by |
	}{
		"a ledger forgets foreign memory": {Plants{GPU: ledgerSeeing(func(s gpu.State) gpu.State { s.Foreign = 0; return s })}, "granted memory over its limit"},
		"a ledger grants its margin":      {Plants{GPU: ledgerSeeing(func(s gpu.State) gpu.State { s.Margin = 0; return s })}, "granted memory over its limit"},
		"a model forgets leases that it gives back": {Plants{Model: modelEvolving(func(s model.State) model.State {
			s.Returning = nil
			return s
		})}, "is lost"},
		"a model returns one share of a split placement": {Plants{Model: modelEvolving(func(s model.State) model.State {
			for i, p := range s.Returning {
				s.Returning[i] = unsplit(p)
			}
			return s
		})}, "is lost"},
		"the arbiter promises the first device of a split placement only": {Plants{Arbiter: promising(unsplit)}, "over its limit"},
		"an abandoned placement releases one share only":                  {Plants{Arbiter: abandoningOne}, "is lost"},
		"a model doesn't return leases after a failed load": {Plants{Model: modelOwing(func(s model.State, key string) bool {
			return strings.HasPrefix(key, "return/") && s.Failures > 0
		})}, "not at rest"},
		"a model releases before its worker is gone": {Plants{Model: impatient}, "alive without its lease"},
		"the arbiter forgets what it promised": {Plants{Arbiter: promising(func(p *messages.Placement) *messages.Placement {
			p = proto.CloneOf(p)
			p.Shares = nil
			return p
		})}, "over its limit"},
		"the arbiter sees no busy model":                     {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Active, r.Queued, r.IdleMs = 0, 0, 1000 })}, "although it is busy"},
		"the arbiter sees no warm model":                     {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.IdleMs += 1000 })}, "although it is busy"},
		"the arbiter sees no pins":                           {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Pinned = false })}, "although it is pinned"},
		"the arbiter sees no loading model":                  {Plants{Arbiter: arbiterSeeing(notLoading)}, "models load, at most"},
		"the arbiter sees no young model":                    {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Young = false })}, "inside its minimum residency"},
		"the arbiter doesn't hand over again":                {Plants{Arbiter: once("hand_over/")}, "not at rest"},
		"the arbiter places on another host's device":        {Plants{Arbiter: straying}, "another host's device"},
		"a ledger lets a stranger release a lease":           {Plants{GPU: unfenced(func(string) bool { return true })}, "change lease"},
		"a ledger lets a fenced holder go on":                {Plants{GPU: unfenced(func(holder string) bool { return holder != stranger })}, "change lease"},
		"a ledger forgets that a lease was renewed":          {Plants{GPU: ledgerForgetting}, "ends although its holder was told"},
		"a ledger lets no lease expire":                      {Plants{GPU: ledgerKeeping}, "has time to live"},
		"the arbiter lets a late program take over":          {Plants{Arbiter: trusting}, "is told that it holds lease"},
		"a fold that counts more than the journal":           {Plants{Model: remembering()}, "replay differs from life"},
		"a removed replica doesn't hear of it":               {Plants{Model: deaf}, "doesn't know it|was never ready since"},
		"a replacement is never taken down":                  {Plants{Model: modelOwing(func(_ model.State, key string) bool { return strings.HasPrefix(key, "remove_replica/") })}, "not at rest"},
		"an old worker goes before its replacement is ready": {Plants{Model: rash}, "was never ready since"},
		"the gateway seeks a place only once":                {Plants{Intent: seeksOnce}, "not at rest"},
		"a free place of the host goes to none that waits":   {Plants{Host: keepsPlace}, "BULKHEAD_REJECTION"},
		"a place in the host's queue is not given back":      {Plants{Host: keepsQueueing}, "BULKHEAD_REJECTION"},
		"the gateway wakes no sleeping worker":               {Plants{Intent: wakesNone}, "not at rest"},
		"S30 machines see the wall clock jump":               {Plants{WallClock: true}, "not at rest"},
	} {
		t.Run(name, func(t *testing.T) {
			v := find(t, worldOf(name, c.plants), c.plants)
			if v == nil {
				t.Fatalf("not found in %d steps", findWithin)
			}
			if !slices.ContainsFunc(strings.Split(c.says, "|"), func(says string) bool { return strings.Contains(v.What, says) }) {
				t.Errorf("found something else: %v", v)
			}
			t.Logf("seed %d, step %d: %s", v.Seed, v.Step, v.What)
		})
	}
}

// worldOf is the world in which a plant shows.
func worldOf(name string, plants Plants) func(uint64) Options {
	switch {
	case strings.Contains(name, "young"):
		return nursery
	case strings.Contains(name, "sleeping"):
		return drowsy
	case plants.Host != nil:
		return shared
	case strings.Contains(name, "abandoned"):
		return splitting
	case strings.Contains(name, "fenced"), strings.Contains(name, "renewed"), strings.Contains(name, "late program"):
		return restless
	case strings.Contains(name, "another host"):
		return paired
	case strings.Contains(name, "S30"):
		return hasty
	case strings.Contains(name, "replica"), strings.Contains(name, "replacement"):
		return replicated
	}
	return small
}

func find(t *testing.T, world func(uint64) Options, r Plants) *Violation {
	taken := 0
	for seed := uint64(1); taken < findWithin; seed++ {
		o := world(seed)
		o.Plants = r
		w := New(o)
		err := w.Run(t.Context(), 2000)
		if err == nil {
			err = w.Calm(t.Context())
		}
		if v, ok := err.(*Violation); ok {
			return v
		}
		taken += w.steps
	}
	return nil
}

// hasty is the small world without collation, in which the wall clock is set more often.
func hasty(seed uint64) Options {
	o := small(seed)
	o.Collation, o.Faults.Every = 0, 500*time.Millisecond
	return o
}

// restless is the small world in which people and programs do something all the time.
func restless(seed uint64) Options {
	o := small(seed)
	o.Rate, o.Faults.Every = 0.2, 100*time.Millisecond
	return o
}

// splitting is the small world in which most models are split over both devices.
func splitting(seed uint64) Options {
	o := small(seed)
	for i := range o.Models[1:] {
		o.Models[1+i].Shards = 2
	}
	o.Rate, o.Faults.Every, o.Faults.ClockJumps = 0.5, time.Second, false // placements of models that come to nothing pause, and so do devices that come and go
	return o
}

// nursery is a world where the cheapest to evict is often young, and an old one would do.
func nursery(seed uint64) Options {
	o := oneCard(plain("a", 4), plain("b", 8), plain("c", 14))
	o.Seed, o.Rate = seed, 0.3
	o.Models[0].MinResidency, o.Models[0].Load = 20*time.Second, 100*time.Millisecond
	return o
}

func TestAViolationTellsSeedStepAndLastSteps(t *testing.T) {
	v := find(t, small, Plants{GPU: ledgerSeeing(func(s gpu.State) gpu.State { s.Margin = 0; return s })})
	if v == nil || len(v.Trace) == 0 || v.Step == 0 || v.At == 0 {
		t.Fatalf("%+v", v)
	}
	again := small(v.Seed)
	again.Plants = Plants{GPU: ledgerSeeing(func(s gpu.State) gpu.State { s.Margin = 0; return s })}
	w := New(again)
	err := w.Run(t.Context(), 2000)
	if err == nil {
		err = w.Calm(t.Context())
	}
	if err == nil || err.Error() != v.Error() {
		t.Errorf("the seed shows something else:\n%v\n%v", err, v)
	}
}
