package grpcapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

func TestInferAnswers(t *testing.T) {
	var correlation string
	_, conn := open(t, Options{Gateway: &gateway{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		if _, ok := ctx.Deadline(); !ok {
			return nil, errors.New("a request without a deadline")
		}
		correlation = messages.MetaFrom(ctx).Correlation
		return echo(ctx, r, emit)
	}}})
	got, err := messages.NewModelOpsClient(conn).Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: "hello"})
	if err != nil || got.ResponseText != "hello" || got.RequestId == "" || got.RequestId != correlation {
		t.Fatalf("%v, %v; correlation %q", got, err, correlation)
	}
}

func TestInferRefusesWhatCannotBeAnswered(t *testing.T) {
	_, conn := open(t, Options{Gateway: &gateway{infer: func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		return nil, errors.New("it reached the gateway")
	}}})
	for field, r := range map[string]*messages.InferenceRequest{
		"model_name":  {Prompt: "x"},
		"prompt":      {ModelName: "tiny"},
		"prompt:":     {ModelName: "tiny", Prompt: "x", Messages: []*messages.ChatMessage{{Role: "user"}}},
		"max_tokens":  {ModelName: "tiny", Prompt: "x", MaxTokens: -1},
		"temperature": {ModelName: "tiny", Prompt: "x", Temperature: proto.Float32(float32(math.NaN()))},
	} {
		_, err := messages.NewModelOpsClient(conn).Infer(t.Context(), r)
		e := FromStatus(err)
		if status.Code(err) != codes.InvalidArgument || e.Code != messages.InvalidArgument || e.Subject != strings.TrimSuffix(field, ":") || e.Hint == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Every code of the table crosses the wire and comes back as itself, with all that was said.
func TestEveryErrorSurvivesTheWire(t *testing.T) {
	g, c := &gateway{}, &control{}
	_, conn := open(t, Options{Gateway: g, Operations: c})
	client := messages.NewModelOpsClient(conn)
	if len(messages.Codes()) < 20 {
		t.Fatal("the table of errors is missing")
	}
	for _, code := range messages.Codes() {
		want := &messages.Error{Code: code, Subject: "model/main_pc/tiny", Message: "it failed: ü", Hint: "do this", Retry: 1500 * time.Millisecond}
		g.infer = func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			return nil, want
		}
		c.err = want
		for name, call := range map[string]func(...grpc.CallOption) error{
			"Infer": func(o ...grpc.CallOption) error {
				_, err := client.Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: "x"}, o...)
				return err
			},
			"LoadModel": func(o ...grpc.CallOption) error {
				_, err := client.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: "tiny"}, o...)
				return err
			},
			"ListModels": func(o ...grpc.CallOption) error {
				_, err := client.ListModels(t.Context(), &emptypb.Empty{}, o...)
				return err
			},
		} {
			var trailer metadata.MD
			err := call(grpc.Trailer(&trailer))
			got := FromStatus(err)
			got = got.WithCause(nil)
			if !reflect.DeepEqual(got, want) || uint32(status.Code(err)) != code.Wire().GRPC {
				t.Errorf("%s %s came back as %+v (%v)", name, code, got, status.Code(err))
			}
			if r := trailer.Get(RetryTrailer); len(r) != 1 || r[0] != "1500" {
				t.Errorf("%s %s: trailer %v", name, code, trailer)
			}
		}
	}
}

func TestDeadlineAndCancellationReachTheGateway(t *testing.T) {
	entered, left := make(chan struct{}, 1), make(chan error, 1)
	deadline := make(chan time.Time, 1)
	g := &gateway{infer: func(ctx context.Context, _ *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		entered <- struct{}{}
		at, _ := ctx.Deadline()
		deadline <- at
		<-ctx.Done()
		left <- ctx.Err()
		return nil, messages.NewError(messages.Cancelled, "", "cancelled")
	}}
	_, conn := open(t, Options{Timeout: 20 * time.Millisecond, Gateway: g})
	client := messages.NewModelOpsClient(conn)
	ask := &messages.InferenceRequest{ModelName: "tiny", Prompt: "x"}

	_, err := client.Infer(t.Context(), ask) // the server's own time limit
	if <-entered; status.Code(err) != codes.DeadlineExceeded || !errors.Is(<-left, context.DeadlineExceeded) {
		t.Fatal("no deadline of its own:", err)
	}
	<-deadline

	_, conn = open(t, Options{Timeout: time.Hour, Gateway: g})
	client = messages.NewModelOpsClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	go func() { <-entered; cancel() }()
	_, err = client.Infer(ctx, ask)
	if status.Code(err) != codes.Canceled || !errors.Is(<-left, context.Canceled) {
		t.Fatal("the client left:", err)
	}
	if left := time.Until(<-deadline); left > 30*time.Minute {
		t.Error("the client's deadline did not arrive: the request has", left)
	}
}

func TestAPanicIsAnAnswerAndIsLogged(t *testing.T) {
	var logged lockedBuffer
	var codesSeen []string
	g := &gateway{infer: func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		panic("boom 4711")
	}}
	_, conn := open(t, Options{Gateway: g, Log: slog.New(slog.NewTextHandler(&logged, nil)),
		Observe: func(_, code string, _ time.Duration) { codesSeen = append(codesSeen, code) }})
	_, err := messages.NewModelOpsClient(conn).Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: "my secret"})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
	if out := logged.String(); !strings.Contains(out, "boom 4711") || !strings.Contains(out, "TestAPanic") || strings.Contains(out, "my secret") {
		t.Error(out)
	}
	g.infer = echo
	if _, err := messages.NewModelOpsClient(conn).Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: "x"}); err != nil {
		t.Error("after a panic:", err)
	}
	if len(codesSeen) == 0 || codesSeen[0] != "INTERNAL" {
		t.Error("observed", codesSeen)
	}
}

func TestControl(t *testing.T) {
	c := &control{}
	_, conn := open(t, Options{Operations: c})
	client, ctx := messages.NewModelOpsClient(conn), t.Context()
	if r, err := client.LoadModel(ctx, &messages.ModelLoadRequest{ModelName: "a/b.c"}); err != nil || r.ModelId != "a/b.c" {
		t.Error(r, err)
	}
	if r, err := client.UnloadModel(ctx, &messages.ModelUnloadRequest{ModelName: "x", Force: true}); err != nil || r.VramFreedMb != 7 {
		t.Error(r, err)
	}
	if r, err := client.ListModels(ctx, &emptypb.Empty{}); err != nil || r.TotalCount != 3 {
		t.Error(r, err)
	}
	if r, err := client.AcquireGpuLease(ctx, &messages.GpuLeaseRequest{VramEstimateMb: 9}); err != nil || r.Granted || r.RetryAfterMs != 250 {
		t.Error("a lease refused for want of memory is an OK reply:", r, err)
	}
	if r, err := client.ReleaseGpuLease(ctx, &messages.GpuLeaseRelease{LeaseId: "?"}); err != nil || !r.Success {
		t.Error(r, err)
	}
}

func TestLargeMessages(t *testing.T) {
	_, conn := open(t, Options{})
	client := messages.NewModelOpsClient(conn)
	ask := &messages.InferenceRequest{ModelName: "tiny", Prompt: strings.Repeat("x", 30<<20)}
	if r, err := client.Infer(t.Context(), ask); err != nil || len(r.ResponseText) != 30<<20 {
		t.Error("30 MiB:", err)
	}
	_, small := open(t, Options{MaxMessage: 1000})
	ask.Prompt = strings.Repeat("x", 2000)
	if _, err := messages.NewModelOpsClient(small).Infer(t.Context(), ask); status.Code(err) != codes.ResourceExhausted {
		t.Error("over the limit:", err)
	}
}

// lockedBuffer is written by the server and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestAWorkersLogFitsATrailer: the last lines of a failed load come along, the latest of them where there isn't room for all.
func TestAWorkersLogFitsATrailer(t *testing.T) {
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf("%02d %s", i, strings.Repeat("x", 300)))
	}
	st, _ := status.FromError(statusOf(messages.NewError(messages.ModelLoadError, "model/h/m", "lost").WithLog(lines)))
	log := st.Details()[0].(*messages.ErrorBody).Log
	if len(log) == 0 || log[len(log)-1] != lines[39] || proto.Size(st.Proto()) > 6<<10 {
		t.Errorf("%d lines, %d bytes", len(log), proto.Size(st.Proto()))
	}
}
