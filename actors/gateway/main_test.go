package gateway

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door records the commands that actors are sent.
type door struct {
	mu   sync.Mutex
	told []proto.Message
	to   []messages.ActorID
	// refuses is the error of every answer.
	refuses error
	// mute answers nothing.
	mute bool
}

// whom lists the actors that were sent a command like c.
func (d *door) whom(c proto.Message) (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, m := range d.told {
		if m.ProtoReflect().Descriptor() == c.ProtoReflect().Descriptor() {
			out = append(out, d.to[i].String())
		}
	}
	return out
}

func (d *door) Ask(ctx context.Context, to messages.ActorID, c proto.Message) (messages.Reply, error) {
	d.Tell(ctx, to, c)
	if d.mute {
		<-ctx.Done()
		return messages.Reply{}, context.Cause(ctx)
	}
	return messages.Reply{}, d.refuses
}

func (d *door) Tell(_ context.Context, to messages.ActorID, c proto.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told, d.to = append(d.told, c), append(d.to, to)
}

func (d *door) heard() []proto.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]proto.Message(nil), d.told...)
}

// placer answers as the test says.
type placer func(ctx context.Context, name string, waited time.Duration) (pool.PlaceAnswer, error)

func (p placer) Place(ctx context.Context, s pool.Seek) (pool.PlaceAnswer, error) {
	return p(ctx, s.Name, s.Waited)
}

// place asks the model's actor on this host, as a daemon without an arbiter of names does.
func (d *door) place(ctx context.Context, name string, _ time.Duration) (pool.PlaceAnswer, error) {
	d.Tell(ctx, messages.ModelActor("main_pc", name), &messages.EnsureModel{})
	return pool.Placed, nil
}

// runner answers as the test says.
type runner func(ctx context.Context, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)

// errBeforeFirstByte is that of a worker without a connection.
var errBeforeFirstByte = messages.NotAnswered("tiny", false, errors.New("connection refused"))

func (r runner) Run(ctx context.Context, _ *messages.Grant, _ *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	return r(ctx, emit)
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
	g := New(Options{Host: "main_pc", Door: d, Placer: placer(d.place), Observer: deaf{}, DrainTimeout: 30 * time.Second,
		Figures: Figures{Limits: Limits{MaxConcurrent: concurrent, MaxQueue: 256}, FailureThreshold: 2, ResetTimeout: 20 * time.Second, QueueTimeout: 10 * time.Second}})
	g.Update(view(1, phase))
	return g, d
}

// phaseOf reads a phase's name.
func phaseOf(name string) messages.ModelView_Phase {
	n, ok := messages.ModelView_Phase_value[name]
	if !ok {
		panic("no phase is called " + name)
	}
	return messages.ModelView_Phase(n)
}

func view(attempt uint64, phase string) *messages.ModelView {
	return &messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny", Attempt: attempt, Phase: phaseOf(phase), Wanted: phase != "absent",
		Spec: &messages.ModelSpec{Name: "tiny", Aliases: []string{"small"}, UseModelName: "tiny-q4"}, Worker: &messages.Worker{Url: "http://127.0.0.1:9/"}}
}
