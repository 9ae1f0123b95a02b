package control

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/actors/explain"
	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// otherHosts is a cluster in which pc2 answers.
type otherHosts struct {
	asked []string
	cut   bool
	lease func(request proto.Message) (proto.Message, error) // answers about leases; nil = it can't be reached
}

func (o *otherHosts) Has(host string) bool { return host == "pc2" }

func (o *otherHosts) Reached(host string) bool { return o.Has(host) && !o.cut }

func (o *otherHosts) Call(_ context.Context, host, operation string, request proto.Message) (proto.Message, error) {
	o.asked = append(o.asked, host+" "+operation)
	switch operation {
	case "GetState":
		return &messages.StateReply{Sequence: 9}, nil
	case "CancelRequest":
		return &messages.CancelRequestReply{Cancelled: true}, nil
	case "Why":
		w := request.(*messages.WhyRequest)
		o.asked[len(o.asked)-1] += " " + w.Subject + " at " + w.Host
		if o.cut {
			break
		}
		if w.Subject == "forgotten" {
			return nil, messages.NewError(messages.NotFound, w.Subject, "nothing is known")
		}
		return &messages.Explanation{Subject: w.Subject, Host: "pc2", SaidBy: "pc2"}, nil
	case "StartSwap", "PromoteSwap":
		return &messages.SwapReply{}, nil
	case "SendCommand":
		return &messages.SendReply{Sequence: 8}, nil
	case "ReleaseGpuLease", "RenewGpuLease":
		if o.lease != nil {
			return o.lease(request)
		}
	}
	if r, ok := request.(interface{ GetHost() string }); ok && !o.cut {
		op, _ := messages.OperationNamed(operation)
		o.asked[len(o.asked)-1] += " at " + r.GetHost()
		return op.Answer(), nil
	}
	return nil, messages.NewError(messages.Unavailable, "host "+host, "it can't be reached")
}

// An actor of another host is shown and commanded by that host, once.
func TestActorsOfOtherHosts(t *testing.T) {
	h, others := open(), &otherHosts{}
	h.o.Hosts = others
	s, err := h.GetState(t.Context(), &messages.StateRequest{Actor: "model/pc2/tiny"})
	if err != nil || s.Sequence != 9 {
		t.Errorf("%v, %v", s, err)
	}
	r, err := h.SendCommand(t.Context(), &messages.SendRequest{Actor: "model/pc2/tiny", Command: "EnsureModel"})
	if err != nil || r.Sequence != 8 || len(others.asked) != 2 || len(h.asked) != 0 {
		t.Errorf("%v, %v, %v, %v", r, err, others.asked, h.asked)
	}
	_, err = h.GetState(t.Context(), &messages.StateRequest{Actor: "model/pc9/tiny"})
	is(t, err, messages.ModelNotFound, "model/h/pc9/tiny", "")
	_, err = h.GetState(messages.WithPeer(t.Context(), "pc2"), &messages.StateRequest{Actor: "model/pc2/tiny"})
	is(t, err, messages.ModelNotFound, "model/pc2/tiny", "")
	if len(others.asked) != 2 {
		t.Error(others.asked)
	}
}

// A model that another host has is loaded, unloaded and pinned there. Where two hosts have it loaded, the caller says which.
func TestModelsOfOtherHosts(t *testing.T) {
	h, others := open(), &otherHosts{}
	h.o.Hosts = others
	shows := func(host, name string, phase messages.ModelView_Phase) {
		id := messages.ModelActor(host, name)
		h.view.StateChanged(id, 1, &messages.ModelView{Id: id.String(), Host: host, Name: name, Phase: phase, Spec: &messages.ModelSpec{Name: name}})
	}
	shows("pc2", "far", messages.ModelView_absent)
	shows("pc2", "both", messages.ModelView_ready)
	shows("h", "both", messages.ModelView_ready)
	shows("h", "moved", messages.ModelView_absent)
	shows("pc2", "moved", messages.ModelView_ready)
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"unload what only pc2 declares", func() error {
			_, err := h.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: "far"})
			return err
		}, "pc2 UnloadModel at pc2"},
		{"pin what is loaded there", func() error {
			_, err := h.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "moved"})
			return err
		}, "pc2 PinModel at pc2"},
		{"swap to what only pc2 declares", func() error {
			_, err := h.StartSwap(t.Context(), &messages.SwapModel{Name: "chat", To: "far"})
			return err
		}, "pc2 StartSwap"},
		{"end a swap of what only pc2 declares", func() error {
			_, err := h.PromoteSwap(t.Context(), &messages.PromoteSwap{Name: "far"})
			return err
		}, "pc2 PromoteSwap"},
		{"unpin at a named host", func() error {
			_, err := h.UnpinModel(t.Context(), &messages.UnpinModelRequest{ModelName: "both", Host: "pc2"})
			return err
		}, "pc2 UnpinModel at pc2"},
		{"load at a named host", func() error {
			_, err := h.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "both", Host: "pc2"})
			return err
		}, "pc2 LoadModel at pc2"},
	} {
		if err := c.do(); err != nil || len(others.asked) != 1 || others.asked[0] != c.want {
			t.Errorf("%s: %v, %v", c.name, err, others.asked)
		}
		others.asked = nil
	}
	_, err := h.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "both"})
	is(t, err, messages.FailedPrecondition, "both", "it is loaded on h and pc2")
	_, err = h.PinModel(t.Context(), &messages.PinModelRequest{ModelName: "both", Host: "pc9"})
	is(t, err, messages.NotFound, "host pc9", "it is no member of this cluster")
	others.cut = true
	if at, err := h.holder("both"); at != "h" || err != nil {
		t.Errorf("with pc2 cut off it is at %s, %v", at, err)
	}
	if len(others.asked) != 0 {
		t.Error(others.asked)
	}
}

// A request that came in at another host is ended there; what a host asks for isn't passed on.
func TestRequestsAreCancelledAtTheirHost(t *testing.T) {
	h, others := open(), &otherHosts{}
	h.o.Hosts = others
	h.o.Others = func() ([]*messages.HostSaid, []*messages.QueuedRequest) {
		return []*messages.HostSaid{{Host: "pc3", Stale: true}, {Host: "pc2"}}, nil
	}
	r := &messages.CancelRequestRequest{RequestId: "far"}
	if a, err := h.CancelRequest(t.Context(), r); err != nil || !a.Cancelled || len(others.asked) != 1 || others.asked[0] != "pc2 CancelRequest" {
		t.Errorf("%v, %v, %v", a, err, others.asked)
	}
	if a, err := h.CancelRequest(messages.WithPeer(t.Context(), "pc2"), r); err != nil || a.Cancelled || len(others.asked) != 1 {
		t.Errorf("for a peer: %v, %v, %v", a, err, others.asked)
	}
}

// A model is explained by its host, and by the copy of its journal while that host can't be reached; requests by whoever remembers them.
func TestWhyOfOtherHosts(t *testing.T) {
	h, others := open(), &otherHosts{}
	h.o.Hosts = others
	h.o.Others = func() ([]*messages.HostSaid, []*messages.QueuedRequest) {
		return []*messages.HostSaid{{Host: "pc2"}}, nil
	}
	for _, v := range []*messages.ModelView{{Host: "pc2", Name: "far"}, {Host: "h", Name: "here"}, {Host: "pc2", Name: "here"}, {Host: "h", Name: "moved"}, {Host: "pc2", Name: "moved", Phase: messages.ModelView_ready}} {
		id := messages.ModelActor(v.Host, v.Name)
		v.Id, v.Spec = id.String(), &messages.ModelSpec{Name: v.Name, Aliases: []string{"the-" + v.Name}}
		h.view.StateChanged(id, 1, v)
	}
	var about explain.Question
	h.o.Explain = func(_ context.Context, q explain.Question) (*messages.Explanation, error) {
		about = q
		if q.Model == (messages.ActorID{}) {
			return nil, messages.NewError(messages.NotFound, q.Subject, "nothing is known")
		}
		return &messages.Explanation{Subject: q.Subject, Host: q.Model.Host(), Summary: "It is.", Copies: []*messages.JournalCopy{{Host: "pc2", Copied: 8, AgeMs: 125_000}}}, nil
	}
	far := "pc2 can't be reached. By its journal, which h has up to decision 8 as of 2m5s ago: It is."
	for _, c := range []struct{ subject, host, asked, local, cut string }{
		{"far", "", "pc2 Why far at pc2", "", far},
		{"job/pc2/tune", "", "pc2 Why job/pc2/tune at pc2", "", far},
		{"job/tune", "pc2", "pc2 Why job/pc2/tune at pc2", "", far},
		{"job/tune", "", "", "job/h/tune", "It is."},
		{"the-far", "", "pc2 Why far at pc2", "", far},
		{"moved", "", "pc2 Why moved at pc2", "", "It is."},
		{"here", "", "", "model/h/here", "It is."},
		{"here", "pc2", "pc2 Why here at pc2", "", far},
		{"pc2/here", "", "pc2 Why here at pc2", "", far},
		{"model/pc2/here", "", "pc2 Why here at pc2", "", far},
		{"moved", "h", "", "model/h/moved", "It is."},
		{"r7", "", "pc2 Why r7 at pc2", "", ""},
	} {
		others.asked, others.cut, about = nil, false, explain.Question{}
		x, err := h.Why(t.Context(), &messages.WhyRequest{Subject: c.subject, Host: c.host})
		if local := c.local; err != nil || strings.Join(others.asked, ", ") != c.asked || local != "" && about.Model.String() != local || x.SaidBy == "" {
			t.Errorf("%+v: %v, %v, asked %q, about %v", c, x, err, others.asked, about.Model)
		}
		others.cut = true
		if x, err = h.Why(t.Context(), &messages.WhyRequest{Subject: c.subject, Host: c.host}); x.GetSummary() != c.cut || (err != nil) != (c.cut == "") {
			t.Errorf("%+v, with pc2 cut off: %v, %v", c, x, err)
		}
	}
	removed := &messages.Explanation{Host: "pc9", Summary: "It is.", Copies: []*messages.JournalCopy{{Host: "pc9", Copied: 8}}}
	if h.sayCopy(removed); !strings.HasPrefix(removed.Summary, "pc9 is no member of this cluster any more. By its journal") {
		t.Error(removed.Summary)
	}
	others.asked, others.cut = nil, false
	if _, err := h.Why(messages.WithPeer(t.Context(), "pc2"), &messages.WhyRequest{Subject: "far"}); err == nil || len(others.asked) > 0 {
		t.Errorf("what a peer asks is passed on: %v, %v", err, others.asked)
	}
	_, err := h.Why(t.Context(), &messages.WhyRequest{Subject: "far", Host: "pc9"})
	is(t, err, messages.NotFound, "host pc9", "it is no member of this cluster")
}

// A lease that another host granted a moment ago is in no view here yet: that host is asked before it counts as unknown. While that host can't be asked, the
// lease isn't given back. What a host asks is answered from here alone.
func TestLeasesThatNoViewShowsYet(t *testing.T) {
	release := func(h *house, ctx context.Context, lease string) error {
		_, err := h.ReleaseGpuLease(ctx, &messages.GpuLeaseRelease{LeaseId: lease})
		return err
	}
	renew := func(h *house, ctx context.Context, lease string) error {
		_, err := h.RenewGpuLease(ctx, &messages.GpuLeaseRenewal{LeaseId: lease})
		return err
	}
	yes := func(request proto.Message) (proto.Message, error) {
		if _, ok := request.(*messages.GpuLeaseRelease); ok {
			return &messages.GpuLeaseReleaseAck{Success: true, Released: true}, nil
		}
		return &messages.GpuLeaseRenewalAck{Success: true}, nil
	}
	unknown := func(request proto.Message) (proto.Message, error) {
		if _, ok := request.(*messages.GpuLeaseRelease); ok {
			return &messages.GpuLeaseReleaseAck{Success: true}, nil
		}
		return nil, messages.NewError(messages.NotFound, "l", "unknown")
	}
	another := func(proto.Message) (proto.Message, error) {
		return nil, messages.NewError(messages.PermissionDenied, "l", "taken with another key")
	}
	for name, c := range map[string]struct {
		do    func(*house, context.Context, string) error
		there func(proto.Message) (proto.Message, error)
		lease string
		from  string
		asked int
		code  messages.Code
	}{
		"released there":           {do: release, there: yes, lease: "l", asked: 1},
		"renewed there":            {do: renew, there: yes, lease: "l", asked: 1},
		"unknown, released":        {do: release, there: unknown, lease: "l", asked: 1},
		"unknown, renewed":         {do: renew, there: unknown, lease: "l", asked: 1, code: messages.NotFound},
		"another's, released":      {do: release, there: another, lease: "l", asked: 1, code: messages.PermissionDenied},
		"another's, renewed":       {do: renew, there: another, lease: "l", asked: 1, code: messages.PermissionDenied},
		"cut off, released":        {do: release, lease: "l", asked: 1, code: messages.Unavailable},
		"cut off, renewed":         {do: renew, lease: "l", asked: 1, code: messages.Unavailable},
		"a host asks to release":   {do: release, lease: "l", from: "pc2"},
		"a host asks to renew":     {do: renew, lease: "l", from: "pc2", code: messages.NotFound},
		"no lease":                 {do: release},
		"released where it is":     {do: release, lease: "l0"},
		"renewed where it is":      {do: renew, lease: "l0"},
		"a model's isn't released": {do: release, lease: "m", code: messages.PermissionDenied},
	} {
		h, others := open(), &otherHosts{lease: c.there}
		h.o.Hosts = others
		h.o.Cluster = known{{Host: "h", Self: true}, {Host: "pc2", State: messages.MemberView_expected}, {Host: "pc3", State: messages.MemberView_gone}}
		h.device("gpu0", &messages.Reservation{Lease: "l0", Holder: "client/a", Epoch: 4}, &messages.Reservation{Lease: "m", Holder: "model/h/tiny", Epoch: 5})
		ctx := t.Context()
		if c.from != "" {
			ctx = messages.WithPeer(ctx, c.from)
		}
		if err := c.do(h, ctx, c.lease); messages.CodeOf(err) != c.code || len(others.asked) != c.asked {
			t.Errorf("%s: %v, asked %q", name, err, others.asked)
		}
	}
}

// known are members of a cluster, of which pc2 hasn't said anything yet.
type known []*messages.MemberView

func (k known) View() *messages.ClusterView { return &messages.ClusterView{Members: k} }
func (known) Invite(context.Context, *messages.InviteRequest) (*messages.InviteReply, error) {
	panic("nobody is invited here")
}
func (known) Remove(context.Context, *messages.RemoveMemberRequest) (*messages.RemoveMemberReply, error) {
	panic("nobody is removed here")
}

// A load that names this very host tells the model's actor why, as `why` says it. While the host is emptied, it is refused instead of waiting for the end of that.
func TestALoadHereSaysWhy(t *testing.T) {
	h, reason := open(), ""
	h.o.Hosts = &otherHosts{}
	h.shows(tiny(messages.ModelView_ready, 1))
	h.obey = func(_ messages.ActorID, m proto.Message) (messages.Reply, error) {
		reason = m.(*messages.EnsureModel).Reason
		return messages.Reply{}, nil
	}
	if _, err := h.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "tiny", Host: "h"}); err != nil || reason != "asked to load it" {
		t.Errorf("%q, %v", reason, err)
	}
	h.view.StateChanged(messages.HostActor("h"), 1, &messages.HostView{Host: "h", Draining: true})
	if _, err := h.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "tiny", Host: "h"}); err != nil {
		t.Errorf("it is ready here: %v", err)
	}
	h.shows(tiny(messages.ModelView_absent, 1))
	_, err := h.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "tiny", Host: "h"})
	is(t, err, messages.FailedPrecondition, "host h", "host h is being emptied: no model is loaded on it")
}

// lacking is an estimator without the files of other hosts.
type lacking struct{ needs }

func (l lacking) Need(ctx context.Context, spec *messages.ModelSpec) (*messages.Need, error) {
	if strings.HasPrefix(spec.Path, "/pc2/") {
		return nil, messages.NewError(messages.ModelLoadError, spec.Path, "Model file not found")
	}
	return l.needs.Need(ctx, spec)
}

// What a model needs on another host is what that host says: its file isn't here. Of a host that can't be reached nothing is needed, and a request for its model
// waits, or hears of that host.
func TestNeedsOfFilesElsewhere(t *testing.T) {
	h, away, told := open(), true, false
	var said *messages.Need
	m := h.Memory
	m.Estimate, m.Away, m.Said = lacking{}, func(string) bool { return away }, func(string, string) (*messages.Need, bool) { return said, told }
	id := messages.ModelActor("pc2", "far")
	h.view.StateChanged(id, 1, &messages.ModelView{Id: id.String(), Host: "pc2", Name: "far", Spec: &messages.ModelSpec{Name: "far", Path: "/pc2/far.gguf"}})
	_, err := m.Place(t.Context(), pool.Seek{Name: "far", Waited: 0})
	is(t, err, messages.Unavailable, "model/pc2/far", "pc2 can't be reached, and no other host declares far")
	_, err = m.HintModel(t.Context(), &messages.HintModelRequest{ModelName: "far", WithinSeconds: 9})
	is(t, err, messages.Unavailable, "model/pc2/far", "pc2 can't be reached, and no other host declares far")
	away = false
	_, err = m.Place(t.Context(), pool.Seek{Name: "far", Waited: 0})
	if is(t, err, messages.Unavailable, "host pc2", "host pc2 has just come back, and hasn't told yet what far needs there"); messages.AsError(err).Retry == 0 {
		t.Error("a request that waits for the host's word is refused")
	}
	told = true
	_, err = m.Place(t.Context(), pool.Seek{Name: "far", Waited: 0})
	is(t, err, messages.ModelLoadError, "/pc2/far.gguf", "Model file not found")
	said = &messages.Need{Bytes: 9, Source: messages.Need_estimated, Kinds: []string{"cpu"}}
	needs, _, err := m.needs(t.Context(), "far")
	if err != nil || len(needs) != 1 || needs[0].Bytes != 9 || needs[0].Host != "pc2" || needs[0].Kinds[0] != "cpu" || said.Host != "" {
		t.Errorf("%v, %v", needs, err)
	}
}
