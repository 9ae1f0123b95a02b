package entitytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"modelops/actors/entity"
	"modelops/messages"
)

// Epoch is when the stories begin.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Bench is a world in which a test drives a kind's machine step by step. Owed work is noted and not done. At each step it checks what must hold
// for every kind: Decide and Evolve don't change their arguments, replay gives the live state, and so does a snapshot.
type Bench[S any] struct {
	Kind     entity.Kind[S]
	ID       messages.ActorID
	State    S
	Now      time.Time
	Sequence uint64
	Recorded []messages.Recorded
	// Readings is what the kind observes of the world; nil = nothing.
	Readings proto.Message

	machine  *entity.Machine[S]
	snapshot entity.Snapshot
	running  map[string]bool
	ids      int
}

// Drive makes a bench for a fresh actor.
func Drive[S any](kind entity.Kind[S], id messages.ActorID) *Bench[S] {
	b := &Bench[S]{Kind: kind, ID: id, Now: Epoch, running: map[string]bool{}}
	kind.Decide, kind.Evolve = careful(kind)
	kind.Observe = func(context.Context, proto.Message) proto.Message { return b.Readings }
	b.machine = entity.NewMachine(kind, id, world[S]{b})
	b.recover()
	return b
}

func (b *Bench[S]) recover() {
	err := b.machine.Start()
	must(err == nil, "the journal can't be read: %v", err)
}

// careful wraps a kind's Decide and Evolve with a check that they don't change their arguments. A violation panics: it is a bug in any
// story.
func careful[S any](kind entity.Kind[S]) (decide func(S, proto.Message, entity.Stamp) (entity.Verdict, error), evolve func(S, proto.Message, uint64) S) {
	decide = func(s S, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
		before, asked, seen := asJSON(s), proto.Clone(command), proto.Clone(at.Readings)
		v, err := kind.Decide(s, command, at)
		must(asJSON(s) == before, "Decide changed the state that it was given: %s became %s", before, asJSON(s))
		must(proto.Equal(asked, command), "Decide changed the command that it was given: %v became %v", asked, command)
		must(proto.Equal(seen, at.Readings), "Decide changed the readings that it was given: %v became %v", seen, at.Readings)
		must(err == nil || len(v.Events) == 0, "Decide refused and told events: %v, %v", err, v.Events)
		return v, err
	}
	evolve = func(s S, event proto.Message, sequence uint64) S {
		before := asJSON(s)
		after := kind.Evolve(s, event, sequence)
		must(asJSON(s) == before, "Evolve changed the state that it was given: %s became %s", before, asJSON(s))
		return after
	}
	return decide, evolve
}

// Do takes a command.
func (b *Bench[S]) Do(command proto.Message) (messages.Reply, error) {
	return b.machine.Ask(command, messages.Meta{})
}

// Happen stores the events of one decision without a command, and recovers with it.
func (b *Bench[S]) Happen(events ...proto.Message) {
	_, _ = world[S]{b}.Append(entity.Append{Actor: b.ID, Expected: b.Sequence, Events: events, At: b.Now})
	b.recover()
}

// Replayed checks that the journal alone, and a snapshot taken after any number of decisions, give the live state.
func (b *Bench[S]) Replayed(snapshotAfter int) error {
	b.snapshot = entity.Snapshot{}
	if err := b.machine.Verify(); err != nil {
		return err
	}
	n := min(snapshotAfter, len(b.Recorded))
	if n == 0 {
		return nil
	}
	then := Drive(b.Kind, b.ID)
	then.Recorded = b.Recorded[:n]
	then.recover()
	var err error
	if b.snapshot, err = then.machine.Snapshot(); err != nil {
		return err
	}
	defer func() { b.snapshot = entity.Snapshot{} }()
	if err := b.machine.Verify(); err != nil {
		return fmt.Errorf("a snapshot after %d decisions and the rest: %w", n, err)
	}
	return nil
}

// Owed lists the keys of the owed work and checks that no two share one, and that just these were begun.
func (b *Bench[S]) Owed() []string {
	var keys []string
	seen := map[string]bool{}
	for _, e := range b.Kind.Owed(b.State) {
		must(!seen[e.Key()], "two owed effects have the key %s", e.Key())
		seen[e.Key()] = true
		keys = append(keys, e.Key())
	}
	must(maps.Equal(seen, b.running), "owed are %v, begun %v", seen, b.running)
	return keys
}

// Given folds a named event: a past that the story begins with.
func (b *Bench[S]) Given(name, body string) error {
	e, err := event(name, body)
	if err != nil {
		return err
	}
	b.Happen(e)
	return nil
}

// When runs a named command.
func (b *Bench[S]) When(name, body string) ([]string, error) {
	c, err := command(name, body)
	if err != nil {
		return nil, err
	}
	r, err := b.Do(c)
	if err != nil {
		return []string{Refusal(err)}, nil
	}
	var out []string
	for _, e := range r.Events {
		out = append(out, "event "+messages.EventName(e)+" "+compact(e))
	}
	out = append(out, fmt.Sprintf("answer %s %s", r.Answer.ProtoReflect().Descriptor().Name(), compact(r.Answer)))
	return out, b.Replayed(len(b.Recorded) / 2)
}

// Seeing sets the readings of the commands that follow.
func (b *Bench[S]) Seeing(name, body string) error {
	readings, err := command(name, body)
	b.Readings = readings
	return err
}

// Wait moves the clock.
func (b *Bench[S]) Wait(d time.Duration) { b.Now = b.Now.Add(d) }

// Show is the whole state, field by field, and what it owes.
func (b *Bench[S]) Show() []string {
	return append(Fields(b.State), "owed "+strings.Join(b.Owed(), " "))
}

// Fields writes a struct's fields that aren't zero, one a line.
func Fields(state any) []string {
	out := []string{"state"}
	d := json.NewDecoder(strings.NewReader(asJSON(state)))
	_, _ = d.Token()
	for d.More() {
		name, _ := d.Token()
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return append(out, err.Error())
		}
		switch string(v) {
		case `null`, `""`, `0`, `false`, `{}`, `[]`:
			continue
		}
		out = append(out, fmt.Sprintf("  %v %s", name, v))
	}
	return out
}

// Refusal writes an error with everything that a caller sees of it.
func Refusal(err error) string {
	e := messages.AsError(err)
	s := "refused " + e.Code.String() + " " + e.Error()
	if e.Retry > 0 {
		s += " retry " + e.Retry.String()
	}
	return s
}

func event(name, body string) (proto.Message, error) {
	d := &messages.Decision{Events: []*messages.Event{{Type: name, Version: 1}}}
	events, err := d.Open()
	if err != nil {
		return nil, err
	}
	return events[0], protojson.Unmarshal([]byte(body), events[0])
}

func command(name, body string) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByURL("modelops." + name)
	if err != nil {
		return nil, fmt.Errorf("there is no message %s", name)
	}
	m := t.New().Interface()
	return m, protojson.Unmarshal([]byte(body), m)
}

// compact is protojson without the spaces that it puts in at random.
func compact(m proto.Message) string {
	b, err := protojson.Marshal(m)
	var out bytes.Buffer
	if err == nil {
		err = json.Compact(&out, b)
	}
	must(err == nil, "%T as JSON: %v", m, err)
	return out.String()
}

func asJSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	must(e.Encode(v) == nil, "%T has no JSON", v)
	return strings.TrimSpace(b.String())
}

func must(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf(format, args...))
	}
}
