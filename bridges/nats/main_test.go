package natsapi

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type inferFunc = func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)

// gateway is a false gateway: infer answers its requests.
type gateway struct {
	messages.Gateway
	mu    sync.Mutex
	infer inferFunc
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

// waits stays until its context ends; entered gets each arrival, left each end.
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
	messages.Operations
	mu  sync.Mutex
	err error
	ill atomic.Bool
}

func (c *control) fail() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *control) LoadModel(_ context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	return &messages.ModelLoadReply{Success: true, ModelId: r.ModelName, Message: r.ModelPath}, c.fail()
}

func (c *control) UnloadModel(_ context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	return &messages.ModelUnloadReply{Success: r.Force, Message: r.ModelName}, c.fail()
}

func (c *control) ListModels(context.Context, *emptypb.Empty) (*messages.ModelList, error) {
	return &messages.ModelList{Models: []*messages.ModelInfo{{Name: "tiny"}}, TotalCount: 1}, c.fail()
}

func (c *control) ListResident(context.Context, *emptypb.Empty) (*messages.ResidentList, error) {
	return &messages.ResidentList{Models: []*messages.ModelView{{Name: "tiny"}}}, c.fail()
}

func (c *control) ApplyConfig(_ context.Context, r *messages.ApplyConfigRequest) (*messages.ConfigChanges, error) {
	return &messages.ConfigChanges{Revision: "r2", Changes: []string{"model a: new"}, DryRun: r.DryRun}, c.fail()
}

func (c *control) GetStatus(context.Context, *emptypb.Empty) (*messages.StatusView, error) {
	return &messages.StatusView{Version: "1", JournalSequence: 42}, c.fail()
}

func (c *control) GetVersion(context.Context, *emptypb.Empty) (*messages.VersionReply, error) {
	return &messages.VersionReply{Version: "v1.2.3", Host: "main_pc"}, c.fail()
}

func (c *control) GetHealth(context.Context, *emptypb.Empty) (*messages.HealthReply, error) {
	if c.ill.Load() {
		return &messages.HealthReply{OldestUndecidedMs: 90000, JournalLag: 9, Reasons: []string{"stalled"}}, nil
	}
	return &messages.HealthReply{Ok: true}, nil
}

func (c *control) GetState(_ context.Context, r *messages.StateRequest) (*messages.StateReply, error) {
	return &messages.StateReply{Actor: r.Actor, Sequence: 5}, c.fail()
}

// SendCommand answers with the request's body and its sender.
func (c *control) SendCommand(ctx context.Context, r *messages.SendRequest) (*messages.SendReply, error) {
	return &messages.SendReply{AnswerType: r.Actor + " " + r.Command + " " + messages.CallerFrom(ctx).Name, Answer: r.Body, Sequence: 6}, c.fail()
}

func (c *control) GetQueue(context.Context, *emptypb.Empty) (*messages.QueueView, error) {
	return &messages.QueueView{Requests: []*messages.QueuedRequest{{RequestId: "r1", Model: "tiny", State: "waiting", Position: 1}}, Queued: 1}, c.fail()
}

func (c *control) Why(_ context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	return &messages.Explanation{Subject: r.Subject, Kind: "model", Summary: "because", WouldChange: []string{"nothing"}}, c.fail()
}

func (c *control) StartSwap(_ context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, To: r.To, Phase: messages.SwapReply_preparing}, c.fail()
}

func (c *control) PromoteSwap(_ context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, Phase: messages.SwapReply_promoted}, c.fail()
}

func (c *control) RollbackSwap(_ context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, Phase: messages.SwapReply_rolled_back, Reason: r.Reason}, c.fail()
}

func (c *control) ListSwaps(context.Context, *emptypb.Empty) (*messages.SwapList, error) {
	return &messages.SwapList{Routes: []*messages.Route{{Name: "chat", To: "v2"}}}, c.fail()
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
	o.Host = "main_pc"
	if o.Version == "" {
		o.Version = "v1.2.3"
	}
	if o.Operations == nil {
		o.Operations = &control{}
	}
	if o.Gateway == nil {
		o.Gateway = &gateway{infer: echo}
	}
	a := New(o)
	leave, err := a.Enter(inside, messages.Principal{Name: "operator", Fingerprint: "0be", Role: messages.Role_ADMIN})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		_ = a.Stop(ended)
		leave()
		client.Close()
		inside.Close()
		s.Shutdown()
		s.WaitForShutdown()
	})
	return a, client
}
