package simulator

import (
	"time"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/gateway/pool"
	"modelops/actors/gpu"
	"modelops/actors/job"
	"modelops/actors/model"
	"modelops/messages"
)

// Options make a world. The same options make the same world.
type Options struct {
	Seed    uint64
	Devices []uint64 // capacities in bytes
	// Hosts is over how many hosts the devices are dealt, one after the other; 0 = 1. One coordinator owns them all. In a Cluster it is the number of hosts,
	// each of which has all the devices and a coordinator of its own.
	Hosts  int
	Models []Model
	Policy string // of the arbiter; empty = its own
	// MaxLoads bounds loads at a time; 0 = 2.
	MaxLoads int
	// MaxWait is after how long busy models must end their turn for a model that waits; 0 = 5 s, as shipped.
	MaxWait time.Duration
	// Collation is how long after its last answer a model counts as busy for others; 0 = not at all.
	Collation time.Duration
	// Defrag is what happens when moves would spare an eviction: propose or auto; empty = nothing.
	Defrag string
	// KeepWarm is within which time an idle model must have answered to move to another host when it has to leave; 0 = none moves.
	KeepWarm time.Duration
	// DrainTimeout bounds how long running requests hold up an unload; 0 = 10 s.
	DrainTimeout time.Duration
	// Rate is how many requests arrive a second of virtual time; 0 = none but those asked for.
	Rate float64
	// ForeignPressure lets idle models leave for what other programs take.
	ForeignPressure bool
	Faults          Faults
	// Links are what goes wrong between the hosts of a Cluster.
	Links  Links
	Plants Plants
	// Jobs are how jobs come, and Learning their rules.
	Jobs     Traffic
	Learning arbiter.Learning
	// Classes is how many priority classes requests have; 0 = 1. HostPlaces and HostQueue bound how many requests of all models run at a time, and
	// wait; 0 = no bound.
	Classes, HostPlaces, HostQueue int
	// Stored is called with each decision of any actor once it is stored; may be nil.
	Stored func(a entity.Append, sequence uint64)
}

// Model is what a world knows about one model.
type Model struct {
	Name     string
	Estimate uint64 // what its file suggests, in bytes
	Truth    uint64 // what its worker really takes at its peak, in bytes
	Load     time.Duration
	Pinned   bool
	Groups   []string
	// Shards is over how many devices it is split; 0 = 1.
	Shards int
	// Places is how many requests run at a time; 0 = 4.
	Places int
	// MinReplicas and MaxReplicas bound how many workers serve it; 0 = 1.
	MinReplicas, MaxReplicas int
	// On are the hosts of a Cluster on which it runs; empty = all, without an order.
	On           []string
	MinResidency time.Duration
	// Idle is after how long without a request it is unloaded; 0 = never.
	Idle time.Duration
	// Sleep is after how long without a request its engine is put to sleep; 0 = never.
	Sleep time.Duration
	// Weight is how often it is asked for, against the others; 0 = 1.
	Weight float64
}

// Plants wraps kinds with a bug, to see that it is found. Nil fields leave a kind as it is.
type Plants struct {
	Arbiter func(entity.Kind[arbiter.State]) entity.Kind[arbiter.State]
	GPU     func(entity.Kind[gpu.State]) entity.Kind[gpu.State]
	Model   func(entity.Kind[model.State]) entity.Kind[model.State]
	Job     func(entity.Kind[job.State]) entity.Kind[job.State]
	// Intent tells whether the gateway does what a pool wants.
	Intent func(pool.Intent) bool
	// Host is what the request pools share.
	Host func(pool.Shared[*front]) pool.Shared[*front]
	// Residents changes what a host sees of the models of all hosts when it looks for those that another one has too.
	Residents func(host string, models []*messages.ModelView) []*messages.ModelView
	// WallClock lets the machines see every jump of the wall clock.
	WallClock bool
}

func (r Plants) none() bool {
	return r.Intent == nil && r.Arbiter == nil && r.GPU == nil && r.Model == nil && r.Job == nil && r.Host == nil && r.Residents == nil && !r.WallClock
}
