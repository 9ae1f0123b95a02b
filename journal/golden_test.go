package journal

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

var update = flag.Bool("update", false, "add decisions of event types that no golden journal holds yet")

// goldenLine is one decision as it lay in a journal of a released schema. Lines are only added.
type goldenLine struct {
	Subject  string            `json:"subject"`
	Sequence uint64            `json:"sequence"`
	Headers  map[string]string `json:"headers"`
	Types    []string          `json:"types"`
	Body     string            `json:"body"` // base64 of the Decision
}

const goldenDir = "../testdata/journal"

// Journals of every released schema must be readable for ever.
func TestGoldenJournals(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.jsonl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden journals in %s: %v", goldenDir, err)
	}
	seen := map[string]bool{}
	for _, path := range paths {
		c := newChain(Query{})
		for _, line := range readGolden(t, path) {
			body, err := base64.StdEncoding.DecodeString(line.Body)
			if err != nil || !wholeDecision(body) {
				t.Fatalf("%s sequence %d: not a decision (%v)", path, line.Sequence, err)
			}
			var h heads
			for k, v := range line.Headers {
				h.set(k, v)
			}
			err = deliver(stored{subject: []byte(line.Subject), sequence: line.Sequence, head: h, body: body}, c, Query{}, func(r messages.Recorded) error {
				checkGolden(t, path, line, r)
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			for _, name := range line.Types {
				seen[name] = true
			}
		}
	}
	for _, name := range messages.EventNames() {
		if !seen[name] {
			t.Logf("no golden journal holds %s; before a release run: go test ./journal -run Golden -update", name)
		}
	}
}

func checkGolden(t *testing.T, path string, line goldenLine, r messages.Recorded) {
	t.Helper()
	var types []string
	for _, e := range r.Events {
		types = append(types, messages.EventName(e))
		if n := len(e.ProtoReflect().GetUnknown()); n != 0 {
			t.Errorf("%s sequence %d: %s has %d bytes in fields that this build doesn't know", path, r.Sequence, messages.EventName(e), n)
		}
	}
	if !slices.Equal(types, line.Types) || strings.Join(types, ",") != line.Headers[headTypes] {
		t.Errorf("%s sequence %d holds %v, once they were %v", path, r.Sequence, types, line.Types)
	}
	if r.Actor.String() != line.Headers[headActor] || r.ID == "" || r.At.IsZero() || r.BootID == "" {
		t.Errorf("%s sequence %d: %+v", path, r.Sequence, r)
	}
}

func readGolden(t *testing.T, path string) []goldenLine {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []goldenLine
	for in := bufio.NewScanner(f); in.Scan(); {
		var line goldenLine
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, line)
	}
	return out
}

// writeGolden appends to v1.jsonl one decision for each event type that it doesn't hold, every field filled, written by a real journal.
func writeGolden(t *testing.T) {
	path := filepath.Join(goldenDir, "v1.jsonl")
	var lines []goldenLine
	if _, err := os.Stat(path); err == nil {
		lines = readGolden(t, path)
	}
	held := map[string]bool{}
	heads := map[string]uint64{}
	for _, l := range lines {
		heads[l.Subject] = l.Sequence
		for _, name := range l.Types {
			held[name] = true
		}
	}
	for _, name := range messages.EventNames() {
		if held[name] {
			continue
		}
		sequence := uint64(len(lines) + 1)
		l := goldenDecision(t, name, sequence, heads)
		heads[l.Subject] = sequence
		lines = append(lines, l)
	}
	var b strings.Builder
	for _, l := range lines {
		j, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(j, '\n'))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goldenDecision(t *testing.T, name string, sequence uint64, heads map[string]uint64) goldenLine {
	t.Helper()
	kind, _, _ := strings.Cut(name, ".")
	actor := map[string]messages.ActorID{
		"host": messages.HostActor(testHost), "gpu": messages.GPUActor(testHost, "GPU-0"),
		"model": messages.ModelActor(testHost, "qwen2.5:0.5b"), "arbiter": messages.ArbiterActor(),
	}[kind]
	j := &Journal{o: Options{Host: testHost, BootID: "boot-golden", MaxPayload: defaultMaxPayload}}
	m, err := j.message(Append{Actor: actor, Expected: heads[subjectOf(testHost, actor)], At: time.Unix(1700000000, int64(sequence)).UTC(),
		Events: []proto.Message{filled(t, name)}, Meta: messages.Meta{ID: "golden-" + itoa(sequence), Correlation: "req-1", Causation: "cause-1", Caller: "f00d"}})
	if err != nil {
		t.Fatal(err)
	}
	l := goldenLine{Subject: m.Subject, Sequence: sequence, Headers: map[string]string{}, Types: []string{name}, Body: base64.StdEncoding.EncodeToString(m.Data)}
	for k := range m.Header {
		l.Headers[k] = m.Header[k][0]
	}
	return l
}

// filled is an event of this type with something in every field.
func filled(t *testing.T, name string) proto.Message {
	t.Helper()
	d := &messages.Decision{Events: []*messages.Event{{Type: name, Version: 1}}}
	events, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	fillFields(events[0].ProtoReflect(), 3)
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
