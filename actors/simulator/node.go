package simulator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// anyNode is a node, whatever its kind.
type anyNode interface {
	actor() messages.ActorID
	ask(command proto.Message) (messages.Reply, error)
	rebuild()
	halt()
	poke(key string)
	proven() error
}

// node is the entity.World of one machine: virtual time, a book for a journal, and faults.
type node[S any] struct {
	w       *World
	kind    entity.Kind[S]
	id      messages.ActorID
	machine *entity.Machine[S]
	state   S // the machine's
	book    book
	doing   proto.Message    // the command that is being taken
	tasks   map[string]*task // by key
	parked  []*task          // in the order in which they were parked: maps have no order
	// changed is called with every new state, and with the one after a recovery.
	changed func(events []proto.Message)
}

// task is a try of owed work, or the pause after it.
type task struct {
	try  entity.Try
	over bool
	park string // what it waits for; empty while it runs or pauses
}

func newNode[S any](w *World, kind entity.Kind[S], id messages.ActorID) *node[S] {
	n := &node[S]{w: w, kind: kind, id: id, tasks: map[string]*task{}, changed: func([]proto.Message) {}}
	n.machine = entity.NewMachine[S](kind, id, n)
	n.state = n.machine.State()
	return n
}

func (n *node[S]) actor() messages.ActorID { return n.id }

// ask takes a command. An actor that crashes on it starts again at once.
func (n *node[S]) ask(command proto.Message) (messages.Reply, error) {
	n.doing = command
	r, err := n.machine.Ask(command, messages.Meta{})
	if n.revived(err) {
		return messages.Reply{}, messages.Errorf(messages.Unavailable, n.id.String(), "the actor crashed on the command").WithRetry(time.Second)
	}
	if err != nil {
		n.w.say("%s refuses %s: %v", n.id, name(command), err)
	}
	return r, err
}

func (n *node[S]) revived(err error) bool {
	var r *entity.Rebuild
	if !errors.As(err, &r) {
		return false
	}
	n.rebuild()
	return true
}

// rebuild begins a new incarnation: its work is forgotten, and its state is the fold of its book.
func (n *node[S]) rebuild() {
	if err := n.machine.Start(); err != nil {
		panic(err)
	}
}

// halt forgets the work under way.
func (n *node[S]) halt() { n.machine.Stop() }

// proven compares the live state with the fold of the book, and keeps the fold as snapshot.
func (n *node[S]) proven() error {
	if err := n.machine.Verify(); err != nil {
		return err
	}
	s, err := n.machine.Snapshot()
	if err != nil {
		return err
	}
	return n.SaveSnapshot(s)
}

// Begin implements entity.World.
func (n *node[S]) Begin(try entity.Try) {
	t := &task{try: try}
	n.tasks[try.Key] = t
	n.start(t, n.w.latency())
}

func (n *node[S]) start(t *task, delay time.Duration) {
	n.w.after(delay, func() {
		if !t.over {
			n.do(t)
		}
	})
}

// Later implements entity.World.
func (n *node[S]) Later(try entity.Try, pause time.Duration) {
	n.w.after(pause, func() { n.machine.Again(try) })
}

// Cancel implements entity.World.
func (n *node[S]) Cancel(try entity.Try) {
	if t := n.tasks[try.Key]; t != nil { // else its first try was never begun
		t.over = true
		delete(n.tasks, try.Key)
	}
}

// do performs a try. Its report may come later, twice, or never: then the coordinator crashed with it.
func (n *node[S]) do(t *task) {
	c := &try{}
	command, failure := n.kind.Perform(c, t.try.Effect)
	switch {
	case c.until != "":
		t.park = c.until
		n.parked = append(n.parked, t)
		return
	case failure != nil:
		n.w.say("%s: %s failed: %v", n.id, t.try.Key, failure)
	default:
		n.w.say("%s: %s done", n.id, t.try.Key)
	}
	n.w.mayCrash()
	if command != nil && n.w.mishap(n.w.o.Faults.LateReport) {
		n.w.after(n.w.long(), func() { n.report(t, command, failure) })
		return
	}
	n.report(t, command, failure)
}

func (n *node[S]) report(t *task, command proto.Message, failure error) {
	if t.over {
		return
	}
	n.doing = command
	err := n.machine.Report(t.try, command, failure)
	switch {
	case n.revived(err):
	case err != nil:
		n.w.say("%s: the report of %s was refused: %v", n.id, t.try.Key, err)
	case command != nil && n.w.mishap(n.w.o.Faults.DoubleReport): // as a command of its own: the machine drops a second report of a try
		n.w.alive(n.w.long(), func() { _, _ = n.ask(command) })
	}
}

// poke wakes the work that waits for something.
func (n *node[S]) poke(key string) {
	parked := n.parked
	n.parked = nil
	for _, t := range parked {
		switch {
		case t.over:
		case t.park == key:
			t.park = ""
			n.start(t, n.w.latency())
		default:
			n.parked = append(n.parked, t)
		}
	}
}

// Life implements entity.World: readings are taken at once.
func (n *node[S]) Life() context.Context { return &try{} }

// Now implements entity.World.
func (n *node[S]) Now() time.Time { return n.w.now() }

// NewID implements entity.World.
func (n *node[S]) NewID() string { return n.w.newID() }

// Log implements entity.World. The trace says what happens.
func (n *node[S]) Log() *slog.Logger { return noLog }

var noLog = slog.New(slog.DiscardHandler)

// Recovered implements entity.World.
func (n *node[S]) Recovered(int) {
	n.state = n.machine.State()
	n.changed(nil)
}

// Decided implements entity.World.
func (n *node[S]) Decided(command proto.Message, events []proto.Message) {
	n.state = n.machine.State()
	n.w.decided(n.id, command, events)
	n.changed(events)
}
