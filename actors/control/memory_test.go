package control

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

func needing(name, path string, remembered uint64) *messages.ModelView {
	return &messages.ModelView{Name: name, Spec: &messages.ModelSpec{Name: name, Path: path, Groups: []string{"g"}}, RememberedBytes: remembered}
}

// A model's need is what its host remembers, else the estimate from its file; a figure of the caller overrules both.
func TestHintModel(t *testing.T) {
	remembered := needing("m", "/m.gguf", 90)
	for name, c := range map[string]struct {
		model *messages.ModelView
		ask   *messages.HintModelRequest
		bytes uint64
		code  messages.Code
	}{
		"remembered": {remembered, &messages.HintModelRequest{ModelName: "m"}, 90, 0},
		"estimated":  {needing("m", "/m.gguf", 0), &messages.HintModelRequest{ModelName: "m"}, 7, 0},
		"said":       {remembered, &messages.HintModelRequest{ModelName: "m", Bytes: 5}, 5, 0},
		"no file":    {needing("m", "/gone.gguf", 0), &messages.HintModelRequest{ModelName: "m"}, 0, messages.InvalidArgument},
		"unknown":    {remembered, &messages.HintModelRequest{ModelName: "other"}, 0, messages.ModelNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			h.shows(c.model)
			h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
				p := m.(*messages.HintPlacement)
				if to != messages.ArbiterActor() || p.Holder != "model/*/m" || len(p.Needs) != 1 || p.Needs[0].Host != "h" || p.Needs[0].Bytes != c.bytes || p.WithinSeconds != c.ask.WithinSeconds {
					t.Errorf("%v is asked %v", to, p)
				}
				return messages.Reply{Answer: &messages.HintReply{Gpu: "gpu/h/gpu0"}}, nil
			}
			r, err := h.HintModel(t.Context(), c.ask)
			if messages.CodeOf(err) != c.code || err == nil && r.Gpu != "gpu/h/gpu0" {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
}

// A refusal because of pins passes as it is, under the name of this host's model, and isn't noted at the model's actor: each request would be an event.
func TestPlaceHeldByPins(t *testing.T) {
	h := open()
	h.shows(needing("m", "/m.gguf", 90))
	h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
		return messages.Reply{}, messages.NewError(messages.FailedPrecondition, "model/*/m", "pinned models leave it no place").WithRetry(time.Minute)
	}
	_, err := h.o.Memory.Place(t.Context(), pool.Seek{Name: "m", Waited: 0})
	if e := messages.AsError(err); e == nil || e.Code != messages.FailedPrecondition || e.Subject != "model/h/m" || e.Retry != time.Minute {
		t.Errorf("refused with %v", err)
	}
	if len(h.asked) != 1 {
		t.Errorf("asked %v", h.asked)
	}
}

// A load by hand is recorded as one; a request is what a placement is for that says nothing.
func TestPlaceSaysWhy(t *testing.T) {
	h, reason := open(), ""
	h.shows(needing("m", "/m.gguf", 90))
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		reason = m.(*messages.RequestPlacement).Reason
		return messages.Reply{Answer: &messages.PlacementReply{}}, nil
	}
	for _, c := range []struct {
		byHand bool
		want   string
	}{{false, ""}, {true, "asked to load it"}} {
		if got, err := h.o.Memory.Place(t.Context(), pool.Seek{Name: "m", ByHand: c.byHand}); got != pool.Placed || err != nil || reason != c.want {
			t.Errorf("by hand %t: %v, %v, %q", c.byHand, got, err, reason)
		}
	}
}

// The answer of an arbiter that had nothing to do is empty; its refusal is the operation's.
func TestDefrag(t *testing.T) {
	h := open()
	h.shows(needing("m", "/m.gguf", 0))
	var asked []*messages.PlanDefrag
	var answer proto.Message = &messages.DefragPlan{Id: "d"}
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		asked = append(asked, m.(*messages.PlanDefrag))
		return messages.Reply{Answer: answer}, nil
	}
	if p, err := h.Defrag(t.Context(), &messages.DefragRequest{Apply: true}); err != nil || p.Id != "d" || !asked[0].Apply || len(asked[0].Needs) != 0 {
		t.Errorf("%v, %v, asked %v", p, err, asked)
	}
	if _, err := h.Defrag(t.Context(), &messages.DefragRequest{NeedBytes: 5}); err != nil || asked[1].Needs[0].Bytes != 5 || asked[1].Holder != "" {
		t.Errorf("%v, asked %v", err, asked)
	}
	answer = &messages.Done{}
	if p, err := h.Defrag(t.Context(), &messages.DefragRequest{ModelName: "m"}); err != nil || p.Id != "" || asked[2].Needs[0].Bytes != 7 || asked[2].Holder != "model/*/m" {
		t.Errorf("%v, %v, asked %v", p, err, asked)
	}
	_, err := h.Defrag(t.Context(), &messages.DefragRequest{ModelName: "other"})
	is(t, err, messages.ModelNotFound, "model/h/other", "")
	full := messages.NewError(messages.GPUUnavailable, "arbiter", "full")
	h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { return messages.Reply{}, full }
	_, err = h.Defrag(t.Context(), &messages.DefragRequest{})
	is(t, err, messages.GPUUnavailable, "arbiter", "full")
}

func TestListHints(t *testing.T) {
	h := open()
	h.view.StateChanged(messages.ArbiterActor(), 1, &messages.ArbiterView{Hints: []*messages.HintReply{{Model: "over", UntilMs: 999}, {Model: "m", UntilMs: 1001}}})
	if l, err := h.ListHints(t.Context(), nil); err != nil || len(l.Hints) != 1 || l.Hints[0].Model != "m" {
		t.Errorf("%v, %v", l, err)
	}
}

// A pin has the owner that the request names, else the caller, else "somebody"; the reply shows the model's pin afterwards.
func TestPins(t *testing.T) {
	caller := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "key"}})
	h := open()
	h.shows(tiny(messages.ModelView_ready, 1))
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		v, p := tiny(messages.ModelView_ready, 1), m.(*messages.PinModel)
		v.PinnedBy = p.Owner
		if p.TtlSeconds > 0 {
			v.PinnedUntilMs = int64(p.TtlSeconds) * 1000
		}
		h.shows(v)
		return messages.Reply{}, nil
	}
	if r, err := h.PinModel(caller, &messages.PinModelRequest{ModelName: "small", Owner: "me", TtlSeconds: 60}); err != nil || r.ModelName != "tiny" || r.PinnedBy != "me" || r.PinnedUntilMs != 60_000 {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := h.PinModel(caller, &messages.PinModelRequest{ModelName: "tiny"}); err != nil || r.PinnedBy != "key" || r.PinnedUntilMs != 0 {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := h.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "tiny"}); err != nil || r.PinnedBy != "somebody" {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := h.UnpinModel(t.Context(), &messages.UnpinModelRequest{ModelName: "tiny"}); err != nil || r.PinnedBy != "" {
		t.Errorf("%v, %v", r, err)
	}
	_, err := h.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "other"})
	is(t, err, messages.ModelNotFound, "model/h/other", "")
	_, err = h.UnpinModel(t.Context(), &messages.UnpinModelRequest{})
	is(t, err, messages.InvalidArgument, "model_name", "")
}

// Pages follow each other without a gap and end with the journal's last decision.
func TestReadJournal(t *testing.T) {
	h := open()
	tiny, other := messages.ModelActor("h", "tiny"), messages.ModelActor("h", "other")
	for n := uint64(1); n <= 250; n++ {
		d := messages.Recorded{Actor: tiny, Sequence: n, ID: "id", Meta: messages.Meta{Correlation: "r1"}, Events: []proto.Message{&messages.ModelWanted{Attempt: n}}}
		if n%10 == 0 {
			d.Actor = other
		}
		h.decisions = append(h.decisions, d)
	}
	h.decisions = append(h.decisions, messages.Recorded{Actor: tiny, Sequence: 251, Decision: &messages.Decision{Events: []*messages.Event{{Type: "model.from_the_future"}}}})
	h.o.Sequence = func() uint64 { return 251 }
	var sizes []int
	var after uint64
	for {
		page, err := h.ReadJournal(t.Context(), &messages.JournalRequest{After: after})
		if err != nil || page.LastSequence != 251 || page.Decisions[0].Sequence != after+1 {
			t.Fatalf("%v, %v", page, err)
		}
		sizes = append(sizes, len(page.Decisions))
		if after = page.NextAfter; after == page.LastSequence {
			if last := page.Decisions[len(page.Decisions)-1]; last.Events[0].Name != "model.from_the_future" || last.Events[0].Body != nil {
				t.Errorf("the last is %v", last)
			}
			break
		}
	}
	if !slices.Equal(sizes, []int{100, 100, 51}) {
		t.Errorf("pages of %v", sizes)
	}
	page, err := h.ReadJournal(t.Context(), &messages.JournalRequest{Actor: other.String(), Limit: 5})
	if err != nil || len(page.Decisions) != 5 || page.NextAfter != 50 || page.Decisions[0].Events[0].Name != "model.wanted" || page.Decisions[0].Correlation != "r1" {
		t.Errorf("%v, %v", page, err)
	}
	_, err = h.ReadJournal(t.Context(), &messages.JournalRequest{Actor: "what"})
	is(t, err, messages.InvalidArgument, "what", "")
}

// A model that only sleeping hosts declare waits for one that can be woken, and goes the usual way while a host that has it is there.
func TestARequestWakesAHost(t *testing.T) {
	h := open()
	h.view.StateChanged(messages.ModelActor("pc2", "m"), 1, &messages.ModelView{Id: "model/pc2/m", Host: "pc2", Name: "m", Spec: &messages.ModelSpec{Name: "m", Path: "m.gguf"}})
	away, woken := map[string]bool{"pc2": true}, 0
	h.Away = func(host string) bool { return away[host] }
	h.Wake = func(_ context.Context, host string, waited time.Duration) bool {
		woken++
		return host == "pc2" && waited == time.Minute
	}
	if got, err := h.Memory.Place(t.Context(), pool.Seek{Name: "m", Waited: time.Minute}); got != pool.Waits || messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), "host pc2, which declares it") || woken != 1 || len(h.asked) != 0 {
		t.Errorf("%v, %v, woken %d, asked %q", got, err, woken, h.asked)
	}
	away["pc2"] = false
	h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
		return messages.Reply{Answer: &messages.PlacementReply{Placement: &messages.Placement{}}}, nil
	}
	if got, err := h.Memory.Place(t.Context(), pool.Seek{Name: "m", Waited: time.Minute}); got != pool.Placed || err != nil || woken != 1 {
		t.Errorf("it is there: %v, %v, woken %d", got, err, woken)
	}
}

// A model whose only hosts can't be reached waits for as long as a restart takes; then its callers are told which hosts those are.
func TestOnlyHostsAway(t *testing.T) {
	h := open()
	h.view.StateChanged(messages.ModelActor("pc2", "m"), 1, &messages.ModelView{Id: "model/pc2/m", Host: "pc2", Name: "m", Spec: &messages.ModelSpec{Name: "m", Path: "m.gguf"}})
	h.Away = func(host string) bool { return host == "pc2" }
	for _, c := range []struct {
		waited time.Duration
		want   pool.PlaceAnswer
		again  time.Duration
	}{{0, pool.Waits, askAwake}, {awaitAway - 1, pool.Waits, askAwake}, {awaitAway, pool.Unanswered, 0}} {
		got, err := h.Memory.Place(t.Context(), pool.Seek{Name: "m", Waited: c.waited})
		if e := messages.AsError(err); got != c.want || e == nil || e.Code != messages.Unavailable || e.Retry != c.again || !strings.Contains(e.Message, "pc2 can't be reached, and no other host declares m") || len(h.asked) != 0 {
			t.Errorf("after %s: %v, %v, asked %q", c.waited, got, err, h.asked)
		}
	}
}

// While another host has another file under a name, this host's requests load its own, and the scheduler isn't asked for a name that may run elsewhere. A host
// that declares none is told what differs.
func TestPlaceOfADifferentFile(t *testing.T) {
	differ := messages.NewError(messages.FailedPrecondition, "m", "model m is another file on h than on pc2")
	for name, c := range map[string]struct {
		declared []string
		asked    messages.ActorID
		code     messages.Code
	}{
		"declared here": {[]string{"h", "pc2"}, messages.ModelActor("h", "m"), 0},
		"not here":      {[]string{"pc2", "pc3"}, messages.ActorID{}, messages.FailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			for _, host := range c.declared {
				v := needing("m", "/m.gguf", 90)
				v.Host = host
				h.view.StateChanged(messages.ModelActor(host, "m"), 1, v)
			}
			h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
				if _, ok := m.(*messages.EnsureModel); !ok || to != c.asked {
					t.Errorf("%v is asked %v", to, m)
				}
				return messages.Reply{}, nil
			}
			memory := h.o.Memory
			memory.Apart = func(_, host string) *messages.Error {
				if host == "h" {
					return nil
				}
				return differ
			}
			got, err := memory.Place(t.Context(), pool.Seek{Name: "m", Waited: 0})
			if messages.CodeOf(err) != c.code || err == nil && got != pool.Placed {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// A request for a model that looks for free memory on another host, to which it moves, has it wanted there; one that can't be reached isn't asked.
func TestPlaceOfAModelThatMoves(t *testing.T) {
	for name, c := range map[string]struct {
		phase messages.ModelView_Phase
		away  bool
		want  string
	}{
		"it looks for memory": {messages.ModelView_placing, false, "model/pc2/m EnsureModel"},
		"it loads":            {messages.ModelView_loading, false, "arbiter RequestPlacement"},
		"it is out of reach":  {messages.ModelView_placing, true, "arbiter RequestPlacement"},
	} {
		h := open()
		here, there := needing("m", "/m.gguf", 90), needing("m", "/m.gguf", 90)
		here.Host, there.Host, there.Phase, there.FreeOnly = "h", "pc2", c.phase, true
		h.view.StateChanged(messages.ModelActor("h", "m"), 1, here)
		h.view.StateChanged(messages.ModelActor("pc2", "m"), 1, there)
		h.Away = func(host string) bool { return c.away && host == "pc2" }
		asked := ""
		h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
			asked += to.String() + " " + string(m.ProtoReflect().Descriptor().Name())
			if e, ok := m.(*messages.EnsureModel); ok && (e.FreeOnly || !e.OnDemand) {
				t.Errorf("%s: asked %v", name, e)
			}
			return messages.Reply{Answer: &messages.PlacementReply{Placement: &messages.Placement{}}}, nil
		}
		if got, err := h.Memory.Place(t.Context(), pool.Seek{Name: "m", Waited: 0}); got != pool.Placed || err != nil || asked != c.want {
			t.Errorf("%s: %v, %v, asked %q, want %q", name, got, err, asked, c.want)
		}
	}
}
