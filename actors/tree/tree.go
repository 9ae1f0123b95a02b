package tree

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	cmap "github.com/orcaman/concurrent-map"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Spawner makes the props of an actor; ok is false when there can be no such actor on this host.
type Spawner func(id messages.ActorID) (props *actor.Props, ok bool)

// Options of a tree.
type Options struct {
	Host    string
	Log     *slog.Logger
	Backoff Backoff // its callbacks are set by the tree
	// OnRestart counts restarts by kind; may be nil.
	OnRestart func(kind string)
	// AskTimeout bounds questions whose context has no deadline; 0 = 5 s.
	AskTimeout time.Duration
}

// Tree holds the actors of one host and is the door to them.
type Tree struct {
	o      Options
	system *actor.ActorSystem
	root   *actor.PID
	ended  chan struct{} // closed by Stop: no actor is spawned afterwards

	reports sync.WaitGroup

	spawn    Spawner
	spawning sync.Mutex // one birth at a time; never held with mu, since the supervisor needs mu to register the child

	mu    sync.RWMutex
	pids  map[messages.ActorID]*actor.PID
	names map[string]messages.ActorID // by pid
	down  map[messages.ActorID]gaveUp
	waits map[messages.ActorID]string // for its journal, and why
}

// gaveUp is an actor that stays down.
type gaveUp struct {
	why      string
	recorded bool // in the host's journal
}

var _ messages.Door = (*Tree)(nil)

// protoactor keeps its actors in 1,024 maps, and each of these has 32 parts with a lock: 3 MB in each system, and 65,000 objects for each collection to
// look at. One part each is enough.
func init() { cmap.SHARD_COUNT = 1 }

// New starts an empty tree. Spawner is set by Grow, because most kinds need the door before they exist.
func New(o Options) *Tree {
	if o.AskTimeout == 0 {
		o.AskTimeout = 5 * time.Second
	}
	t := &Tree{o: o, pids: map[messages.ActorID]*actor.PID{}, names: map[string]messages.ActorID{}, down: map[messages.ActorID]gaveUp{},
		waits: map[messages.ActorID]string{}, ended: make(chan struct{})}
	t.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(quiet{o.Log.Handler()})
	}))
	t.o.Backoff = o.Backoff.orDefault()
	t.o.Backoff.Restarted, t.o.Backoff.GaveUp = t.restarted, t.gaveUp
	t.root = t.system.Root.Spawn(actor.PropsFromFunc(t.supervise, actor.WithSupervisor(t.o.Backoff)))
	return t
}

// Grow says how actors are made.
func (t *Tree) Grow(s Spawner) { t.spawn = s }

// born asks the supervisor for a child, so that the supervisor is its parent.
type born struct {
	id    messages.ActorID
	props *actor.Props
	done  chan<- spawned
}

type spawned struct {
	pid *actor.PID
	err error
}

func (t *Tree) supervise(c actor.Context) {
	switch m := c.Message().(type) {
	case born:
		pid, err := c.SpawnNamed(m.props, url.PathEscape(m.id.String())) // reversible: a/b and a:b are two models
		if err == nil {
			t.register(m.id, pid)
		}
		m.done <- spawned{pid, err}
	case *actor.Terminated:
		t.forget(m.Who)
	}
}

// find returns the actor's pid, spawning it when it isn't there.
func (t *Tree) find(id messages.ActorID) (*actor.PID, error) {
	if pid, err := t.known(id); pid != nil || err != nil {
		return pid, err
	}
	t.spawning.Lock()
	defer t.spawning.Unlock()
	if pid, err := t.known(id); pid != nil || err != nil {
		return pid, err
	}
	if len(id.ID) > messages.LongestIdentity { // no journal takes it
		return nil, messages.Errorf(messages.InvalidArgument, id.Kind+" "+id.ID[:40]+"...", "no actor's name has %d bytes", len(id.ID)).WithHint("a model has " + messages.GoodName)
	}
	props, ok := t.spawn(id)
	if !ok {
		return nil, messages.Errorf(messages.NotFound, id.String(), "there is no such actor on host %s", t.o.Host).
			WithHint("modelops ps and modelops gpus list the actors")
	}
	done := make(chan spawned, 1)
	t.system.Root.Send(t.root, born{id, props, done})
	var r spawned
	select {
	case r = <-done:
	case <-t.ended:
		return nil, messages.NewError(messages.Unavailable, id.String(), "the host is stopping").WithRetry(time.Second)
	}
	if r.err != nil {
		return nil, messages.Errorf(messages.Unavailable, id.String(), "the actor can't be started: %w", r.err).WithRetry(time.Second)
	}
	return r.pid, nil
}

func (t *Tree) known(id messages.ActorID) (*actor.PID, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if down, ok := t.down[id]; ok {
		return nil, messages.Errorf(messages.Unavailable, id.String(), "the actor crashed too often and stays down: %s", down.why).
			WithHint(t.revive(id))
	}
	return t.pids[id], nil
}

func (t *Tree) register(id messages.ActorID, pid *actor.PID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pids[id], t.names[pid.Id] = pid, id
}

// Down takes the actors that gave up as the host's journal has them: one that was recorded there and isn't any more may be spawned again. One
// that isn't recorded yet stays down, since a view of the host from before says nothing about it.
func (t *Tree) Down(recorded []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, down := range t.down {
		switch {
		case slices.Contains(recorded, id.String()):
			t.down[id] = gaveUp{down.why, true}
		case down.recorded:
			delete(t.down, id)
		}
	}
}

// Waits notes that an actor waits for its journal, and why; nil = it doesn't any more.
func (t *Tree) Waits(id messages.ActorID, why *messages.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if why == nil {
		delete(t.waits, id)
		return
	}
	t.waits[id] = why.Message
}

// Ill lists the actors that answer no commands, with the reason of each: those that gave up, and those that wait for their journal.
func (t *Tree) Ill() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []string
	for id, down := range t.down {
		out = append(out, id.String()+" crashed too often and stays down: "+down.why+" ("+t.revive(id)+")")
	}
	for id, why := range t.waits {
		out = append(out, id.String()+": "+why)
	}
	slices.Sort(out)
	return out
}

// revive is the command that brings an actor back that gave up.
func (t *Tree) revive(id messages.ActorID) string {
	return "modelops send host/" + t.o.Host + " RestartActor '{\"actor\":\"" + id.String() + "\"}'"
}

func (t *Tree) forget(pid *actor.PID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.names[pid.Id]; ok {
		delete(t.names, pid.Id)
		delete(t.pids, id)
	}
}

// Tell sends a command without waiting for an answer.
func (t *Tree) Tell(ctx context.Context, to messages.ActorID, command proto.Message) {
	pid, err := t.find(to)
	if err != nil {
		t.o.Log.Warn("a command can't be delivered", "actor", to.String(), "command", command.ProtoReflect().Descriptor().Name(), "error", err)
		return
	}
	t.system.Root.Send(pid, entity.Envelope{Command: command, Meta: messages.MetaFrom(ctx)})
}

// Send puts any message into an actor's mailbox: what isn't a command, such as a view for the gateway.
func (t *Tree) Send(to messages.ActorID, message any) {
	if pid, err := t.find(to); err == nil {
		t.system.Root.Send(pid, message)
	}
}

// Spawn makes sure that an actor lives.
func (t *Tree) Spawn(id messages.ActorID) error {
	_, err := t.find(id)
	return err
}

// Actors lists the actors that run.
func (t *Tree) Actors() []messages.ActorID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]messages.ActorID, 0, len(t.pids))
	for id := range t.pids {
		out = append(out, id)
	}
	return out
}

// Stop stops all actors and waits for them. Work they owe is cancelled; their state stays in the journal.
func (t *Tree) Stop() {
	close(t.ended)
	_ = t.system.Root.PoisonFuture(t.root).Wait()
	t.reports.Wait()
	t.system.Shutdown()
}

func (t *Tree) idOf(pid *actor.PID) messages.ActorID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.names[pid.Id]
}

func (t *Tree) restarted(child *actor.PID, failures int, reason any) {
	id := t.idOf(child)
	t.o.Log.Error("an actor crashed; it comes back from its journal", "actor", id.String(), "reason", fmt.Sprint(reason), "failures", failures)
	if t.o.OnRestart != nil {
		t.o.OnRestart(id.Kind)
	}
}

func (t *Tree) gaveUp(child *actor.PID, failures int, reason any) {
	id := t.idOf(child)
	t.o.Log.Error("an actor crashed too often and stays down", "actor", id.String(), "reason", fmt.Sprint(reason))
	if id != messages.HostActor(t.o.Host) { // the host comes back at the next command
		t.mu.Lock()
		t.down[id] = gaveUp{why: fmt.Sprint(reason)}
		t.mu.Unlock()
		// In a goroutine: this runs in the supervisor's turn, and the supervisor may have to spawn the host actor first.
		t.reports.Go(func() {
			t.report(&messages.ReportGaveUp{Actor: id.String(), Reason: fmt.Sprint(reason), Failures: uint32(failures)})
		})
	}
}

// reportAgain is the pause before a host that couldn't record a report is asked again.
const reportAgain = 2 * time.Second

// report has the host record that an actor gave up, however long that takes: it can be revived only when it is recorded.
func (t *Tree) report(r *messages.ReportGaveUp) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), t.o.AskTimeout)
		_, err := t.Ask(ctx, messages.HostActor(t.o.Host), r)
		cancel()
		if err == nil {
			return
		}
		t.o.Log.Warn("the host couldn't record that an actor gave up", "actor", r.Actor, "error", err)
		select {
		case <-t.ended:
			return
		case <-time.After(reportAgain):
		}
	}
}
