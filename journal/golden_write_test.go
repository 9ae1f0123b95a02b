package journal

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// writeFields appends one decision for each event type that no line of fields.jsonl has in its present version, with every field filled.
func writeFields(t *testing.T) {
	var b scribe
	held := map[string]bool{}
	if _, err := os.Stat(fieldsPath); err == nil {
		for _, line := range readGolden(t, fieldsPath) {
			body, err := base64.StdEncoding.DecodeString(line.Body)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range versionsIn(t, body) {
				held[name] = true
			}
			b.keep(line)
		}
	}
	for _, name := range eventsOfRooms() {
		if held[fmt.Sprintf("%s version %d", name, versionOf(t, name))] {
			continue
		}
		e := empty(t, name)
		fillFields(e.ProtoReflect(), 3)
		b.append(t, exampleOf(t, name), e)
	}
	b.write(t, fieldsPath)
}

// exampleOf is an actor of the kind that an event name begins with.
func exampleOf(t *testing.T, name string) messages.ActorID {
	t.Helper()
	kind, _, _ := strings.Cut(name, ".")
	for _, k := range messages.Kinds() {
		if k.Name != kind {
			continue
		}
		id, err := messages.ParseActorID(strings.ReplaceAll(k.Example, "main_pc", testHost))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	t.Fatalf("%s belongs to no kind", name)
	return messages.ActorID{}
}

// writeStories records the stories of all kinds once: a recorded journal isn't written again when a story changes.
func writeStories(t *testing.T) {
	if _, err := os.Stat(talesPath); err == nil {
		return
	}
	var b scribe
	for _, at := range []string{"host/*.txt", "gpu/*.txt", "model/*.txt", "arbiter/*.txt", "arbiter/*/*.txt"} {
		paths, err := filepath.Glob(filepath.Join("../testdata", at))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no stories in %s: %v", at, err)
		}
		for _, path := range paths {
			b.begin()
			b.record(t, path)
		}
	}
	b.write(t, talesPath)
}

// record appends the decisions of a story: an event that was given, or the events that a command made happen.
func (b *scribe) record(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var came []proto.Message
	decide := func() {
		if len(came) > 0 {
			b.append(t, exampleOf(t, messages.EventName(came[0])), came...)
		}
		came = nil
	}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line, told := strings.CutPrefix(in.Text(), "  event ")
		if !told {
			if strings.HasPrefix(line, "  ") {
				continue
			}
			decide()
			if line, told = strings.CutPrefix(line, "given "); !told {
				continue
			}
		}
		name, body, _ := strings.Cut(line, " ")
		e := empty(t, name)
		if err := protojson.Unmarshal([]byte(body), e); err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
		came = append(came, e)
		if strings.HasPrefix(in.Text(), "given ") {
			decide()
		}
	}
	decide()
	if in.Err() != nil {
		t.Fatal(in.Err())
	}
}

// scribe writes golden journals as a Journal writes them.
type scribe struct {
	lines []goldenLine
	heads map[string]uint64 // last sequence of each subject of the journal
	last  uint64
}

// begin starts another journal in the file.
func (b *scribe) begin() { b.heads, b.last = nil, 0 }

func (b *scribe) keep(line goldenLine) {
	if line.Sequence == 1 || b.heads == nil {
		b.heads = map[string]uint64{}
	}
	b.lines = append(b.lines, line)
	b.heads[line.Subject], b.last = line.Sequence, line.Sequence
}

func (b *scribe) append(t *testing.T, actor messages.ActorID, events ...proto.Message) {
	t.Helper()
	sequence := b.last + 1
	j := &Journal{o: Options{Host: testHost, BootID: "boot-golden", MaxPayload: defaultMaxPayload}}
	m, err := j.message(Append{Actor: actor, Expected: b.heads[subjectOf(testHost, actor)], At: time.Unix(1767225600, int64(sequence)).UTC(), Events: events,
		Meta: messages.Meta{ID: "golden-" + itoa(sequence), Correlation: "req-1", Causation: "cause-1", Caller: "f00d"}})
	if err != nil {
		t.Fatal(err)
	}
	line := goldenLine{Subject: m.Subject, Sequence: sequence, Headers: map[string]string{}, Body: base64.StdEncoding.EncodeToString(m.Data)}
	for _, e := range events {
		line.Types = append(line.Types, messages.EventName(e))
	}
	for k := range m.Header {
		line.Headers[k] = m.Header[k][0]
	}
	b.keep(line)
}

func (b *scribe) write(t *testing.T, path string) {
	t.Helper()
	var out strings.Builder
	for _, l := range b.lines {
		j, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(j, '\n'))
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// empty is an event of this type without a field set.
func empty(t *testing.T, name string) proto.Message {
	t.Helper()
	d := &messages.Decision{Events: []*messages.Event{{Type: name, Version: 1}}}
	events, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	return events[0]
}

func fillFields(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
		case f.IsList() && f.Message() == nil:
			m.Mutable(f).List().Append(scalar(f))
		case f.IsList() && depth > 0:
			fillFields(m.Mutable(f).List().AppendMutable().Message(), depth-1)
		case f.Message() != nil && f.Message().FullName() == "google.protobuf.Timestamp":
			m.Set(f, protoreflect.ValueOfMessage(timestamppb.New(time.Unix(1700000000, 5)).ProtoReflect()))
		case f.Message() != nil && depth > 0:
			fillFields(m.Mutable(f).Message(), depth-1)
		case f.Message() == nil:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	n := int64(f.Number())
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(f.Name()))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(f.Name()))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) + 0.5)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n) + 0.5)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	}
	return protoreflect.ValueOfInt64(n)
}
