package messages

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"
)

// Every event type is registered once, has a version, and says when it happened.
func TestEveryEventIsRegisteredOnce(t *testing.T) {
	registered := map[protoreflect.FullName]string{}
	for _, e := range eventTypes {
		name := e.make().ProtoReflect().Descriptor().FullName()
		if other, twice := registered[name]; twice {
			t.Errorf("%s is registered as %s and as %s", name, other, e.name)
		}
		registered[name] = e.name
		if e.version == 0 {
			t.Errorf("%s has no schema version", e.name)
		}
	}
	if len(eventByName) != len(eventTypes) || len(eventByGo) != len(eventTypes) {
		t.Errorf("%d events, %d names, %d types: a name or a type stands there twice", len(eventTypes), len(eventByName), len(eventByGo))
	}
	if len(eventTypes) < 30 {
		t.Fatalf("only %d events are registered", len(eventTypes))
	}
	for _, e := range eventTypes {
		m := e.make().ProtoReflect().Descriptor()
		if f := m.Fields().ByName("at"); f == nil {
			t.Errorf("%s doesn't say when it happened", m.FullName())
		}
	}
}

// Every step from an older schema version to the present one has an upcaster.
func TestEveryOlderVersionHasAnUpcaster(t *testing.T) {
	versions := map[string]uint32{}
	for _, e := range eventTypes {
		versions[e.name] = e.version
		if have := len(upcasters[e.name]); have != int(e.version)-1 {
			t.Errorf("%s has version %d and %d upcasters: each version but the first needs one (upcast.go)", e.name, e.version, have)
		}
	}
	for name := range upcasters {
		if versions[name] == 0 {
			t.Errorf("upcasters for %s, which is no event", name)
		}
	}
}

// An event belongs to the kind that its name begins with: it stands in that kind's file.
func TestEventsAreSealed(t *testing.T) {
	for _, e := range eventTypes {
		kind, _, _ := strings.Cut(e.name, ".")
		of, _ := proto.GetExtension(e.make().ProtoReflect().Descriptor().ParentFile().Options(), E_Kind).(*KindType)
		sealed := true // by the generator, which gives a kind's file and its interface the same name
		switch m := e.make(); kind {
		case KindHost:
			_, sealed = m.(HostEvent)
		case KindGPU:
			_, sealed = m.(GPUEvent)
		case KindModel:
			_, sealed = m.(ModelEvent)
		case KindArbiter:
			_, sealed = m.(ArbiterEvent)
		}
		if of.GetName() != kind || !sealed {
			t.Errorf("%s is no event of kind %s", e.name, kind)
		}
	}
}

// filled draws an event with all its scalar fields set to something.
func filled(t *rapid.T) proto.Message {
	e := rapid.SampledFrom(eventTypes).Draw(t, "event").make()
	fill(t, e.ProtoReflect(), 0)
	return e
}

func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
		case f.IsList():
			if f.Kind() == protoreflect.StringKind {
				m.Mutable(f).List().Append(protoreflect.ValueOfString(rapid.String().Draw(t, string(f.Name()))))
			}
		case f.Kind() == protoreflect.MessageKind:
			if depth < 3 {
				fill(t, m.Mutable(f).Message(), depth+1)
			}
		default:
			m.Set(f, scalar(t, f))
		}
	}
}

func scalar(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	name := string(f.Name())
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, name))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, name))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, name))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, name))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, name))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, name))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.Float64().Draw(t, name))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(rapid.SampledFrom(numbers(f.Enum())).Draw(t, name))
	}
	t.Fatalf("%s: no generator for %s", f.FullName(), f.Kind())
	return protoreflect.Value{}
}

func numbers(e protoreflect.EnumDescriptor) (out []protoreflect.EnumNumber) {
	for i := range e.Values().Len() {
		out = append(out, e.Values().Get(i).Number())
	}
	return out
}

func TestSealAndOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(filled), 1, 5).Draw(t, "events")
		d, err := Seal(events)
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Decision
		if err := proto.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		got, err := back.Open()
		if err != nil || len(got) != len(events) {
			t.Fatalf("%d of %d events came back, %v", len(got), len(events), err)
		}
		for i := range events {
			if !proto.Equal(got[i], events[i]) {
				t.Fatalf("%v came back as %v", events[i], got[i])
			}
		}
	})
}

// A state that skips a fact is wrong, so one event that can't be read refuses the whole decision.
func TestWhatThisBuildCantReadIsRefused(t *testing.T) {
	good := &Event{Type: "model.ready", Version: 1}
	for _, c := range []struct {
		name string
		bad  *Event
		want string
	}{
		{"unknown type", &Event{Type: "model.teleported", Version: 1},
			"model.teleported: this build doesn't know this type of event (start a build at least as new as the one that wrote it)"},
		{"no type", &Event{}, "this build doesn't know this type of event (start a build at least as new as the one that wrote it)"},
		{"future version", &Event{Type: "model.ready", Version: 7},
			"model.ready: the event has schema version 7, this build knows up to 1 (start a build at least as new as the one that wrote it)"},
	} {
		for _, order := range [][]*Event{{c.bad, good}, {good, c.bad}} {
			got, err := (&Decision{Events: order}).Open()
			if err == nil || err.Error() != c.want || CodeOf(err) != JournalDamaged || got != nil {
				t.Errorf("%s: got %d events and %v, want only %q", c.name, len(got), err, c.want)
			}
		}
	}
	_, err := (&Decision{Events: []*Event{{Type: "model.ready", Version: 1, Body: []byte{0xff}}}}).Open()
	if CodeOf(err) != JournalDamaged || !strings.HasPrefix(err.Error(), "model.ready: the event's body can't be decoded: ") {
		t.Errorf("a broken body: %v", err)
	}
}

func TestOnlyEventsAreSealed(t *testing.T) {
	if d, err := Seal([]proto.Message{&ModelReady{}, &UnloadModel{}}); err == nil {
		t.Errorf("a command was sealed into %v", d)
	}
	defer func() {
		if recover() == nil {
			t.Error("a command has an event's name")
		}
	}()
	EventName(&UnloadModel{})
}

// Whatever lies on a disk, Open answers with events that can be sealed again, or with a typed error.
func FuzzDecisionOpen(f *testing.F) {
	for _, e := range eventTypes {
		d, err := Seal([]proto.Message{e.make(), &ModelReady{Attempt: 3, MeasuredBytes: 1 << 30}})
		if err != nil {
			f.Fatal(err)
		}
		b, _ := proto.Marshal(d)
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add([]byte("\x0a\x02\x0a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Decision
		if proto.Unmarshal(b, &d) != nil {
			return
		}
		events, err := d.Open()
		if err != nil {
			if CodeOf(err) != JournalDamaged || events != nil {
				t.Fatalf("refused with %v and %d events", err, len(events))
			}
			return
		}
		again, err := Seal(events)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range again.Events {
			if e.Type != d.Events[i].Type {
				t.Fatalf("event %d was %s and became %s", i, d.Events[i].Type, e.Type)
			}
		}
	})
}
