package peer

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

func TestHostsAskEachOthersActors(t *testing.T) {
	a, b := linked(t, nil)
	for _, c := range []struct {
		from *side
		host string
	}{{a, "pc2"}, {b, "main_pc"}} {
		r, err := query(t.Context(), c.from, c.host, messages.HostActor(c.host))
		if err != nil || r.Sequence != 7 || r.Answer.(*messages.HostView).BootId != "host/"+c.host {
			t.Errorf("%v, %v", r, err)
		}
	}
	l, _ := a.Link("pc2")
	if l.RTT <= 0 || l.RTT > hangLimit || l.Version != "2" || l.ClockOffset.Abs() > 10*time.Second || len(l.Notes) > 0 {
		t.Errorf("%+v", l)
	}
}

func TestWhoAsksAndUntilWhenTravels(t *testing.T) {
	got := make(chan context.Context, 1)
	a, _ := linked(t, func(_, b *Options) {
		b.Door = door{func(ctx context.Context, _ messages.ActorID, _ proto.Message) (messages.Reply, error) {
			got <- ctx
			return messages.Reply{}, messages.NewError(messages.Conflict, "x", "taken").WithHint("wait").WithRetry(3 * time.Second)
		}}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx = messages.WithMeta(ctx, messages.Meta{ID: "i", Correlation: "c", Causation: "d", Caller: "f"})
	ctx = messages.WithCaller(ctx, messages.Caller{Principal: messages.Principal{Name: "alice", Class: "batch", Fingerprint: "f", Role: messages.Role_INFER, Scope: &messages.Scope{Models: []string{"m*"}}}})
	_, err := query(ctx, a, "pc2", messages.HostActor("pc2"))
	if e := messages.AsError(err); e == nil || e.Code != messages.Conflict || e.Hint != "wait" || e.Retry != 3*time.Second {
		t.Errorf("%v", err)
	}
	there := <-got
	p := messages.CallerFrom(there).Principal
	if m := messages.MetaFrom(there); m.Correlation != "c" || m.Causation != "d" || m.Caller != "f" || m.ID != "i" {
		t.Errorf("%+v", m)
	}
	if p.Name != "alice" || p.Class != "batch" || p.Role != messages.Role_INFER || p.Scope.Models[0] != "m*" || messages.PeerFrom(there) != "main_pc" {
		t.Errorf("%+v, %s", p, messages.PeerFrom(there))
	}
	if until, ok := there.Deadline(); !ok || time.Until(until) > time.Minute {
		t.Error("no deadline")
	}
}

func TestAPeerMayNotSendEverything(t *testing.T) {
	a, _ := linked(t, nil)
	for _, c := range []struct {
		to      messages.ActorID
		command proto.Message
		want    messages.Code
	}{
		{messages.HostActor("pc2"), &messages.StopHost{}, messages.PermissionDenied},
		{messages.HostActor("pc2"), &messages.Crash{}, messages.PermissionDenied},
		{messages.ModelActor("pc2", "m"), &messages.RetireModel{}, messages.PermissionDenied},
		{messages.ModelActor("main_pc", "m"), &messages.QueryView{}, messages.PermissionDenied}, // another host's
		{messages.ModelActor("pc2", "m"), &messages.ReserveVram{}, messages.InvalidArgument},
		{messages.GPUActor("pc2", "gpu0"), &messages.ReserveVram{}, 0},
		{messages.ArbiterActor(), &messages.RequestPlacement{}, 0},
	} {
		if _, err := a.Ask(t.Context(), "pc2", c.to, c.command); messages.CodeOf(err) != c.want {
			t.Errorf("%s to %s: %v, want %v", nameOf(c.command), c.to, err, c.want)
		}
	}
}

// operations answers only GetVersion and ListModels.
type operations struct{ messages.Operations }

func (operations) GetVersion(context.Context, *emptypb.Empty) (*messages.VersionReply, error) {
	return &messages.VersionReply{Version: "2"}, nil
}

func (operations) UnloadModel(context.Context, *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	return &messages.ModelUnloadReply{}, nil
}

func TestACallHasTheRoleOfItsCaller(t *testing.T) {
	a, _ := linked(t, func(_, b *Options) { b.Operations = operations{} })
	m, err := a.Call(t.Context(), "pc2", "GetVersion", &emptypb.Empty{})
	if err != nil || m.(*messages.VersionReply).Version != "2" {
		t.Errorf("%v, %v", m, err)
	}
	as := func(role messages.Role, scope *messages.Scope) context.Context {
		return messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "alice", Role: role, Scope: scope}})
	}
	for _, c := range []struct {
		ctx       context.Context
		operation string
		request   proto.Message
		want      messages.Code
	}{
		{t.Context(), "UnloadModel", &messages.ModelUnloadRequest{}, messages.PermissionDenied}, // a host for itself reads only
		{as(messages.Role_INFER, nil), "GetVersion", &emptypb.Empty{}, messages.PermissionDenied},
		{as(messages.Role_OPERATE, nil), "UnloadModel", &messages.ModelUnloadRequest{}, 0},
		{as(messages.Role_OPERATE, &messages.Scope{Operations: []string{"GetVersion"}}), "UnloadModel", &messages.ModelUnloadRequest{}, messages.PermissionDenied},
		{as(messages.Role_PEER, nil), "GetVersion", &emptypb.Empty{}, messages.PermissionDenied},
		{as(messages.Role_ADMIN, nil), "Infer", &messages.InferenceRequest{}, messages.Unsupported},
		{as(messages.Role_ADMIN, nil), "None", &emptypb.Empty{}, messages.Unsupported},
	} {
		if _, err := a.Call(c.ctx, "pc2", c.operation, c.request); messages.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %v", c.operation, err, c.want)
		}
	}
}

func TestHeartbeatsReachTheOthers(t *testing.T) {
	a, b := linked(t, nil)
	a.Beat(&messages.Heartbeat{Host: "main_pc", Sequence: 5})
	select {
	case h := <-b.beats:
		if h.Host != "main_pc" || h.Sequence != 5 {
			t.Error(h)
		}
	case <-time.After(hangLimit):
		t.Fatal("no heartbeat")
	}
	a.Beat(&messages.Heartbeat{Host: "pc3"}) // a host speaks for itself only
	a.Beat(&messages.Heartbeat{Host: "main_pc", Sequence: 6})
	for h := range b.beats {
		if h.Host != "main_pc" {
			t.Error(h)
		}
		if h.Sequence == 6 {
			break
		}
		a.Beat(&messages.Heartbeat{Host: "main_pc", Sequence: 6}) // the newest counts: one may have been replaced
	}
}

// What a host says of names that no host can have goes no further: members are written down, told to all others, and shown on terminals.
func TestAHeartbeatNamesHosts(t *testing.T) {
	a, b := linked(t, nil)
	odd := []string{"counted", "", "../../etc", "x y\nz", "\x1b[31mred", strings.Repeat("n", 5000)}
	h := &messages.Heartbeat{Host: "main_pc", Membership: map[string]uint64{"pc3": 1}, Heard: []*messages.Heard{{Host: "pc3"}}}
	for _, name := range odd {
		h.Membership[name] = 1
		if name == "counted" {
			h.Membership[name] = math.MaxUint64
			continue
		}
		h.Heard = append(h.Heard, &messages.Heard{Host: name})
	}
	a.Beat(h)
	select {
	case h := <-b.beats:
		if len(h.Membership) != 1 || h.Membership["pc3"] != 1 || len(h.Heard) != 1 || h.Heard[0].Host != "pc3" {
			t.Errorf("%q", h)
		}
	case <-time.After(hangLimit):
		t.Fatal("no heartbeat")
	}
}

type lateReports struct{ entered chan struct{} }

func (r lateReports) Report(ctx context.Context, _ *messages.ReportRequest) (*messages.Report, error) {
	r.entered <- struct{}{}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// A request that waits when the connection breaks fails then, the next ones at once, and the link comes back.
func TestABrokenLinkFailsRequestsAtOnceAndComesBack(t *testing.T) {
	entered := make(chan struct{}, 1)
	a, b := linked(t, func(_, b *Options) { b.Reporter = lateReports{entered} })
	ended := make(chan error, 1)
	go func() {
		_, err := a.Reports(context.Background(), "pc2", &messages.ReportRequest{WaitMs: 600_000})
		ended <- err
	}()
	<-entered
	b.closeConns("main_pc")
	select {
	case err := <-ended:
		if messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), "host pc2 can't be reached") {
			t.Error(err)
		}
	case <-time.After(hangLimit):
		t.Fatal("a request survives its link")
	}
	began := time.Now()
	await(t, "the link is back", func() bool { l, _ := a.Link("pc2"); return l.To })
	t.Logf("back after %v", time.Since(began))
	if _, err := query(t.Context(), a, "pc2", messages.HostActor("pc2")); err != nil {
		t.Error(err)
	}
}

func TestAHostThatIsOffFailsAtOnce(t *testing.T) {
	a, b := linked(t, nil)
	b.Close()
	await(t, "the link is down", func() bool { l, _ := a.Link("pc2"); return !l.To })
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, err := query(ctx, a, "pc2", messages.HostActor("pc2"))
	if e := messages.AsError(err); e == nil || e.Code != messages.Unavailable || e.Retry == 0 {
		t.Error(err)
	}
	if _, err := query(ctx, a, "pc9", messages.HostActor("pc9")); messages.CodeOf(err) != messages.Unavailable {
		t.Error(err)
	}
	if l, ok := a.Link("pc2"); !ok || l.Reason == "" {
		t.Errorf("%+v", l)
	}
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
}

// A host that has moved is tried where it says that it is, and its new address is told.
func TestAHostThatHasMovedIsFound(t *testing.T) {
	ca, moved := newAuthority(t), make(chan string, 8)
	hour := time.Now().Add(time.Hour)
	a := startSide(t, ca, ca.issue(t, "main_pc", hour), Options{Host: "main_pc", Moved: func(host, address string) { moved <- host + " " + address }})
	b := startSide(t, ca, ca.issue(t, "pc2", hour), Options{Host: "pc2"})
	other := startSide(t, ca, ca.issue(t, "pc3", hour), Options{Host: "pc3"})
	a.knows("pc2", other.Address()) // another host has the address now
	await(t, "pc2 isn't there", func() bool {
		l, _ := a.Link("pc2")
		return strings.Contains(l.Reason, "certificate isn't that of this member")
	})
	b.knows("main_pc", a.Address())
	a.Learn("pc2", b.Address())
	await(t, "pc2 is found", func() bool { return a.up("pc2") && b.up("main_pc") })
	if got := <-moved; got != "pc2 "+b.Address() {
		t.Error(got)
	}
}

func TestVersionsThatDontFitAreRefusedOnBothSides(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		fit  bool
	}{{2, 2, true}, {2, 3, true}, {3, 2, true}, {2, 4, false}, {4, 2, false}, {1, 9, false}} {
		a, b := pair(t, func(oa, ob *Options) {
			oa.Protocol, ob.Protocol = c.a, c.b
			oa.Oldest, ob.Oldest = c.a-1, c.b-1
		})
		if c.fit {
			await(t, "links of neighbours", func() bool { return a.up("pc2") && b.up("main_pc") })
			continue
		}
		for _, s := range []struct {
			*side
			host string
		}{{a, "pc2"}, {b, "main_pc"}} {
			var l messages.Link
			await(t, "both versions are named", func() bool {
				l, _ = s.Link(s.host)
				return strings.Contains(l.Reason, "protocol") && strings.Contains(l.Reason, "runs modelops 1") || strings.Contains(l.Reason, "runs modelops 2")
			})
			if l.To {
				t.Errorf("%+v", l)
			}
			if _, err := query(t.Context(), s.side, s.host, messages.HostActor(s.host)); messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), "protocol") {
				t.Error(err)
			}
		}
	}
}

func TestClocksADayApartAreANote(t *testing.T) {
	a, b := linked(t, func(_, b *Options) { b.Now = func() time.Time { return time.Now().Add(24 * time.Hour) } })
	for s, host := range map[*side]string{a: "pc2", b: "main_pc"} {
		if l, _ := s.Link(host); len(l.Notes) != 1 || !strings.Contains(l.Notes[0], "24h0m0s") {
			t.Errorf("%+v", l)
		}
	}
}

// A second host of a name is refused, and the first one goes on.
func TestTwoHostsOfOneName(t *testing.T) {
	ca := newAuthority(t)
	a, b := linkedBy(t, ca)
	second := startSide(t, ca, ca.issue(t, "pc2", time.Now().Add(time.Hour)), Options{Host: "pc2", BootID: "second"})
	second.knows("main_pc", a.Address())
	await(t, "the second pc2 is told", func() bool {
		l, _ := second.Link("main_pc")
		return strings.Contains(l.Reason, "two hosts are named pc2")
	})
	await(t, "the first pc2 goes on", func() bool { return a.up("pc2") && b.up("main_pc") })
	same := startSide(t, ca, ca.issue(t, "main_pc", time.Now().Add(time.Hour)), Options{Host: "main_pc", BootID: "other"})
	same.knows("main_pc", a.Address())
	if _, err := same.Dial(t.Context(), "main_pc", natsProtocol); err == nil || !strings.Contains(err.Error(), "two hosts are named main_pc") {
		t.Error(err)
	}
}

func linkedBy(t *testing.T, ca authority) (a, b *side) {
	t.Helper()
	year := time.Now().Add(time.Hour)
	a, b = startSide(t, ca, ca.issue(t, "main_pc", year), Options{Host: "main_pc"}), startSide(t, ca, ca.issue(t, "pc2", year), Options{Host: "pc2"})
	a.knows("pc2", b.Address())
	b.knows("main_pc", a.Address())
	await(t, "both links are up", func() bool { return a.up("pc2") && b.up("main_pc") })
	return a, b
}
