package explain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	"modelops/messages"
)

// actorNames are few, so that random events meet.
var actorNames = []string{m("a"), m("b"), m("c"), dev("sim0"), dev("sim1"), "arbiter", "host/main_pc", ""}

var someWords = []string{"", "p1", "p2", "stopped", "relief/3", m("a"), m("b"), m("c"), dev("sim0"), dev("sim1"), "GPU_UNAVAILABLE", "Insufficient GPU memory: required 99999999999999999999MB", "required 5MB",
	"cost_aware", "model/*/a", "\x00\xff", "%d", "client/x"}

// fill puts random values into a message; half of the fields stay empty, nested messages too.
func fill(t *rapid.T, msg protoreflect.Message, depth int) {
	fields := msg.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsMap() || rapid.Bool().Draw(t, "empty") {
			continue
		}
		if f.IsList() {
			list := msg.Mutable(f).List()
			for range rapid.IntRange(0, 3).Draw(t, "n") {
				if f.Kind() == protoreflect.MessageKind {
					e := list.NewElement()
					if depth > 0 {
						fill(t, e.Message(), depth-1)
					}
					list.Append(e)
				} else {
					list.Append(scalar(t, f))
				}
			}
			continue
		}
		if f.Kind() == protoreflect.MessageKind {
			if depth > 0 {
				fill(t, msg.Mutable(f).Message(), depth-1)
			}
			continue
		}
		msg.Set(f, scalar(t, f))
	}
}

func scalar(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.SampledFrom(someWords).Draw(t, "word"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.SampledFrom([]uint64{0, 1, 2, 5 * mb, 24000 * mb, math.MaxUint64}).Draw(t, "u64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.SampledFrom([]uint32{0, 1, 30, math.MaxUint32}).Draw(t, "u32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.SampledFrom([]int64{-1, 0, 1, 1500, math.MaxInt64, math.MinInt64}).Draw(t, "i64"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.SampledFrom([]int32{-1, 0, 1}).Draw(t, "i32"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(rapid.SampledFrom([]protoreflect.EnumNumber{0, 1, 2, 99}).Draw(t, "enum"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.SampledFrom([]float64{0, 1.5, math.Inf(1), math.NaN()}).Draw(t, "f64"))
	}
	panic(fmt.Sprintf("no random value for %s", f.FullName()))
}

// eventTypes are all events that a journal can hold.
var eventTypes = func() (out []protoreflect.MessageType) {
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		switch m.Zero().Interface().(type) {
		case messages.ModelEvent, messages.GPUEvent, messages.ArbiterEvent, messages.HostEvent:
			out = append(out, m)
		}
		return true
	})
	slices.SortFunc(out, func(a, b protoreflect.MessageType) int {
		return cmp.Compare(a.Descriptor().Name(), b.Descriptor().Name())
	})
	return out
}()

func randomEvent(t *rapid.T) proto.Message {
	msg := rapid.SampledFrom(eventTypes).Draw(t, "event").New()
	fill(t, msg, 3)
	return msg.Interface()
}

// Whatever a journal holds, in whatever order: an explanation has words for it, never a panic, and never more than its bounds.
func TestAnyJournalIsExplained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []messages.Recorded
		at := start
		for n := range rapid.IntRange(0, 60).Draw(t, "decisions") {
			var actor messages.ActorID
			if name := rapid.SampledFrom(actorNames).Draw(t, "actor"); name != "" {
				actor, _ = messages.ParseActorID(name)
			}
			r := messages.Recorded{Actor: actor, Sequence: uint64(n + 1), ID: rapid.SampledFrom(someWords).Draw(t, "id"), At: at,
				Meta: messages.Meta{Correlation: rapid.SampledFrom(someWords).Draw(t, "correlation")}}
			for range rapid.IntRange(0, 2).Draw(t, "events") {
				r.Events = append(r.Events, randomEvent(t))
			}
			records = append(records, r)
			at = at.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "pause")) * time.Second)
		}
		p := Present{Now: at, Tries: rapid.IntRange(0, 3).Draw(t, "tries")}
		request := Request{ID: "p1", Asked: "a", Model: messages.ModelActor("main_pc", "a"), Began: start, Code: messages.Code(rapid.Uint32Range(0, 24).Draw(t, "code"))}
		if rapid.Bool().Draw(t, "granted") {
			request.Granted = at
		}
		for _, q := range []Question{{Subject: "a", Model: messages.ModelActor("main_pc", "a")}, {Subject: "p1", ID: "p1"}, {Subject: "relief/3", ID: "relief/3"},
			{Subject: "p1", ID: "p1", Request: &request, Model: request.Model}} {
			e, err := why(q, records, p)
			switch {
			case err != nil && messages.CodeOf(err) != messages.NotFound:
				t.Fatal(err)
			case err == nil && (e.Summary == "" || e.Kind == "" || len(e.Reasons) > keep+3 || len(e.WouldChange) > most):
				t.Fatalf("%d reasons, %d changes: %s", len(e.Reasons), len(e.WouldChange), e.Summary)
			}
			if q.Model != (messages.ActorID{}) && err != nil {
				t.Fatalf("a model that exists is always explained: %v", err)
			}
		}
	})
}

// A story that only others have part in leaves an explanation as it was, but for the time that passes and for the ledgers it shares.
func TestStrangersDoNotMatter(t *testing.T) {
	s := evicted()
	p := s.present()
	want := plain(whyModel(messages.ModelActor("main_pc", "a"), s.records, p))
	for n := range 5 * keep {
		s.tell(m("stranger"), &messages.ModelWanted{Reason: "x", Attempt: uint64(n)})
		s.tell("arbiter", &messages.PlacementPostponed{Holder: m("stranger"), Claim: fmt.Sprint(n), Reason: "x"})
		s.tell(dev("sim1"), &messages.VramReserved{Lease: fmt.Sprint(n), Holder: "client/x", Bytes: 1})
	}
	if got := plain(whyModel(messages.ModelActor("main_pc", "a"), s.records, p)); got != want {
		t.Errorf("%s\nbecame\n%s", want, got)
	}
}

func TestSubject(t *testing.T) {
	tiny := messages.ModelActor("main_pc", "tiny")
	resolve := func(name string) (messages.ActorID, bool) {
		return map[string]messages.ActorID{"tiny": tiny, "small": tiny, "lease/x": messages.ModelActor("main_pc", "lease/x")}[name], name == "tiny" || name == "small" || name == "lease/x"
	}
	remember := func(id string) (Request, bool) { return Request{ID: id, Model: tiny}, id == "r1" || id == "tiny" }
	for subject, want := range map[string]Question{
		"tiny":               {Subject: "tiny", Model: tiny},
		" small ":            {Subject: "small", Model: tiny},
		"model/tiny":         {Subject: "model/tiny", Model: tiny},
		"model/main_pc/tiny": {Subject: "model/main_pc/tiny", Model: tiny},
		"model/pc2/tiny":     {Subject: "model/pc2/tiny", ID: "model/pc2/tiny"},                      // another host's
		"lease/x":            {Subject: "lease/x", Model: messages.ModelActor("main_pc", "lease/x")}, // a model's name comes first
		"lease/y":            {Subject: "lease/y", ID: "y"},
		"placement/r1":       {Subject: "placement/r1", ID: "r1"},
		"r1":                 {Subject: "r1", ID: "r1", Model: tiny, Request: &Request{ID: "r1", Model: tiny}},
		"request/tiny":       {Subject: "request/tiny", ID: "tiny", Model: tiny, Request: &Request{ID: "tiny", Model: tiny}},
		"r2":                 {Subject: "r2", ID: "r2"},
		"request/":           {Subject: "request/", ID: "request/"},
	} {
		got, err := Subject(subject, resolve, remember)
		if err != nil || got.Subject != want.Subject || got.ID != want.ID || got.Model != want.Model || (got.Request == nil) != (want.Request == nil) {
			t.Errorf("%q: %+v, %v", subject, got, err)
		}
	}
	if _, err := Subject("  ", nil, nil); messages.CodeOf(err) != messages.InvalidArgument {
		t.Error(err)
	}
}
