package host

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// neighbours are models, trials and the door, as a test wants them.
type neighbours struct {
	asked  []string
	ready  []error // what each wait for readiness ends with; the last one stays
	failed error
	keeps  string
	calm   error
	trial  func(ctx context.Context) (uint64, uint64, error)
	refuse error // of the door
	waits  bool  // no model ever becomes ready
}

func (n *neighbours) Declared() []*messages.DeclaredModel {
	return []*messages.DeclaredModel{{Name: "v2"}}
}
func (n *neighbours) Failed(string) error                { return n.failed }
func (n *neighbours) Keeps(string, []string) string      { return n.keeps }
func (n *neighbours) Calm(context.Context, string) error { return n.calm }

func (n *neighbours) AwaitReady(ctx context.Context, _ string) error {
	if n.waits {
		<-ctx.Done()
		return ctx.Err()
	}
	err := n.ready[0]
	if len(n.ready) > 1 {
		n.ready = n.ready[1:]
	}
	return err
}

func (n *neighbours) Trial(ctx context.Context, _ string, _ uint32, _ time.Duration, _ uint32) (uint64, uint64, error) {
	return n.trial(ctx)
}

func (n *neighbours) Ask(_ context.Context, to messages.ActorID, c proto.Message) (messages.Reply, error) {
	n.asked = append(n.asked, to.String()+" "+string(c.ProtoReflect().Descriptor().Name()))
	return messages.Reply{}, n.refuse
}

func (n *neighbours) Tell(context.Context, messages.ActorID, proto.Message) {}

func TestWhatASwapOwes(t *testing.T) {
	prep := prepare{ID: "s", Name: "chat", Model: "v2", Host: "main_pc", Within: time.Minute}
	try := judge{prep, 20, time.Minute, 5}
	lose := settle{ID: "s", Model: "v1", Name: "chat", Host: "main_pc"}
	gone := messages.NewError(messages.Unavailable, "v2", "it is not wanted")
	broken := messages.NewError(messages.ModelLoadError, "v2", "its file is broken")
	unknown := messages.NewError(messages.ModelNotFound, "v2", "not found")
	ensure, unload := "model/main_pc/v2 EnsureModel", "model/main_pc/v1 UnloadModel"
	for name, c := range map[string]struct {
		effect entity.Effect
		world  neighbours
		want   proto.Message // nil = it stays owed
		asked  []string
	}{
		"ready":                {prep, neighbours{ready: []error{nil}}, &messages.ReportRolloutReady{Id: "s"}, []string{ensure}},
		"unloaded meanwhile":   {prep, neighbours{ready: []error{gone, nil}}, &messages.ReportRolloutReady{Id: "s"}, []string{ensure, ensure}},
		"broken":               {prep, neighbours{ready: []error{broken}}, &messages.ReportRolloutFailed{Id: "s", Error: broken.Body()}, []string{ensure}},
		"withdrawn":            {prep, neighbours{refuse: unknown}, &messages.ReportRolloutFailed{Id: "s", Error: unknown.Body()}, []string{ensure}},
		"too slow":             {prep, neighbours{waits: true}, &messages.ReportRolloutFailed{Id: "s", Error: messages.NewError(messages.DeadlineExceeded, "model/main_pc/v2", "it wasn't ready within 1m0s").Body()}, []string{ensure}},
		"judged":               {try, neighbours{ready: []error{nil}, trial: figures(20, 1, nil)}, &messages.ReportRolloutJudged{Id: "s", Requests: 20, Failed: 1}, []string{ensure}},
		"gone while tried":     {try, neighbours{ready: []error{nil}, trial: figures(0, 0, nil), failed: broken}, &messages.ReportRolloutJudged{Id: "s", Reason: "v2 can't be had any more: its file is broken"}, []string{ensure}},
		"not known there yet":  {try, neighbours{ready: []error{nil}, trial: figures(0, 0, gone)}, nil, []string{ensure}},
		"not back":             {try, neighbours{ready: []error{broken}}, &messages.ReportRolloutJudged{Id: "s", Reason: "v2 doesn't get ready again: its file is broken"}, []string{ensure}},
		"unloaded":             {lose, neighbours{}, &messages.ReportRolloutSettled{Id: "s"}, []string{unload}},
		"pinned":               {lose, neighbours{keeps: "it is pinned"}, &messages.ReportRolloutSettled{Id: "s", Kept: "it is pinned"}, nil},
		"answers another name": {settle{ID: "s", Model: "v1", Kept: "it answers fast"}, neighbours{}, &messages.ReportRolloutSettled{Id: "s", Kept: "it answers fast"}, nil},
		"asked for":            {lose, neighbours{calm: context.DeadlineExceeded}, &messages.ReportRolloutSettled{Id: "s", Kept: "requests wait for it"}, nil},
		"not there":            {lose, neighbours{refuse: unknown}, &messages.ReportRolloutSettled{Id: "s"}, []string{unload}},
		"no answer":            {lose, neighbours{refuse: gone}, nil, []string{unload}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &c.world
				got, err := ports{n, n, n, nil}.perform(t.Context(), c.effect)
				if c.want == nil {
					if got != nil || err == nil {
						t.Fatalf("%v, %v", got, err)
					}
				} else if err != nil || !proto.Equal(got, c.want) {
					t.Fatalf("%v, %v; want %v", got, err, c.want)
				}
				if !slices.Equal(n.asked, c.asked) {
					t.Fatalf("asked %q, want %q", n.asked, c.asked)
				}
			})
		})
	}
}

func figures(requests, failed uint64, err error) func(context.Context) (uint64, uint64, error) {
	return func(context.Context) (uint64, uint64, error) { return requests, failed, err }
}

// TestACancelledPreparationReportsNothing: the rollout is over, or the host stops; neither is the new model's fault.
func TestACancelledPreparationReportsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := &neighbours{waits: true}
	if got, err := (ports{n, n, n, nil}).perform(ctx, prepare{ID: "s", Model: "v2", Host: "main_pc", Within: time.Minute}); got != nil || err == nil {
		t.Fatalf("%v, %v", got, err)
	}
}

// TestDeclarationsAreObserved: they come from the host's own daemon, with the commands that depend on them and no others.
func TestDeclarationsAreObserved(t *testing.T) {
	k := Kind(World{Models: &neighbours{}})
	for _, c := range []proto.Message{&messages.SwapModel{}, &messages.RollbackSwap{}, &messages.ReviewRoutes{}} {
		if seen, ok := k.Observe(t.Context(), c).(*messages.DeclaredModels); !ok || len(seen.Models) != 1 || seen.Models[0].Name != "v2" {
			t.Errorf("%T: %v", c, seen)
		}
	}
	if seen := k.Observe(t.Context(), &messages.PromoteSwap{}); seen != nil {
		t.Errorf("a promotion sees %v", seen)
	}
}
