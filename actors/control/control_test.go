package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/explain"
	"modelops/actors/host"
	"modelops/actors/view"
	"modelops/messages"
)

// house is a host whose actors answer as the test says, with the real view of them.
type house struct {
	*Control
	view *view.Projection
	end  func() // of the daemon's life
	// obey answers a command; nil answers nothing. Afterwards, when it isn't refused, what happens later.
	obey      func(to messages.ActorID, m proto.Message) (messages.Reply, error)
	asked     []string
	live      []messages.ActorID
	mu        sync.Mutex
	queued    []*messages.ModelView // what the gateway shows
	ended     []string              // models whose loads ended
	ids       int
	sequence  uint64
	questions []explain.Question
	decisions []messages.Recorded
}

// needs estimates a model's need by its path.
type needs struct{}

func (needs) Need(_ context.Context, spec *messages.ModelSpec) (*messages.Need, error) {
	if spec.Path == "/gone.gguf" {
		return nil, messages.NewError(messages.InvalidArgument, spec.Path, "the file isn't there")
	}
	if spec.VramBytes > 0 {
		return &messages.Need{Bytes: uint64(len(spec.Path)), Source: messages.Need_declared}, nil
	}
	return &messages.Need{Bytes: uint64(len(spec.Path)), Source: messages.Need_estimated}, nil
}

func (h *house) Ask(_ context.Context, to messages.ActorID, m proto.Message) (messages.Reply, error) {
	h.mu.Lock()
	h.asked = append(h.asked, to.String()+" "+string(m.ProtoReflect().Descriptor().Name()))
	h.mu.Unlock()
	if h.obey == nil {
		return messages.Reply{}, nil
	}
	return h.obey(to, m)
}
func (h *house) Tell(ctx context.Context, to messages.ActorID, m proto.Message) {
	_, _ = h.Ask(ctx, to, m)
}
func (h *house) Models() []*messages.ModelView {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queued
}

// queues replaces what the gateway shows.
func (h *house) queues(models ...*messages.ModelView) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queued = models
}
func (h *house) Queue() *messages.QueueView              { return &messages.QueueView{Active: 3} }
func (h *house) AwaitCalm(context.Context, string) error { return nil }
func (h *house) EndLoads(model string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, model)
}
func (h *house) Cancel(id string, by messages.Principal) (found, others bool) {
	return id == "runs", id == "another's" && !by.May(messages.Role_OPERATE)
}
func (h *house) Health() messages.Health {
	return messages.Health{OldestUndecided: 2 * time.Second, JournalLag: 7, Reasons: []string{"slow"}}
}

// Ensure is a gateway in short: it asks the model's actor and waits for its view.
func (h *house) Ensure(ctx context.Context, name string, _ time.Time) error {
	id := messages.ModelActor("h", name)
	before := h.view.Model(id).GetAttempt()
	if _, err := h.Ask(ctx, id, &messages.EnsureModel{}); err != nil {
		return err
	}
	v, err := h.view.AwaitModel(ctx, id, func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_ready || v.Phase == messages.ModelView_failed && v.Attempt > before || !v.Wanted
	})
	switch {
	case err != nil:
		return err
	case v.Phase == messages.ModelView_failed:
		return loadError(v)
	case v.Phase != messages.ModelView_ready:
		return unloaded(v)
	}
	return nil
}

func open() *house {
	life, end := context.WithCancelCause(context.Background())
	h := &house{view: view.New(view.Options{}), end: func() { end(messages.NewError(messages.Unavailable, "h", "the daemon is stopping")) }}
	h.Control = New(Options{Life: life, Host: "h", Version: "v", Door: h, View: h.view, Gateway: h, Now: func() time.Time { return time.UnixMilli(1000) },
		Memory: Memory{Host: "h", Door: h, Views: h.view, Estimate: needs{}, NewID: func() string { h.ids++; return fmt.Sprint(h.ids) }, Line: &Line{},
			Classes: func() ([]string, string) { return []string{"interactive", "normal", "batch"}, "normal" }},
		Sequence: func() uint64 { return 77 }, Actors: func() []messages.ActorID { return h.live }, Requests: remember(),
		SpecOf: func(name, path string, shards int) (*messages.ModelSpec, error) {
			if strings.HasPrefix(path, "?") {
				return nil, messages.NewError(messages.InvalidArgument, path, "the path can't be resolved")
			}
			return &messages.ModelSpec{Name: name, Path: path, Shards: uint32(shards)}, nil
		},
		Replay: func(_ context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
			for _, d := range h.decisions {
				if d.Sequence > after && (actor.Kind == "" || actor == d.Actor) {
					if err := fn(d); err != nil {
						return err
					}
				}
			}
			return nil
		},
		Config: func() (*messages.ConfigView, error) { return &messages.ConfigView{Revision: "r"}, nil },
		Explain: func(_ context.Context, q explain.Question) (*messages.Explanation, error) {
			h.questions = append(h.questions, q)
			if q.Subject == "tinny" {
				return nil, messages.NewError(messages.NotFound, q.Subject, "nothing is known").WithHint("look it up")
			}
			return &messages.Explanation{Subject: q.Subject}, nil
		}})
	return h
}

// shows feeds the view with the next decision of a model.
func (h *house) shows(v *messages.ModelView) {
	h.sequence++
	v.Id, v.Host = "model/h/"+v.Name, "h"
	h.view.StateChanged(messages.ModelActor("h", v.Name), h.sequence, v)
}

// device feeds the view with the ledger of a device.
func (h *house) device(name string, reservations ...*messages.Reservation) {
	h.sequence++
	id := messages.GPUActor("h", name)
	h.view.StateChanged(id, h.sequence, &messages.GpuView{Id: id.String(), Device: name, CapacityBytes: 1, Reservations: reservations})
}

// tiny is declared, with an alias.
func tiny(phase messages.ModelView_Phase, attempt uint64) *messages.ModelView {
	return &messages.ModelView{Name: "tiny", Phase: phase, Attempt: attempt, Wanted: phase != messages.ModelView_absent, MeasuredBytes: 5 * messages.MiB,
		Spec: &messages.ModelSpec{Name: "tiny", Path: "/tiny.gguf", Aliases: []string{"small"}}}
}

func is(t *testing.T, err error, code messages.Code, subject, text string) {
	t.Helper()
	e := messages.AsError(err)
	if messages.CodeOf(err) != code || e != nil && (e.Subject != subject || !strings.Contains(e.Message, text)) {
		t.Errorf("failed with %v of %q (%v), want %v of %q: %s", messages.CodeOf(err), e.Subject, err, code, subject, text)
	}
}

// Status, Queue and Swaps show what is known; a host that never spoke is no error.
func TestStatus(t *testing.T) {
	h := open()
	h.queued = []*messages.ModelView{{Name: "tiny", Queued: 2}}
	h.device("gpu0")
	h.view.SetReading(messages.GPUActor("h", "gpu0"), &messages.DeviceReading{UsedBytes: 9})
	if s, err := h.GetStatus(t.Context(), nil); err != nil || s.Host != nil || s.JournalSequence != 77 || s.Version != "v" || s.Models[0].Queued != 2 || s.Gpus[0].Reading.GetUsedBytes() != 9 {
		t.Errorf("%v, %v", s, err)
	}
	if v, err := h.GetHealth(t.Context(), nil); err != nil || v.Ok || v.OldestUndecidedMs != 2000 || v.JournalLag != 7 || v.Reasons[0] != "slow" {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := h.GetVersion(t.Context(), nil); err != nil || v.Version != "v" || v.Host != "h" {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := h.GetConfig(t.Context(), nil); err != nil || v.Revision != "r" {
		t.Errorf("%v, %v", v, err)
	}
	h.queued = append(h.queued, &messages.ModelView{Name: "a", Phase: messages.ModelView_ready}, &messages.ModelView{Name: "b", Phase: messages.ModelView_absent})
	if v, err := h.ListResident(t.Context(), nil); err != nil || len(v.Models) != 1 || v.Models[0].Name != "a" {
		t.Errorf("%v, %v", v, err)
	}
	for id, want := range map[string]bool{"runs": true, "ended": false} {
		if v, err := h.CancelRequest(t.Context(), &messages.CancelRequestRequest{RequestId: id}); err != nil || v.Cancelled != want || v.RequestId != id {
			t.Errorf("%v, %v", v, err)
		}
	}
	_, err := h.CancelRequest(t.Context(), &messages.CancelRequestRequest{})
	is(t, err, messages.InvalidArgument, "request_id", "empty")
	if q, err := h.GetQueue(t.Context(), nil); err != nil || q.Active != 3 {
		t.Errorf("%v, %v", q, err)
	}
	if l, err := h.ListSwaps(t.Context(), nil); err != nil || len(l.Routes) != 0 {
		t.Errorf("%v, %v", l, err)
	}
	h.view.StateChanged(messages.HostActor("h"), 1, &messages.HostView{BootId: "b", Routes: []*messages.Route{{Name: "chat"}}})
	if s, _ := h.GetStatus(t.Context(), nil); s.Host.GetBootId() != "b" {
		t.Errorf("%v", s)
	}
	if l, _ := h.ListSwaps(t.Context(), nil); len(l.Routes) != 1 {
		t.Errorf("%v", l)
	}
}

// A rollout is the host's to decide; its refusal is the operation's, and another answer than its own is a bug.
func TestSwapsAskTheHost(t *testing.T) {
	refused := messages.NewError(messages.FailedPrecondition, "host/h", "a rollout runs already")
	for name, ask := range map[string]func(*house) (*messages.SwapReply, error){
		"SwapModel": func(h *house) (*messages.SwapReply, error) { return h.StartSwap(t.Context(), &messages.SwapModel{}) },
		"PromoteSwap": func(h *house) (*messages.SwapReply, error) {
			return h.PromoteSwap(t.Context(), &messages.PromoteSwap{Name: "chat"})
		},
		"RollbackSwap": func(h *house) (*messages.SwapReply, error) {
			return h.RollbackSwap(t.Context(), &messages.RollbackSwap{Name: "chat"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
				return messages.Reply{Answer: &messages.SwapReply{Id: "s"}}, nil
			}
			if r, err := ask(h); err != nil || r.Id != "s" || h.asked[0] != "host/h "+name {
				t.Errorf("%v, %v, asked %q", r, err, h.asked)
			}
			h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) { return messages.Reply{}, refused }
			if _, err := ask(h); !errors.Is(err, refused) {
				t.Errorf("%v", err)
			}
			h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
				return messages.Reply{Answer: &messages.Done{}}, nil
			}
			if _, err := ask(h); messages.CodeOf(err) != messages.Internal {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestApplyConfig(t *testing.T) {
	h := open()
	_, err := h.ApplyConfig(t.Context(), &messages.ApplyConfigRequest{})
	is(t, err, messages.FailedPrecondition, "configuration", "in no file")
	bad := errors.New("line 3: no")
	h.o.Reconciler = &host.Reconciler{Host: "h", Door: h, View: h.view}
	h.o.Reread = func() (host.Configuration, error) { return host.Configuration{}, bad }
	if _, err = h.ApplyConfig(t.Context(), &messages.ApplyConfigRequest{}); !errors.Is(err, bad) || h.asked != nil {
		t.Errorf("%v, asked %q", err, h.asked)
	}
	is(t, err, messages.InvalidArgument, "configuration", "nothing was changed: line 3: no")
	h.o.Reread = func() (host.Configuration, error) {
		return host.Configuration{Revision: "r", Specs: []*messages.ModelSpec{{Name: "m"}}, Rule: func() {}}, nil
	}
	if done, err := h.ApplyConfig(t.Context(), &messages.ApplyConfigRequest{DryRun: true}); err != nil || done.Revision != "r" || len(done.Changes) != 1 || h.asked != nil {
		t.Errorf("%v, %v, asked %q", done, err, h.asked)
	}
	if done, err := h.ApplyConfig(t.Context(), &messages.ApplyConfigRequest{}); err != nil || done.DryRun || h.asked[1] != "model/h/m DeclareModel" {
		t.Errorf("%v, %v, asked %q", done, err, h.asked)
	}
}

// A subject is a model by name or alias, a request that is remembered, or an id that only the journal may know.
func TestWhy(t *testing.T) {
	h := open()
	h.shows(tiny(messages.ModelView_ready, 1))
	m := h.o.Requests.Begin(as("r1"), "small")
	m.Granted(atTiny)
	h.o.Requests.Begin(as("r2"), "unheard of")
	for subject, want := range map[string]struct{ model, request string }{
		"tiny": {"model/h/tiny", ""}, "small": {"model/h/tiny", ""}, "r1": {"", "model/h/tiny"}, "r2": {"", ""}, "p-1": {"", ""},
	} {
		h.questions = nil
		if e, err := h.Why(t.Context(), &messages.WhyRequest{Subject: subject}); err != nil || e.Subject != subject {
			t.Fatalf("%s: %v, %v", subject, e, err)
		}
		q := h.questions[0]
		if want.model != "" && q.Model.String() != want.model {
			t.Errorf("%s is about %v", subject, q.Model)
		}
		if want.request != "" && (q.Request == nil || q.Request.Model.String() != want.request) {
			t.Errorf("%s is about %+v", subject, q.Request)
		}
		if remembered := strings.HasPrefix(subject, "r"); remembered != (q.Request != nil) {
			t.Errorf("%s: %+v", subject, q.Request)
		}
	}
	_, err := h.Why(t.Context(), &messages.WhyRequest{})
	is(t, err, messages.InvalidArgument, "subject", "empty")
	_, err = h.Why(t.Context(), &messages.WhyRequest{Subject: "tinny"})
	is(t, err, messages.NotFound, "tinny", "nothing is known")
	if e := (*messages.Error)(nil); !errors.As(err, &e) || e.Hint != `did you mean "tiny"? look it up` {
		t.Errorf("%v", e)
	}
}

// What names nothing is refused at every door with the same error, before any actor is asked.
func TestNamesNothing(t *testing.T) {
	for name, ask := range map[string]func(*house) error{
		"PromoteSwap":  func(h *house) error { _, err := h.PromoteSwap(t.Context(), &messages.PromoteSwap{}); return err },
		"RollbackSwap": func(h *house) error { _, err := h.RollbackSwap(t.Context(), &messages.RollbackSwap{}); return err },
		"HintModel":    func(h *house) error { _, err := h.HintModel(t.Context(), &messages.HintModelRequest{}); return err },
		"CancelRequest": func(h *house) error {
			_, err := h.CancelRequest(t.Context(), &messages.CancelRequestRequest{})
			return err
		},
	} {
		h := open()
		if err := ask(h); messages.CodeOf(err) != messages.InvalidArgument || len(h.asked) > 0 {
			t.Errorf("%s: %v, asked %q", name, err, h.asked)
		}
	}
}
