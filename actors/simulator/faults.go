package simulator

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Faults are the chances, from 0 to 1, that things go wrong: each time one could. The zero value is a good world.
type Faults struct {
	// Every is the mean time between mishaps of the world: deaths, hangs, foreign memory, lost devices, orders of people. 0 = none.
	Every time.Duration
	// Crash is the coordinator's chance to die at any single step; ActorCrash an actor's, on either side of an append.
	Crash, ActorCrash                         float64
	LostAsk, LateAsk, LostAnswer              float64
	LateReport, DoubleReport                  float64
	StartFails, LoadDies, LoadHangs, SlowStop float64
	SlowDriver                                float64
	// ClockJumps lets the wall clock be set an hour on or back among the mishaps.
	ClockJumps bool
}

// Rough is a world in which every fault happens often.
func Rough() Faults {
	return Faults{Every: 3 * time.Second, Crash: 0.0005, ActorCrash: 0.002, LostAsk: 0.01, LateAsk: 0.02, LostAnswer: 0.02, LateReport: 0.2,
		DoubleReport: 0.05, StartFails: 0.05, LoadDies: 0.05, LoadHangs: 0.02, SlowStop: 0.1, SlowDriver: 0.3, ClockJumps: true}
}

// mishap tells whether something goes wrong now. Nothing does in a calm world. A chance of 0 draws no random number.
func (w *World) mishap(chance float64) bool {
	return chance > 0 && !w.calm && w.rng.Float64() < chance
}

func (w *World) mayCrash() {
	if w.mishap(w.o.Faults.Crash) {
		panic(crash{})
	}
}

// latency is what a step takes when nothing is wrong; long is what may come in between.
func (w *World) latency() time.Duration {
	return time.Duration(w.rng.Int64N(int64(4 * time.Millisecond)))
}
func (w *World) long() time.Duration { return time.Duration(w.rng.Int64N(int64(longest))) }

// longest is the most that a report, or a command whose sender has left, is late.
const longest = 2 * time.Second

func (w *World) mishaps() {
	if w.calm {
		return
	}
	w.after(time.Duration(w.rng.ExpFloat64()*float64(w.o.Faults.Every)), w.mishaps)
	kinds := 10
	if w.replicated() {
		kinds++
	}
	if w.o.Jobs.Rate > 0 {
		w.jobOrders()
	}
	switch w.rng.IntN(kinds) {
	case 10:
		w.degradeOne()
	case 0:
		w.killOne()
	case 1:
		w.hangOne()
	case 2, 3:
		w.foreignUseMoves()
	case 4:
		w.loseDevice()
	case 5:
		w.setClock()
	case 6:
		w.grow()
	default:
		w.order()
	}
}

func (w *World) anyWorker() *worker {
	if len(w.workers) == 0 {
		return nil
	}
	return w.workers[w.rng.IntN(len(w.workers))]
}

func (w *World) killOne() {
	if k := w.anyWorker(); k != nil {
		w.die(k, "it crashed")
	}
}

func (w *World) hangOne() {
	if k := w.anyWorker(); k != nil && w.rng.IntN(4) == 0 {
		w.say("worker %d hangs", k.pid)
		k.hung = true
	}
}

// foreignUseMoves lets other programs take up to half of a device, or give it back.
func (w *World) foreignUseMoves() {
	d := w.devices[w.rng.IntN(len(w.devices))]
	d.foreign = 0
	if w.rng.IntN(2) == 0 {
		d.foreign = w.rng.Uint64N(d.capacity / 2)
	}
	w.say("other programs hold %s of %s", messages.FormatBytes(d.foreign), d.id)
}

// loseDevice takes a device away with all that runs there, for a while.
func (w *World) loseDevice() {
	i := w.rng.IntN(len(w.devices))
	d := w.devices[i]
	if d.lost {
		return
	}
	w.say("%s is lost", d.id)
	d.lost = true
	for _, k := range append([]*worker(nil), w.workers...) {
		if _, on := k.on(i); on {
			w.die(k, "its device is lost")
		}
	}
	for _, r := range w.runs {
		if slices.ContainsFunc(r.parts, func(p part) bool { return p.device == i }) {
			w.endRun(r, &messages.JobOutcome{End: messages.JobOutcome_lost, Reason: "its device is lost"})
		}
	}
	w.after(time.Duration(w.rng.Int64N(int64(20*time.Second))), func() { d.lost = false })
}

func (w *World) setClock() {
	if !w.o.Faults.ClockJumps || w.rng.IntN(4) > 0 {
		return
	}
	w.skew = time.Duration(w.rng.IntN(3)-1) * time.Hour
	w.say("the wall clock is set %s off", w.skew)
}

// grow lets a worker take memory after its load.
func (w *World) grow() {
	if k := w.anyWorker(); k != nil && k.ready {
		for i := range k.parts {
			k.parts[i].bytes += k.parts[i].bytes / 20
		}
	}
}

// order is a person's or a program's: load, unload, pin for a while, declare another revision, lease.
func (w *World) order() {
	if w.down {
		return
	}
	i := w.rng.IntN(len(w.models))
	id := w.models[i].id
	var c proto.Message
	switch w.rng.IntN(13) {
	case 0:
		w.frontOf(i).want()
		return
	case 1:
		c = &messages.UnloadModel{Reason: "a person doesn't want it"}
	case 2:
		c = &messages.UnloadModel{Reason: "a person is in a hurry", Force: true}
	case 3:
		c = &messages.PinModel{Owner: "a person", TtlSeconds: uint32(1 + w.rng.IntN(20))}
	case 4:
		c = &messages.PinModel{}
	case 5:
		id = messages.ModelActor(id.Host(), messages.BaseOf(id.Name()))
		c = &messages.DeclareModel{Spec: w.spec(w.modelOf[i], "r"+string(rune('1'+w.rng.IntN(4))))}
	case 6:
		w.programReserves()
		return
	case 7:
		c = &messages.SleepModel{Reason: "a person wants its memory"}
	case 8:
		c = &messages.HintPlacement{Holder: id.String(), Needs: []*messages.Need{{Bytes: w.declared(i).Estimate, Kinds: []string{"cuda"}, Shards: uint32(w.declared(i).Shards)}}, WithinSeconds: uint32(w.rng.IntN(30)), Owner: "a person"}
		id = w.arbiter.id
	case 9:
		c = &messages.PlanDefrag{Apply: true}
		id = w.arbiter.id
	case 10:
		w.programClaims()
		return
	case 11:
		w.strangerReleases()
		return
	case 12:
		w.fencedGoesOn()
		return
	}
	door{w}.Tell(&try{}, id, c)
}

// settleDown ends what goes wrong: devices are back, foreign memory is free, hung workers are killed, degraded ones are cured.
func (w *World) settleDown() {
	w.calm, w.touched = true, true
	w.say("calm")
	for _, d := range w.devices {
		d.foreign, d.lost = 0, false
	}
	w.resumeAll()
	for _, k := range append([]*worker(nil), w.workers...) {
		k.condition = well
		if k.hung && k.ready {
			w.die(k, "a person killed it")
		}
	}
}
