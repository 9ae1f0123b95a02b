package entity

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// World is what a Machine needs of its surroundings. The shell, the simulator and the test bench are the three worlds.
//
// A machine calls its world from the goroutine that called the machine. No method of a World may call the machine back.
type World interface {
	// Life ends with the machine's incarnation. Observe is bound to it.
	Life() context.Context
	Now() time.Time
	NewID() string
	Log() *slog.Logger

	// Append stores one decision. After an error without the cause messages.ErrNotStored the state may differ from the journal.
	Append(Append) (sequence uint64, err error)
	// Replay calls fn for each of the actor's decisions after a sequence, in order.
	Replay(after uint64, fn func(messages.Recorded) error) error
	LoadSnapshot() (s Snapshot, ok bool, err error)
	SaveSnapshot(Snapshot) error

	// Begin starts a try of owed work. Its end is told to Machine.Report.
	Begin(Try)
	// Later calls Machine.Again with this try after a pause. The first try of delayed work isn't begun before that.
	Later(t Try, pause time.Duration)
	// Cancel ends a try that runs, or the pause after it. The try may have ended already.
	Cancel(Try)

	// Recovered is called when the journal has been read, before owed work begins.
	Recovered(decisions int)
	// Decided is called after each decision, when it is stored and folded.
	Decided(command proto.Message, events []proto.Message)
}

// Try is one attempt at owed work.
type Try struct {
	Key    string
	Number uint64
	Effect Effect
	// Cause is the id of the actor's last decision when the try began.
	Cause string

	life *life
}

// Meta marks what follows from the try.
func (t Try) Meta() messages.Meta { return messages.Meta{Correlation: t.Cause, Causation: t.Cause} }

// life tells one incarnation from the next, by its address: numbers begin again when an actor that gave up is revived.
type life struct{ _ byte }

// Rebuild is the error of a machine whose state may differ from the journal. The machine has stopped; Start reads the journal again.
type Rebuild struct{ Cause error }

func (r *Rebuild) Error() string { return "rebuild: " + r.Cause.Error() }

// Unwrap gives the cause.
func (r *Rebuild) Unwrap() error { return r.Cause }
