package messages

import (
	"fmt"
	"reflect"
	"sort"

	"google.golang.org/protobuf/proto"
)

// eventType is an event's name and schema version on disk. Names are never reused, versions only rise.
type eventType struct {
	name    string
	version uint32
	make    func() proto.Message
}

var (
	eventByName = map[string]eventType{}
	eventByGo   = map[reflect.Type]eventType{} // not by protobuf name: descriptors aren't there yet when this file's init runs
)

func init() {
	for _, t := range eventTypes {
		eventByName[t.name] = t
		eventByGo[reflect.TypeOf(t.make())] = t
	}
}

// EventNames lists the names of all events on disk, sorted.
func EventNames() []string {
	out := make([]string, 0, len(eventTypes))
	for _, t := range eventTypes {
		out = append(out, t.name)
	}
	sort.Strings(out)
	return out
}

// NewEvent is an empty event of a stable name; nil when this build knows none of it.
func NewEvent(name string) proto.Message {
	t, ok := eventByName[name]
	if !ok {
		return nil
	}
	return t.make()
}

// EventName is the stable name of an event; it panics on a message that is no event, which only a bug can bring.
func EventName(e proto.Message) string {
	t, ok := eventByGo[reflect.TypeOf(e)]
	if !ok {
		panic(fmt.Sprintf("%T is no event: it has no (event) option in its proto file", e))
	}
	return t.name
}

// Seal wraps the events of one decision for the journal.
func Seal(events []proto.Message) (*Decision, error) {
	d := &Decision{Events: make([]*Event, 0, len(events))}
	for _, e := range events {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", e, err)
		}
		t, ok := eventByGo[reflect.TypeOf(e)]
		if !ok {
			return nil, fmt.Errorf("%T is no event: it has no (event) option in its proto file", e)
		}
		d.Events = append(d.Events, &Event{Type: t.name, Version: t.version, Body: body})
	}
	return d, nil
}

// KnowsEvent tells whether this build reads a type of event in a schema version.
func KnowsEvent(name string, version uint32) bool {
	t, ok := eventByName[name]
	return ok && version <= t.version
}

// Open decodes a decision's events. An unknown type or a version from the future is an error: state that skips a fact is wrong.
func (d *Decision) Open() ([]proto.Message, error) {
	out := make([]proto.Message, 0, len(d.Events))
	for _, e := range d.Events {
		t, ok := eventByName[e.Type]
		if !ok {
			return nil, NewError(JournalDamaged, e.Type, "this build doesn't know this type of event").
				WithHint("start a build at least as new as the one that wrote it")
		}
		if e.Version > t.version {
			return nil, Errorf(JournalDamaged, e.Type, "the event has schema version %d, this build knows up to %d", e.Version, t.version).
				WithHint("start a build at least as new as the one that wrote it")
		}
		body, err := upcast(t, e)
		if err != nil {
			return nil, err
		}
		m := t.make()
		if err := proto.Unmarshal(body, m); err != nil {
			return nil, Errorf(JournalDamaged, e.Type, "the event's body can't be decoded: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}
