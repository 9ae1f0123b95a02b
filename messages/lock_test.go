package messages

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The schema of the journal only grows: what a released build wrote is read for ever.
func TestJournalSchemaOnlyGrows(t *testing.T) {
	holdLock(t, "testdata/journal.lock", journalSchema(), "journals that hold it can't be read any more")
}

// The public service only grows: clients and stubs of every release go on.
func TestServiceOnlyGrows(t *testing.T) {
	holdLock(t, "testdata/service.lock", serviceSchema(), "clients that use it break")
}

// holdLock compares a lock file with the schema. Each line of the file must be in the schema. Lines that the schema has beyond are new: they
// are locked with -update (make freeze), which removes nothing.
func holdLock(t *testing.T, path string, now []string, harm string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	locked := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(b) == 0 {
		locked = nil
	}
	for _, line := range brokenLocks(locked, now) {
		t.Errorf("%s: %s\n    Rule: names, numbers and types are only added. Reason: %s. Instead: add a new one beside it; "+
			"what a field of an event means changes with a new version and an upcaster (upcast.go).", path, line, harm)
	}
	if t.Failed() || slices.Equal(locked, now) {
		return
	}
	if !*update {
		t.Fatalf("%s: the schema has grown; make freeze locks it", path)
	}
	if err := os.WriteFile(path, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// brokenLocks says which locked lines are gone, and what stands in their place. A line begins with what it locks, up to " = ".
func brokenLocks(locked, now []string) (broken []string) {
	present := map[string]string{}
	for _, line := range now {
		key, value, _ := strings.Cut(line, " = ")
		present[key] = value
	}
	for _, line := range locked {
		key, value, _ := strings.Cut(line, " = ")
		switch is, ok := present[key]; {
		case !ok:
			broken = append(broken, key+" is gone, it was "+cmp.Or(value, "there"))
		case is != value:
			broken = append(broken, fmt.Sprintf("%s was %s and is %s", key, value, is))
		}
	}
	return broken
}

// schema collects the lines of a lock.
type schema struct {
	lines []string
	seen  map[protoreflect.FullName]bool
}

func journalSchema() []string {
	s := &schema{seen: map[protoreflect.FullName]bool{}}
	s.message(new(Decision).ProtoReflect().Descriptor())
	for _, e := range eventTypes {
		kind, _, _ := strings.Cut(e.name, ".")
		if _, err := os.Stat("../actors/" + kind); err != nil { // its room isn't built yet: nothing writes it
			continue
		}
		d := e.make().ProtoReflect().Descriptor()
		for v := range e.version {
			s.add("event %s version %d = %s", e.name, v+1, d.FullName())
		}
		s.message(d)
	}
	return s.sorted()
}

func serviceSchema() []string {
	s := &schema{seen: map[protoreflect.FullName]bool{}}
	services := File_operations_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			s.method(methods.Get(j))
		}
	}
	return s.sorted()
}

func (s *schema) add(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *schema) sorted() []string {
	slices.Sort(s.lines)
	return s.lines
}

// message adds the fields of a message, and all messages and enums that they use.
func (s *schema) message(m protoreflect.MessageDescriptor) {
	if s.seen[m.FullName()] || !strings.HasPrefix(string(m.FullName()), "modelops.") {
		return
	}
	s.seen[m.FullName()] = true
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		kind := f.Kind().String()
		switch {
		case f.Enum() != nil:
			kind = string(f.Enum().FullName())
			s.enum(f.Enum())
		case f.Message() != nil && !f.IsMap():
			kind = string(f.Message().FullName())
			s.message(f.Message())
		case f.IsMap():
			kind = fmt.Sprintf("map of %s to %s", f.MapKey().Kind(), f.MapValue().Kind())
			if v := f.MapValue().Message(); v != nil {
				kind = fmt.Sprintf("map of %s to %s", f.MapKey().Kind(), v.FullName())
				s.message(v)
			}
		}
		// A list of numbers is another encoding than one number, and a field with presence says more than one without.
		switch {
		case f.IsList():
			kind = "repeated " + kind
		case f.HasOptionalKeyword():
			kind = "optional " + kind
		}
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			kind += " in " + string(o.Name())
		}
		s.add("field %s %03d = %s %s", m.FullName(), f.Number(), f.Name(), kind)
	}
}

func (s *schema) enum(e protoreflect.EnumDescriptor) {
	if s.seen[e.FullName()] {
		return
	}
	s.seen[e.FullName()] = true
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		s.add("enum %s %03d = %s", e.FullName(), v.Number(), v.Name())
	}
}

// method adds an rpc with its messages, its NATS subject and its HTTP routes.
func (s *schema) method(m protoreflect.MethodDescriptor) {
	name := string(m.Name())
	in, out := string(m.Input().FullName()), string(m.Output().FullName())
	if m.IsStreamingClient() {
		in = "stream " + in
	}
	if m.IsStreamingServer() {
		out = "stream " + out
	}
	s.add("rpc %s = %s -> %s", name, in, out)
	s.message(m.Input())
	s.message(m.Output())
	if o, ok := OperationNamed(name); ok && o.NATS != "" {
		s.add("nats modelops.v1.%s = %s %s", o.NATS, name, cmp.Or(o.NATSName, "-"))
	}
	if rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule); ok && rule != nil {
		for _, r := range append([]*annotations.HttpRule{rule}, rule.AdditionalBindings...) {
			s.route(name, r)
		}
	}
}

func (s *schema) route(name string, r *annotations.HttpRule) {
	for verb, path := range map[string]string{"GET": r.GetGet(), "PUT": r.GetPut(), "POST": r.GetPost(), "DELETE": r.GetDelete(), "PATCH": r.GetPatch()} {
		if path != "" {
			s.add("http %s %s = %s body %s", verb, path, name, cmp.Or(r.Body, "-"))
		}
	}
}

// Each change that would break a reader is seen, and growth is not.
func TestLockSeesEveryBreakingChange(t *testing.T) {
	locked := []string{"enum modelops.X 001 = ready", "event model.ready version 1 = modelops.ModelReady", "field modelops.X 001 = attempt uint64"}
	for _, c := range []struct {
		name string
		now  []string
		want string
	}{
		{"grown", append(slices.Clone(locked), "field modelops.X 002 = note string"), ""},
		{"removed", locked[:2], "field modelops.X 001 is gone, it was attempt uint64"},
		{"renumbered", []string{locked[0], locked[1], "field modelops.X 002 = attempt uint64"}, "field modelops.X 001 is gone, it was attempt uint64"},
		{"retyped", []string{locked[0], locked[1], "field modelops.X 001 = attempt string"}, "field modelops.X 001 was attempt uint64 and is attempt string"},
		{"renamed", []string{"enum modelops.X 001 = up", locked[1], locked[2]}, "enum modelops.X 001 was ready and is up"},
		{"event renamed", []string{locked[0], "event model.up version 1 = modelops.ModelReady", locked[2]},
			"event model.ready version 1 is gone, it was modelops.ModelReady"},
	} {
		if got := strings.Join(brokenLocks(locked, c.now), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if j, s := len(journalSchema()), len(serviceSchema()); j < 300 || s < 300 {
		t.Errorf("the locks hold %d and %d lines only: they have come to match nothing", j, s)
	}
}
