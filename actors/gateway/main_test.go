package gateway

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door hears what actors are told.
type door struct {
	mu   sync.Mutex
	told []proto.Message
}

func (d *door) Ask(context.Context, messages.ActorID, proto.Message) (messages.Reply, error) {
	return messages.Reply{}, errors.New("the gateway asks nobody")
}

func (d *door) Tell(_ context.Context, _ messages.ActorID, c proto.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, c)
}

func (d *door) heard() []proto.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]proto.Message(nil), d.told...)
}

// runner answers as the test says.
type runner func(ctx context.Context, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)

var errBeforeFirstByte = messages.NewError(messages.Unavailable, "worker", "connection refused")

func (r runner) Run(ctx context.Context, _ *messages.Grant, _ *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	return r(ctx, emit)
}
func (runner) BeforeFirstByte(err error) bool {
	return errors.Is(err, errBeforeFirstByte) && err == error(errBeforeFirstByte)
}

type deaf struct{}

func (deaf) RequestDone(string, messages.Code, time.Duration) {}
func (deaf) FirstByte(string, time.Duration)                  {}
func (deaf) QueueWait(string, time.Duration)                  {}
func (deaf) Tokens(string, int)                               {}

// tiny is the actor of the rig's model.
var tiny = messages.ModelActor("main_pc", "tiny")

// rig is a gateway with one model, tiny (alias small), that lets concurrent requests run.
func rig(concurrent int, phase string) (*Gateway, *door) {
	d := &door{}
	g := New(Options{Host: "main_pc", Door: d, Observer: deaf{}, DrainTimeout: 30 * time.Second, StallAfter: time.Minute,
		Figures: Figures{Limits: Limits{MaxConcurrent: concurrent, MaxQueue: 256}, FailureThreshold: 2, ResetTimeout: 20 * time.Second, QueueTimeout: 10 * time.Second}})
	g.Update(view(1, phase))
	return g, d
}

func view(attempt uint64, phase string) *messages.ModelView {
	return &messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny", Attempt: attempt, Phase: phase, Wanted: phase != "absent",
		Spec: &messages.ModelSpec{Name: "tiny", Aliases: []string{"small"}, UseModelName: "tiny-q4"}, Worker: &messages.Worker{Url: "http://127.0.0.1:9/"}}
}
