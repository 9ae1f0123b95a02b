package control

import (
	"context"
	"time"

	"modelops/actors/host"
	"modelops/messages"
)

// View shows the latest views of the actors.
type View interface {
	Model(id messages.ActorID) *messages.ModelView
	Models() []*messages.ModelView
	ModelsOf(host string) []*messages.ModelView
	Host(id messages.ActorID) *messages.HostView
	Job(id messages.ActorID) *messages.JobView
	// Jobs are those of all hosts, without deleted ones.
	Jobs() []*messages.JobView
	Goal(id messages.ActorID) *messages.GoalView
	// Goals are those of all hosts, without deleted ones.
	Goals() []*messages.GoalView
	Lineage(id messages.ActorID) *messages.LineageView
	// Changed is closed at the next change of any view; it is taken before one looks.
	Changed() <-chan struct{}
	GPUs() []*messages.GpuView
	// ReadGPUs are the devices with their latest readings.
	ReadGPUs() []*messages.GpuView
	// Holds tells whether an actor has memory of any device.
	Holds(id messages.ActorID) bool
	// Kept is the room that the scheduler keeps for models, and the moves under way.
	Kept(now time.Time) ([]*messages.HintReply, *messages.DefragPlan)
	// AwaitModel waits until a model's view satisfies a condition.
	AwaitModel(ctx context.Context, id messages.ActorID, wanted func(*messages.ModelView) bool) (*messages.ModelView, error)
}

// Gateway shows what runs and waits.
type Gateway interface {
	Models() []*messages.ModelView
	Queue() *messages.QueueView
	Health() messages.Health
	// Ensure waits until a worker of a model is ready, and finds a place for it.
	Ensure(ctx context.Context, model string, until time.Time) error
	// AwaitCalm waits until no request waits at a model.
	AwaitCalm(ctx context.Context, model string) error
	// EndLoads ends the loads by hand that wait for a model.
	EndLoads(model string)
	// Cancel ends the requests of an id that a caller may end; others tells of some that it may not.
	Cancel(id string, by messages.Principal) (found, others bool)
}

// Options of the operations. All are required but Reread.
type Options struct {
	Host    string
	Version string
	Door    messages.Door
	// Life ends with the daemon.
	Life    context.Context
	View    View
	Gateway Gateway
	// Now is the time of the journal.
	Now func() time.Time
	// Sequence is the journal's last.
	Sequence func() uint64
	// Replay reads the journal behind a sequence, of one actor or, when it is zero, of all; an error of fn ends it and is returned.
	Replay func(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error
	// Copies opens a copy of another host's journal, by its name; nil = this host keeps none.
	Copies func(ctx context.Context, host, name string) (JournalCopy, error)
	// Copied are the hosts whose journals are copied, each with the last sequence that it told, which its copy may not hold yet; nil = none.
	Copied func() (map[string]uint64, error)
	// Actors are those that run on this host.
	Actors func() []messages.ActorID
	// SpecOf makes a declaration for a file, under a name that needn't be in the configuration.
	SpecOf func(name, path string, shards int) (*messages.ModelSpec, error)
	// Residents are the models and devices of all hosts, for drains.
	Residents host.Residents
	// Memory asks the scheduler.
	Memory Memory
	// Config shows the configuration in force, without secrets.
	Config func() (*messages.ConfigView, error)
	// Reread reads the configuration again; nil = it is in no file. Its error says what is wrong with the file.
	Reread func() (host.Configuration, error)
	// Reconciler makes the host follow a configuration.
	Reconciler *host.Reconciler
	// Requests are the latest requests.
	Requests *Requests
	// Explain answers questions from the journal.
	Explain Explain
	// Drills lets people crash actors, for tests of what follows.
	Drills bool
	// Keys are the API keys; nil = there are none to be made.
	Keys Keys
	// Cluster is nil on a host that is in none.
	Cluster Cluster
	// Hub is how the NATS cluster is that this host joins; nil = none.
	Hub func() *messages.HubView
	// Hosts are nil on a host that is in no cluster.
	Hosts Hosts
	// Differences are the models whose files differ between hosts; nil = there are none.
	Differences func() []*messages.Error
	// Log reads the newest log of a model's workers on this host; nil = there are none.
	Log func(model, after string, lines int) (*messages.LogPage, error)
	// Jobs are what this host knows of the jobs that it runs; nil = it runs none.
	Jobs Jobs
	// AutoTune tells whether goals may search for settings; nil = they may.
	AutoTune func() bool
	// Seeking are the jobs of a host that have memory or seek some; nil = it isn't known.
	Seeking func(host string) []*messages.JobView
	// Others is how old what other hosts said last is, and the requests that run and wait there; nil on a host that is in no cluster.
	Others func() ([]*messages.HostSaid, []*messages.QueuedRequest)
}

// Control answers the operations. It implements messages.Operations.
type Control struct {
	Memory
	o     Options
	began time.Time
}

var _ messages.Operations = (*Control)(nil)

// New makes the operations of a host whose uptime begins now.
func New(o Options) *Control { return &Control{Memory: o.Memory, o: o, began: time.Now()} }

func (c *Control) modelID(name string) messages.ActorID { return messages.ModelActor(c.o.Host, name) }

func (c *Control) hostID() messages.ActorID { return messages.HostActor(c.o.Host) }

// find gives the actor and the view of a model by name or alias; without a declaration the view has no spec.
func (c *Control) find(name string) (messages.ActorID, *messages.ModelView) {
	id := c.modelID(c.canonical(name))
	return id, c.o.View.Model(id)
}

// declared is find with an error: ModelNotFound when nothing declares the model.
func (c *Control) declared(ctx context.Context, name, hint string) (messages.ActorID, *messages.ModelView, error) {
	id, v := c.find(name)
	if v.GetSpec() == nil {
		return id, nil, notFound(c.modelID(name)).WithHint(c.didYouMean(ctx, name) + hint)
	}
	return id, v, nil
}

func invalid(field, what, hint string) *messages.Error {
	return messages.NewError(messages.InvalidArgument, field, what).WithHint(hint)
}

func notFound(model messages.ActorID) *messages.Error {
	return messages.Errorf(messages.ModelNotFound, model.String(), "Model '%s' not found", model.Name())
}

// didYouMean is the beginning of a hint: the declared name or alias that was meant, among those that the caller's key is for.
func (c *Control) didYouMean(ctx context.Context, name string) string {
	scope := messages.CallerFrom(ctx).Principal.Scope
	var known []string
	for _, v := range c.o.View.Models() {
		if v.GetSpec() == nil || !scope.Has(c.model(v.Name)) {
			continue
		}
		known = append(append(known, v.Name), v.Spec.Aliases...)
	}
	return messages.DidYouMean(name, known)
}

const listModels = "modelops models lists what there is"
