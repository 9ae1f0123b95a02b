package entitytest

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// world is the entity.World of a bench: its clock moves by hand, its journal is a slice, and the work that is begun or delayed is only noted.
type world[S any] struct{ b *Bench[S] }

// Life implements entity.World.
func (w world[S]) Life() context.Context { return context.Background() }

// Now implements entity.World.
func (w world[S]) Now() time.Time { return w.b.Now }

// NewID implements entity.World.
func (w world[S]) NewID() string {
	w.b.ids++
	return fmt.Sprintf("id-%d", w.b.ids)
}

// Log implements entity.World.
func (w world[S]) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Append implements entity.World: decisions are sealed and opened as in the journal.
func (w world[S]) Append(a entity.Append) (uint64, error) {
	d, err := messages.Seal(a.Events)
	must(err == nil, "the decision can't be stored: %v", err)
	events, err := d.Open()
	must(err == nil, "the decision can't be read back: %v", err)
	must(a.Expected == uint64(len(w.b.Recorded)), "a decision expects to follow %d, the last is %d", a.Expected, len(w.b.Recorded))
	r := messages.Recorded{Actor: a.Actor, Sequence: a.Expected + 1, Expected: a.Expected, ID: a.Meta.ID, Meta: a.Meta, At: a.At, Events: events, Decision: d}
	w.b.Recorded = append(w.b.Recorded, r)
	return r.Sequence, nil
}

// Replay implements entity.World.
func (w world[S]) Replay(after uint64, fn func(messages.Recorded) error) error {
	for _, r := range w.b.Recorded {
		if r.Sequence > after {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadSnapshot implements entity.World.
func (w world[S]) LoadSnapshot() (entity.Snapshot, bool, error) {
	return w.b.snapshot, w.b.snapshot.State != nil, nil
}

// SaveSnapshot implements entity.World.
func (w world[S]) SaveSnapshot(s entity.Snapshot) error {
	w.b.snapshot = s
	return nil
}

// Begin implements entity.World.
func (w world[S]) Begin(t entity.Try) {
	must(!w.b.running[t.Key], "%s is begun twice", t.Key)
	w.b.running[t.Key] = true
}

// Later implements entity.World. Nothing reports here, so that it can only be the delay before a first try.
func (w world[S]) Later(t entity.Try, _ time.Duration) { w.Begin(t) }

// Cancel implements entity.World.
func (w world[S]) Cancel(t entity.Try) { delete(w.b.running, t.Key) }

// Recovered implements entity.World.
func (w world[S]) Recovered(int) { w.b.changed() }

// Decided implements entity.World.
func (w world[S]) Decided(proto.Message, []proto.Message) { w.b.changed() }

func (b *Bench[S]) changed() { b.State, b.Sequence = b.machine.State(), b.machine.Sequence() }
