package simulator

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/gateway/pool"
	"modelops/actors/gpu"
	"modelops/actors/job"
	"modelops/actors/model"
	"modelops/messages"
)

// hostName is the n-th host: sim, sim2, ...
func hostName(n int) string {
	if n == 0 {
		return "sim"
	}
	return fmt.Sprintf("sim%d", n+1)
}

// World is the hosts of one coordinator in virtual time. It is used by one goroutine.
type World struct {
	*universe
	o     Options
	first int           // the number of its first host
	skew  time.Duration // how far the wall clock was set off
	far   *far          // how it works with other hosts; nil = it is alone
	// touched is set when something happens in this coordinator, or in another one's arbiter: then it is checked after the step. looks counts the checks.
	touched bool
	looks   int
	// started is what the coordinator's clock showed when it started, at startedAt.
	started   time.Time
	startedAt time.Duration

	boot     int
	down     bool
	sequence uint64
	nodes    map[messages.ActorID]anyNode
	arbiter  *node[arbiter.State]
	ledgers  []*node[gpu.State]
	models   []*node[model.State] // those of Options.Models on each host, host by host, then replicas as they come into being
	modelOf  []int                // index of the model that an actor belongs to
	mail     []letter

	devices  []*device
	samplers []*gpu.Sampler     // of the hosts
	workers  []*worker          // alive, by birth
	exited   map[string]*worker // dead ones by nonce, for an hour
	amounts  map[string]uint64  // what leases were last measured or resized to
	fronts   []*front           // of Options.Models
	bound    pool.Shared[*front]
	tickets  uint64
	byID     map[messages.ActorID]int   // index in models
	readied  map[messages.ActorID]int64 // when a model's worker last became ready, in ms
	degraded map[messages.ActorID]int64 // when a model last found a worker degraded, in ms
	granted  map[grantKey]grant         // what each lease was last granted to
	former   []former
	moved    map[string]time.Duration   // when models last moved to another host, by name and by start and term of the arbiter
	due      map[grantKey]time.Duration // when each lease's first time to live is over, for those that have one
	believed map[grantKey]belief

	modelKind entity.Kind[model.State]

	jobKind   entity.Kind[job.State]
	jobs      []*node[job.State] // in the order in which they were submitted
	jobAt     map[messages.ActorID]int
	runs      []*training
	cancelled map[messages.ActorID]bool   // whose cancel was acknowledged before they ended
	ends      map[messages.ActorID]string // how jobs ended
	blocked   map[string]time.Duration    // since when requests for a model wait too long for a job that isn't asked to leave

	views    []*messages.ModelView
	accounts []*messages.GpuView
	// lenient lets leases and holders differ: a scenario made a difference that is to be repaired.
	lenient bool
	tally   tally
}

// New makes a world in which the coordinator has just started.
func New(o Options) *World {
	w := newWorld(newUniverse(o.Seed), o, 0)
	w.open()
	return w
}

// newWorld makes the hosts of one coordinator, which is down.
func newWorld(u *universe, o Options, first int) *World {
	o.MaxLoads, o.Hosts = cmp.Or(o.MaxLoads, 2), cmp.Or(o.Hosts, 1)
	o.MaxWait, o.DrainTimeout = cmp.Or(o.MaxWait, 5*time.Second), cmp.Or(o.DrainTimeout, 10*time.Second)
	w := &World{universe: u, o: o, first: first, nodes: map[messages.ActorID]anyNode{}, byID: map[messages.ActorID]int{},
		exited: map[string]*worker{}, amounts: map[string]uint64{}, readied: map[messages.ActorID]int64{}, degraded: map[messages.ActorID]int64{},
		granted: map[grantKey]grant{}, moved: map[string]time.Duration{}, due: map[grantKey]time.Duration{}, believed: map[grantKey]belief{}, down: true,
		jobAt: map[messages.ActorID]int{}, cancelled: map[messages.ActorID]bool{}, ends: map[messages.ActorID]string{}, blocked: map[string]time.Duration{}}
	u.worlds = append(u.worlds, w)
	return w
}

// open starts the coordinator, and what happens around it.
func (w *World) open() {
	w.bound = w.newBound()
	for range w.o.Models {
		w.fronts = append(w.fronts, newFront(w))
	}
	w.makeDevices()
	w.makeArbiter()
	w.makeModels()
	w.makeJobs()
	w.guarded(w.wake)
	if w.o.Rate > 0 {
		w.after(0, w.arrivals)
	}
	if w.o.Faults.Every > 0 {
		w.after(w.o.Faults.Every, w.mishaps)
	}
}

// host is the n-th host of this coordinator. The first is that of the gateway.
func (w *World) host(n int) string { return hostName(w.first + n) }

func (w *World) makeDevices() {
	kind := gpu.Kind(door{w}, w.now)
	if w.o.Plants.GPU != nil {
		kind = w.o.Plants.GPU(kind)
	}
	for i, capacity := range w.o.Devices {
		id := messages.GPUActor(w.host(i%w.o.Hosts), fmt.Sprintf("gpu%d", i))
		m := newNode(w, kind, id)
		m.changed = func([]proto.Message) {
			w.accounts[i] = gpu.View(m.state).(*messages.GpuView)
			w.viewed()
		}
		w.devices = append(w.devices, &device{id: id, capacity: capacity})
		w.ledgers, w.accounts = append(w.ledgers, m), append(w.accounts, gpu.View(m.state).(*messages.GpuView))
		w.nodes[id] = m
	}
	for h := range w.o.Hosts {
		w.samplers = append(w.samplers, w.newSampler(w.host(h)))
	}
}

func (w *World) makeArbiter() {
	kind := arbiter.Kind(arbiter.Rules{Policy: w.o.Policy, MaxLoads: w.o.MaxLoads, MaxWait: w.o.MaxWait, Collation: w.o.Collation, Defrag: w.o.Defrag, KeepWarm: w.o.KeepWarm, ThresholdPct: thresholdPct, Learning: w.o.Learning}, w.readings(), door{w})
	if w.o.Plants.Arbiter != nil {
		kind = w.o.Plants.Arbiter(kind)
	}
	w.arbiter = newNode(w, kind, messages.ArbiterActor())
	w.arbiter.changed = func([]proto.Message) {
		for _, other := range w.worlds { // an open placement accounts for leases on any host
			other.touched = true
		}
	}
	w.nodes[w.arbiter.id] = w.arbiter
}

func (w *World) makeModels() {
	rules := model.Rules{Retry: model.Retry{Limit: 4},
		CanSleep: func(spec *messages.ModelSpec) bool { return w.modelNamed(spec.Name).Sleep > 0 }}
	w.modelKind = model.Kind(rules, model.World{Runtime: runtime{w}, Gate: gate{w}, Door: door{w}, Free: w.seenFree, Held: w.held, OutOfMemory: outOfMemory})
	if w.o.Plants.Model != nil {
		w.modelKind = w.o.Plants.Model(w.modelKind)
	}
	for h := range w.o.Hosts {
		for i, declared := range w.o.Models {
			w.join(messages.ModelActor(w.host(h), declared.Name), i)
		}
	}
}

// now is the coordinator's clock. It is set by the wall clock at each start, never before what the journal holds, and runs steadily from
// then on: when the wall clock is set back an hour, no request may wait for that hour.
func (w *World) now() time.Time {
	if w.o.Plants.WallClock {
		return w.wall()
	}
	return w.started.Add(w.elapsed - w.startedAt)
}

// steady is the clock of what only measures spans: it runs on, whatever the wall clock does and the process goes through.
func (w *World) steady() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(w.elapsed)
}

func (w *World) wall() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(w.elapsed + w.skew)
}

// setOut sets the coordinator's clock at a start.
func (w *World) setOut() {
	last := w.now()
	w.started, w.startedAt = w.wall(), w.elapsed
	if w.boot > 0 && last.After(w.started) {
		w.started = last
	}
}

// poke wakes all work that waits for something.
func (w *World) poke(key string) {
	w.arbiter.poke(key)
	for _, l := range w.ledgers {
		l.poke(key)
	}
	for _, m := range w.models {
		m.poke(key)
	}
	for _, m := range w.jobs {
		m.poke(key)
	}
}

// crash is the coordinator's end in mid-step.
type crash struct{}

func (w *World) guarded(do func()) {
	w.touched = true
	defer func() {
		switch r := recover().(type) {
		case nil:
		case crash:
			w.fall()
		default:
			w.violated("panic: %v", r)
			if w.o.Plants.none() {
				panic(fmt.Sprintf("%v\n%v", r, w.broken))
			}
		}
	}()
	do()
}

// fall is what a kill -9 leaves: workers, devices, the journal.
func (w *World) fall() {
	w.boot++
	w.down = true
	w.mail = nil
	for _, c := range w.nodes {
		c.halt()
	}
	w.bound = w.newBound()
	for _, f := range w.fronts {
		f.lost()
	}
	w.say("the coordinator is gone")
	if w.far != nil {
		w.far.table = nil
		w.far.net.unsettled()
	}
	w.after(time.Duration(w.rng.Int64N(int64(5*time.Second))), w.wake)
}

// wake reads the journal, registers the devices and declares the models, in the daemon's order.
func (w *World) wake() {
	if !w.down {
		return
	}
	w.down = false
	w.setOut()
	w.say("the coordinator starts")
	for i, d := range w.devices {
		w.ledgers[i].rebuild()
		insist(w.ledgers[i], &messages.RegisterDevice{Kind: "cuda", Name: "simulated", CapacityBytes: d.capacity, MarginBytes: margin})
	}
	w.arbiter.rebuild()
	for _, m := range w.models {
		m.rebuild()
	}
	for _, m := range w.jobs {
		m.rebuild()
	}
	for i, m := range w.declaredActors() {
		if m.state.Spec == nil {
			insist(m, &messages.DeclareModel{Spec: w.spec(w.modelOf[i], "r1")})
		}
	}
	if w.calm {
		w.resumeAll()
	}
	w.alive(bootLongest, w.poll) // a daemon samples when its actors have found their workers
	w.alive(0, w.sweep)
	if w.far != nil {
		w.far.start()
		w.far.net.unsettled()
	}
}

// viewed notes that a view has changed, so that other hosts are told.
func (w *World) viewed() {
	if w.far != nil {
		w.far.changed = true
	}
}

// say notes a step. args must not change afterwards.
func (w *World) say(format string, args ...any) {
	if w.far != nil {
		format, args = "%s| "+format, append([]any{w.host(0)}, args...)
	}
	w.universe.say(format, args...)
}

// insist asks until it is done: a daemon that can't declare what it has doesn't start.
func insist(c anyNode, command proto.Message) {
	for range 100 {
		if _, err := c.ask(command); err == nil {
			return
		}
	}
	panic(fmt.Sprintf("%s refuses %s for ever", c.actor(), name(command)))
}

func (w *World) spec(i int, revision string) *messages.ModelSpec {
	m := w.o.Models[i]
	s := &messages.ModelSpec{Name: m.Name, Runtime: "command", Revision: revision, Pinned: m.Pinned, Groups: m.Groups, Shards: uint32(m.Shards),
		ConcurrencyLimit: uint32(m.Places), MinReplicas: uint32(m.MinReplicas), MaxReplicas: uint32(m.MaxReplicas), MinResidencySeconds: uint32(m.MinResidency.Seconds()), Hosts: m.On}
	if m.Idle > 0 {
		s.IdleMs = proto.Int64(m.Idle.Milliseconds())
	}
	if m.Sleep > 0 {
		s.SleepMs = proto.Int64(m.Sleep.Milliseconds())
	}
	return s
}
