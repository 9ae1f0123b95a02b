package entitytest

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// Machine drives a kind's pure functions without shell, journal or world, and checks at each step what must hold for every kind:
// Decide and Evolve change nothing they were given, replay gives the live state, and so does a snapshot.
type Machine[S any] struct {
	Kind     entity.Kind[S]
	ID       messages.ActorID
	State    S
	Now      time.Time
	Sequence uint64
	Recorded []messages.Recorded

	ids int
}

// Drive makes a machine for a fresh actor.
func Drive[S any](kind entity.Kind[S], id messages.ActorID) *Machine[S] {
	return &Machine[S]{Kind: kind, ID: id, State: kind.New(id), Now: Epoch}
}

// Do decides a command and folds what happened. A broken rule of all kinds panics: it is a bug, whatever the story.
func (m *Machine[S]) Do(command proto.Message) (entity.Verdict, error) {
	m.ids++
	before, asked := asJSON(m.State), proto.Clone(command)
	v, err := m.Kind.Decide(m.State, command, entity.Stamp{Now: m.Now, ID: fmt.Sprintf("id-%d", m.ids)})
	must(asJSON(m.State) == before, "Decide changed the state that it was given: %s became %s", before, asJSON(m.State))
	must(proto.Equal(asked, command), "Decide changed the command that it was given: %v became %v", asked, command)
	must(err == nil || len(v.Events) == 0, "Decide refused and told events: %v, %v", err, v.Events)
	if len(v.Events) > 0 {
		m.Happen(v.Events...)
	}
	return v, err
}

// Happen folds the events of one decision.
func (m *Machine[S]) Happen(events ...proto.Message) {
	d, err := messages.Seal(events)
	must(err == nil, "the decision can't be stored: %v", err)
	events, err = d.Open()
	must(err == nil, "the decision can't be read back: %v", err)
	m.Sequence++
	was := m.State
	before := asJSON(was)
	for _, e := range events {
		m.State = m.Kind.Evolve(m.State, e, m.Sequence)
	}
	must(asJSON(was) == before, "Evolve changed the state that it was given: %s became %s", before, asJSON(was))
	m.Recorded = append(m.Recorded, messages.Recorded{Actor: m.ID, Sequence: m.Sequence, At: m.Now, Events: events, Decision: d})
}

// Replayed checks that the journal alone, and a snapshot taken after any number of decisions, give the live state.
func (m *Machine[S]) Replayed(snapshotAfter int) error {
	live := asJSON(m.State)
	if s := asJSON(entity.Replay(m.Kind, m.Kind.New(m.ID), m.Recorded)); s != live {
		return fmt.Errorf("replay gives %s, life gave %s", s, live)
	}
	n := min(snapshotAfter, len(m.Recorded))
	var s S
	if err := json.Unmarshal([]byte(asJSON(entity.Replay(m.Kind, m.Kind.New(m.ID), m.Recorded[:n]))), &s); err != nil {
		return fmt.Errorf("a snapshot can't be read: %w", err)
	}
	if s := asJSON(entity.Replay(m.Kind, s, m.Recorded[n:])); s != live {
		return fmt.Errorf("a snapshot after %d decisions and the rest give %s, life gave %s", n, s, live)
	}
	return nil
}

// Owed lists the keys of the owed work and checks that no two share one.
func (m *Machine[S]) Owed() []string {
	var keys []string
	seen := map[string]bool{}
	for _, e := range m.Kind.Owed(m.State) {
		must(!seen[e.Key()], "two owed effects have the key %s", e.Key())
		seen[e.Key()] = true
		keys = append(keys, e.Key())
	}
	return keys
}

// Given folds a named event: a past that the story begins with.
func (m *Machine[S]) Given(name, body string) error {
	e, err := event(name, body)
	if err != nil {
		return err
	}
	m.Happen(e)
	return nil
}

// When runs a named command.
func (m *Machine[S]) When(name, body string) ([]string, error) {
	c, err := command(name, body)
	if err != nil {
		return nil, err
	}
	v, err := m.Do(c)
	if err != nil {
		return []string{Refusal(err)}, nil
	}
	var out []string
	for _, e := range v.Events {
		out = append(out, "event "+messages.EventName(e)+" "+compact(e))
	}
	answer := proto.Message(&messages.Done{})
	if v.Answer != nil {
		answer = v.Answer(m.Sequence)
	}
	out = append(out, fmt.Sprintf("answer %s %s", answer.ProtoReflect().Descriptor().Name(), compact(answer)))
	return out, m.Replayed(len(m.Recorded) / 2)
}

// Wait moves the clock.
func (m *Machine[S]) Wait(d time.Duration) { m.Now = m.Now.Add(d) }

// Show is the whole state, field by field, and what it owes.
func (m *Machine[S]) Show() []string {
	return append(Fields(m.State), "owed "+strings.Join(m.Owed(), " "))
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
