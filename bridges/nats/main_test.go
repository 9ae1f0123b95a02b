package natsapi

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type inferFunc = func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)

// gateway is a false gateway: infer says what becomes of a request.
type gateway struct {
	messages.Gateway
	mu    sync.Mutex
	infer inferFunc
	ill   atomic.Bool
}

func (g *gateway) set(f inferFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.infer = f
}

func (g *gateway) Infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	g.mu.Lock()
	f := g.infer
	g.mu.Unlock()
	return f(ctx, r, emit)
}

func (g *gateway) Health() messages.Health {
	if g.ill.Load() {
		return messages.Health{JournalLag: 9, OldestUndecided: 90 * time.Second, Reasons: []string{"stalled"}}
	}
	return messages.Health{OK: true}
}

func (g *gateway) Models() []*messages.ModelView {
	return []*messages.ModelView{{Name: "tiny", Phase: messages.ModelView_ready, Active: 2}, {Name: "other", Phase: messages.ModelView_absent}}
}

// echo answers with the request's model and prompt, and emits nothing.
func echo(_ context.Context, r *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	return &messages.InferenceResponse{ResponseText: r.Prompt, ModelName: r.ModelName, Status: "success", RequestId: r.RequestId}, nil
}

// pieces emits the given texts and answers.
func pieces(texts ...string) inferFunc {
	return func(_ context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		all := ""
		for _, text := range texts {
			if err := emit(&messages.InferenceChunk{Text: text}); err != nil {
				return nil, err
			}
			all += text
		}
		return &messages.InferenceResponse{ResponseText: all, TokensGenerated: int32(len(texts))}, nil
	}
}

// waits stays until its context ends; entered hears each arrival, left each end.
func waits(entered chan<- string, left chan<- error) inferFunc {
	return func(ctx context.Context, r *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		entered <- r.RequestId
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	}
}

// control answers with what it was asked, or with err.
type control struct {
	mu  sync.Mutex
	err error
}

func (c *control) fail() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *control) Load(_ context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	return &messages.ModelLoadReply{Success: true, ModelId: r.ModelName, Message: r.ModelPath}, c.fail()
}

func (c *control) Unload(_ context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	return &messages.ModelUnloadReply{Success: r.Force, Message: r.ModelName}, c.fail()
}

func (c *control) List(context.Context) (*messages.ModelList, error) {
	return &messages.ModelList{Models: []*messages.ModelInfo{{Name: "tiny"}}, TotalCount: 1}, c.fail()
}

func (c *control) ApplyConfig(_ context.Context, dry bool) (*messages.ConfigChanges, error) {
	return &messages.ConfigChanges{Revision: "r2", Changes: []string{"model a: new"}, DryRun: dry}, c.fail()
}

func (c *control) Status(context.Context) (*messages.StatusView, error) {
	return &messages.StatusView{Version: "1", JournalSequence: 42}, c.fail()
}

func (c *control) State(_ context.Context, a messages.ActorID) (*messages.StateReply, error) {
	return &messages.StateReply{Actor: a.String(), Sequence: 5}, c.fail()
}

func (c *control) Send(_ context.Context, a messages.ActorID, command string, body []byte) (*messages.Sent, error) {
	answer, _ := json.Marshal(a.String() + " " + command + " " + string(body))
	return &messages.Sent{AnswerType: "Done", Answer: answer, Events: []messages.SentEvent{{Name: "model.wanted", Body: json.RawMessage(`{"attempt":"1"}`)}}, Sequence: 6}, c.fail()
}

func (c *control) Queue(context.Context) (*messages.QueueView, error) {
	return &messages.QueueView{Requests: []*messages.QueuedRequest{{RequestId: "r1", Model: "tiny", State: "waiting", Position: 1}}, Queued: 1}, c.fail()
}

func (c *control) Why(_ context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	return &messages.Explanation{Subject: r.Subject, Kind: "model", Summary: "because", WouldChange: []string{"nothing"}}, c.fail()
}

func (c *control) Swap(_ context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, To: r.To, Phase: messages.SwapReply_preparing}, c.fail()
}

func (c *control) Promote(_ context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, Phase: messages.SwapReply_promoted}, c.fail()
}

func (c *control) Rollback(_ context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, Phase: messages.SwapReply_rolled_back, Reason: r.Reason}, c.fail()
}

func (c *control) Swaps(context.Context) (*messages.SwapList, error) {
	return &messages.SwapList{Routes: []*messages.Route{{Name: "chat", To: "v2"}}}, c.fail()
}

func (c *control) HintModel(context.Context, *messages.HintModelRequest) (*messages.HintReply, error) {
	return &messages.HintReply{}, c.fail()
}

func (c *control) Defrag(context.Context, *messages.DefragRequest) (*messages.DefragPlan, error) {
	return &messages.DefragPlan{}, c.fail()
}

// open starts a server, the door on it, and a client of its own. All end with the test.
func open(t *testing.T, o Options) (*API, *nats.Conn) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(hangLimit) {
		t.Fatal("the server doesn't start")
	}
	inside, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	client, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	o.Conn, o.Host = inside, "main_pc"
	if o.Version == "" {
		o.Version = "v1.2.3"
	}
	if o.Control == nil {
		o.Control = &control{}
	}
	if o.Gateway == nil {
		o.Gateway = &gateway{infer: echo}
	}
	a := New(o)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		_ = a.Stop(ended)
		client.Close()
		inside.Close()
		s.Shutdown()
		s.WaitForShutdown()
	})
	return a, client
}
