package host

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"modelops/messages"
)

// ending notes which workers are ended, and with which time left.
type ending struct {
	mu     sync.Mutex
	ended  []string
	refuse string // the model whose worker doesn't end
	late   bool   // a call came with a context that was over
}

func (e *ending) note(ctx context.Context, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = append(e.ended, name)
	_, bounded := ctx.Deadline()
	e.late = e.late || ctx.Err() != nil || !bounded
}

func (e *ending) Stop(ctx context.Context, spec *messages.ModelSpec, _ *messages.Worker) error {
	e.note(ctx, spec.GetName())
	if spec.GetName() == e.refuse {
		return errors.New(e.refuse + " lives")
	}
	return nil
}

func (e *ending) StopStarted(ctx context.Context) error {
	e.note(ctx, "started")
	return nil
}

func (e *ending) Owned(ctx context.Context) ([]*messages.Worker, error) {
	e.note(ctx, "listed")
	return []*messages.Worker{{Nonce: "of an earlier start"}}, nil
}

// A good stop ends every local worker, also when one of them can't be ended and when the caller's time is used up. What was started and is in no
// journal yet ends then, and last what an earlier start left. A remote engine isn't ours to end.
func TestStopWorkers(t *testing.T) {
	model := func(name string, w *messages.Worker) *messages.ModelView {
		return &messages.ModelView{Name: name, Spec: &messages.ModelSpec{Name: name}, Worker: w}
	}
	views := shown{models: []*messages.ModelView{model("a", &messages.Worker{}), model("absent", nil), model("remote", &messages.Worker{Remote: true}), model("b", &messages.Worker{})}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := &ending{refuse: "a"}
	err := StopWorkers(ctx, "h", views, e)
	if err == nil || err.Error() != "a lives" {
		t.Errorf("error %v", err)
	}
	if last := e.ended[len(e.ended)-3:]; !slices.Equal(last, []string{"started", "listed", ""}) {
		t.Errorf("%q ended last", last)
	}
	slices.Sort(e.ended)
	if !slices.Equal(e.ended, []string{"", "a", "b", "listed", "started"}) || e.late {
		t.Errorf("ended %q, without time: %v", e.ended, e.late)
	}
}
