package grpcapi

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a false gateway: infer answers its requests.
type gateway struct {
	messages.Gateway
	infer     func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)
	unhealthy atomic.Bool
	inside    atomic.Int64 // requests now in Infer
}

func (g *gateway) Infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	g.inside.Add(1)
	defer g.inside.Add(-1)
	return g.infer(ctx, r, emit)
}

func (g *gateway) Health() messages.Health { return messages.Health{OK: !g.unhealthy.Load()} }

// echo answers with the prompt at once.
func echo(_ context.Context, r *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	return &messages.InferenceResponse{ResponseText: r.Prompt, Status: "success", RequestId: r.RequestId}, nil
}

// control answers with fixed replies, or with err.
type control struct {
	messages.Operations // what no test asks for
	mu                  sync.Mutex
	asked               []any
	err                 error
}

func (c *control) note(q any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, q)
	return c.err
}

func (c *control) LoadModel(_ context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	return &messages.ModelLoadReply{Success: true, ModelId: r.ModelName}, c.note(r)
}

func (c *control) UnloadModel(_ context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	return &messages.ModelUnloadReply{Success: true, VramFreedMb: 7}, c.note(r)
}

func (c *control) ListModels(context.Context, *emptypb.Empty) (*messages.ModelList, error) {
	return &messages.ModelList{TotalCount: 3}, c.note(nil)
}

func (c *control) AcquireGpuLease(_ context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	return &messages.GpuLeaseReply{Reason: "Insufficient VRAM", RetryAfterMs: 250}, c.note(r)
}

func (c *control) ReleaseGpuLease(_ context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	return &messages.GpuLeaseReleaseAck{Success: true}, c.note(r)
}

func (c *control) Why(_ context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	return &messages.Explanation{Subject: r.Subject, Kind: "model", Summary: "because"}, c.note(r)
}

// start serves on a free port of the loopback interface.
func start(s *Server) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		s.Start(l)
	}
	return err
}

// open serves o in memory and gives a connection to it. Both end with the test.
func open(t testing.TB, o Options) (*Server, *grpc.ClientConn) {
	t.Helper()
	if o.Gateway == nil {
		o.Gateway = &gateway{infer: echo}
	}
	s := New(o)
	l := bufconn.Listen(1 << 20)
	s.serve(l)
	conn := dial(t, "passthrough:///memory", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return l.DialContext(ctx)
	}))
	t.Cleanup(func() {
		conn.Close()
		ended, end := context.WithCancel(context.Background())
		end()
		_ = s.Stop(ended)
	})
	return s, conn
}

func dial(t testing.TB, target string, more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(more, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(128<<20), grpc.MaxCallSendMsgSize(128<<20)))...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
