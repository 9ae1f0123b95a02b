package cli

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// ledger is a fake daemon with one gpu actor.
type ledger struct {
	fakeDaemon
	reply func() (*messages.StateReply, error)
}

func (l *ledger) GetState(context.Context, *messages.StateRequest) (*messages.StateReply, error) {
	return l.reply()
}

func (l *ledger) GetVersion(context.Context, *emptypb.Empty) (*messages.VersionReply, error) {
	return &messages.VersionReply{Host: "pc"}, nil
}

func TestReplayAgainstALiveState(t *testing.T) {
	gpu := messages.GPUActor("pc", "cpu")
	journal := past(&messages.DeviceRegistered{Kind: "cpu", CapacityBytes: 100}, &messages.ForeignUseChanged{Bytes: 7}, &messages.ForeignUseChanged{Bytes: 8})
	foldTo := func(n int) *folded {
		f, err := newFold(gpu)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range journal[:n] {
			f.apply(r)
		}
		return f
	}
	live := func(n int, state string) func() (*messages.StateReply, error) {
		if state == "" {
			b, _ := foldTo(n).stateJSON()
			state = string(b)
		}
		return func() (*messages.StateReply, error) {
			return &messages.StateReply{Actor: gpu.String(), Sequence: uint64(n), StateJson: state}, nil
		}
	}
	l := &ledger{}
	c, _, _ := openDoorFor(t, l, l, nil)
	k, err := c.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	src := &source{journal: journal, host: "pc", client: k}
	for name, tc := range map[string]struct {
		read  int
		reply func() (*messages.StateReply, error)
		want  []string
	}{
		"equal":                       {3, live(3, ""), nil},
		"the daemon went on":          {1, live(3, ""), nil},
		"another state":               {1, live(1, `{}`), []string{".Capacity", ".Faults"}},
		"the daemon went elsewhere":   {1, live(2, `{"Foreign":9}`), []string{".Foreign"}},
		"the daemon is behind":        {3, live(2, ""), []string{"sequence"}},
		"decisions the journal lacks": {3, live(9, `{}`), []string{"sequence"}},
	} {
		l.reply = tc.reply
		found, err := compareLive(t.Context(), src, gpu, foldTo(tc.read))
		if err != nil {
			t.Fatal(name, err)
		}
		paths := map[string]bool{}
		for _, d := range found {
			paths[d.Path] = true
		}
		for _, p := range tc.want {
			if !paths[p] {
				t.Errorf("%s: no difference at %s in %v", name, p, found)
			}
		}
		if len(tc.want) == 0 && len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
	l.reply = func() (*messages.StateReply, error) {
		return nil, messages.NewError(messages.NotFound, gpu.String(), "gone")
	}
	if _, err := compareLive(t.Context(), src, gpu, foldTo(1)); messages.CodeOf(err) != messages.NotFound {
		t.Error("an entity that the daemon doesn't have:", err)
	}
}

// The name of an arbiter doesn't say whose it is: the one that answers is the one that places, and the one in a journal is its host's.
func TestWhoseArbiter(t *testing.T) {
	arbiter := messages.ArbiterActor()
	l := &ledger{}
	c, out, _ := openDoorFor(t, l, l, nil)
	k, err := c.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	for view, want := range map[string]string{`{"host":"pc2","epoch":"3"}`: "pc2", `{}`: "pc"} {
		l.reply = func() (*messages.StateReply, error) {
			return &messages.StateReply{Actor: arbiter.String(), Sequence: 9, StateJson: "{}", ViewJson: view}, nil
		}
		s, err := liveState(t.Context(), k, "arbiter")
		if err != nil || s.Host != want {
			t.Errorf("%s: %+v, %v", view, s, err)
		}
	}
	l.reply = func() (*messages.StateReply, error) {
		return &messages.StateReply{Actor: arbiter.String(), Sequence: 99, StateJson: "{}", ViewJson: `{"host":"pc2"}`}, nil
	}
	f, _ := newFold(arbiter)
	r := &replay{entities: map[messages.ActorID]*folded{arbiter: f}}
	if r.compareAll(t.Context(), &source{journal: recording{}, host: "pc", client: k}); r.results[0].Result != "folded" || !r.report(true).Equal {
		t.Errorf("%+v", r.results)
	}
	taken := past(&messages.ArbiterTookOver{Host: "main_pc", Epoch: 2})
	taken[0].Actor = arbiter
	s, err := foldedState(t.Context(), &source{journal: taken, host: "main_pc"}, nil, "arbiter", moment{sequence: 1})
	if err != nil || s.Host != "main_pc" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := c.printState(s, true); err != nil || !strings.HasPrefix(out.String(), "arbiter of main_pc at sequence 1") {
		t.Errorf("%v: %s", err, out)
	}
}
