package entity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Options are what every shell is given, whatever its kind.
type Options struct {
	Journal       Journal
	Clock         Clock
	NewID         func() string
	Observer      Observer // may be nil
	Log           *slog.Logger
	SnapshotEvery int           // decisions between snapshots; 0 = never
	AppendTimeout time.Duration // 0 = 10 s
}

// Props makes the actor of one identity.
func Props[S any](kind Kind[S], id messages.ActorID, o Options, opts ...actor.PropsOption) *actor.Props {
	if o.AppendTimeout == 0 {
		o.AppendTimeout = 10 * time.Second
	}
	return actor.PropsFromProducer(func() actor.Actor {
		s := &shell[S]{kind: kind, id: id, o: o, log: o.Log.With("actor", id.String()), tasks: map[string]task{}}
		s.machine = NewMachine[S](kind, id, s)
		s.machine.SnapshotEvery = o.SnapshotEvery
		return s
	}, opts...)
}

// shell is the World of a machine that lives in a protoactor mailbox. protoactor makes a new one for each incarnation.
type shell[S any] struct {
	kind    Kind[S]
	id      messages.ActorID
	o       Options
	log     *slog.Logger
	machine *Machine[S]
	tasks   map[string]task // by key
	began   time.Time

	out     *outage       // while the journal is read again; nil while the machine runs
	held    []heldCommand // that are still to be taken after an outage
	rereads int           // since the last decision that was stored

	self    *actor.PID
	system  *actor.ActorSystem
	life    context.Context
	endLife context.CancelFunc
}

// task is a try that runs on a goroutine of its own, or the timer of the next one.
type task struct {
	cancel context.CancelFunc
	timer  *time.Timer
}

// Receive is protoactor's way in. Commands are taken one at a time; an append blocks this actor and no other.
func (s *shell[S]) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		s.start(c)
	case *actor.Restarting, *actor.Stopping:
		s.stop()
	case Envelope:
		if s.out != nil {
			s.hold(c, m)
			return
		}
		s.receive(c, c.Sender(), m)
	case performed:
		if err := s.machine.Report(m.try, m.command, m.err); mustRebuild(err) {
			s.await(err)
		}
	case again:
		s.machine.Again(m.try)
	case readAgain:
		s.readBeside(m.outage)
	case reread[S]:
		s.take(c, m)
	case overdue:
		s.release(m.outage)
	}
}

func (s *shell[S]) start(c actor.Context) {
	s.self, s.system = c.Self(), c.ActorSystem()
	s.life, s.endLife = context.WithCancel(context.Background())
	s.began = s.o.Clock.Now()
	if err := s.machine.Start(); err != nil {
		s.await(err)
	}
}

func (s *shell[S]) stop() {
	if s.endLife != nil {
		s.endLife()
	}
	s.machine.Stop()
	gone := messages.NewError(messages.Unavailable, s.id.String(), "the actor stopped before it took the command").WithRetry(time.Second)
	s.refuseHeld(s.held, gone)
	if s.out != nil {
		s.refuseHeld(s.out.held, gone)
		s.calm()
	}
	s.held, s.out = nil, nil
}

func (s *shell[S]) receive(c actor.Context, sender *actor.PID, e Envelope) {
	defer func() {
		if r := recover(); r != nil { // the message is lost with the incarnation: its sender is told at once
			s.respond(sender, Result{Err: messages.Errorf(messages.Unavailable, s.id.String(), "the actor crashed on the command: %v", r).
				WithRetry(time.Second).WithHint("it restarts from its journal; ask again")})
			panic(r)
		}
	}()
	if crash, ok := e.Command.(*messages.Crash); ok { // a drill: it is as fatal as any bug
		panic(fmt.Sprintf("crash on command: %s", crash.Reason))
	}
	reply, err := s.machine.Ask(e.Command, e.Meta)
	if mustRebuild(err) {
		s.await(err)
		s.respond(sender, Result{Reply: reply, Err: s.out.cause})
		return
	}
	s.respond(sender, Result{Reply: reply, Err: messages.AsError(err)})
}

func (s *shell[S]) respond(to *actor.PID, r Result) {
	if to != nil {
		s.system.Root.Send(to, r)
	}
}

// mustRebuild tells whether the machine has to read its journal again.
func mustRebuild(err error) bool {
	var r *Rebuild
	return errors.As(err, &r)
}

// Life implements World.
func (s *shell[S]) Life() context.Context { return s.life }

// Now implements World.
func (s *shell[S]) Now() time.Time { return s.o.Clock.Now() }

// NewID implements World.
func (s *shell[S]) NewID() string { return s.o.NewID() }

// Log implements World.
func (s *shell[S]) Log() *slog.Logger { return s.log }

// Append implements World. An append that has begun is finished even when the actor is stopped meanwhile, so it isn't bound to life.
func (s *shell[S]) Append(a Append) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.AppendTimeout)
	defer cancel()
	return s.o.Journal.Append(ctx, a)
}

// Replay implements World.
func (s *shell[S]) Replay(after uint64, fn func(messages.Recorded) error) error {
	return s.o.Journal.Replay(s.life, s.id, after, fn)
}

// LoadSnapshot implements World.
func (s *shell[S]) LoadSnapshot() (Snapshot, bool, error) {
	return s.o.Journal.LoadSnapshot(s.life, s.id)
}

// SaveSnapshot implements World.
func (s *shell[S]) SaveSnapshot(snap Snapshot) error { return s.o.Journal.SaveSnapshot(s.life, snap) }

// Begin implements World: the try runs on a goroutine of its own, and its report comes back through the mailbox.
func (s *shell[S]) Begin(t Try) {
	ctx, cancel := context.WithCancel(messages.WithMeta(s.life, t.Meta()))
	s.tasks[t.Key] = task{cancel: cancel}
	done, perform, self, system := performed{try: t}, s.kind.Perform, s.self, s.system
	go func() {
		defer cancel()
		done.command, done.err = guarded(ctx, t.Effect, perform)
		system.Root.Send(self, done)
	}()
}

// guarded turns a panic in owed work into its failure: it runs outside the mailbox, where no supervisor would see it.
func guarded(ctx context.Context, e Effect, perform func(context.Context, Effect) (proto.Message, error)) (cmd proto.Message, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in %s: %v\n%s", e.Key(), r, debug.Stack())
		}
	}()
	return perform(ctx, e)
}

// Later implements World.
func (s *shell[S]) Later(t Try, pause time.Duration) {
	self, system := s.self, s.system
	s.tasks[t.Key] = task{timer: time.AfterFunc(pause, func() { system.Root.Send(self, again{try: t}) })}
}

// Cancel implements World.
func (s *shell[S]) Cancel(t Try) {
	running := s.tasks[t.Key]
	delete(s.tasks, t.Key)
	if running.cancel != nil {
		running.cancel()
	}
	if running.timer != nil {
		running.timer.Stop()
	}
}

// Recovered implements World.
func (s *shell[S]) Recovered(decisions int) {
	if s.o.Observer != nil {
		s.o.Observer.Recovered(s.id, decisions, s.o.Clock.Now().Sub(s.began))
	}
	s.changed()
}

// Decided implements World.
func (s *shell[S]) Decided(proto.Message, []proto.Message) {
	s.rereads = 0
	s.changed()
}

func (s *shell[S]) changed() {
	if s.o.Observer != nil {
		s.o.Observer.StateChanged(s.id, s.machine.Sequence(), s.kind.View(s.machine.State()))
	}
}
