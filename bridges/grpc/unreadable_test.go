package grpcapi

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// plain sends bytes as they are, under the name of protobuf.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (plain) Unmarshal([]byte, any) error   { return nil }
func (plain) Name() string                  { return "proto" }

// A message that can't be read is the caller's fault on each method, and counted as that.
func TestAnUnreadableMessageIsTheCallersFault(t *testing.T) {
	var blamed atomic.Int64
	_, conn := open(t, Options{Gateway: &gateway{}, Operations: &control{}, Observe: func(_, code string, _ time.Duration) {
		if code == messages.InvalidArgument.String() {
			blamed.Add(1)
		}
	}})
	bad := []byte("\x0a\xff\xff\xff\xff\x0f")
	var out any
	calls := map[string]func(context.Context) error{}
	for _, method := range []string{messages.ModelOps_Infer_FullMethodName, messages.ModelOps_LoadModel_FullMethodName, "/grpc.health.v1.Health/Check"} {
		calls[method] = func(ctx context.Context) error { return conn.Invoke(ctx, method, bad, &out, grpc.ForceCodec(plain{})) }
	}
	for _, method := range []string{messages.ModelOps_InferStream_FullMethodName, "/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		calls[method] = func(ctx context.Context) error {
			s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(plain{}))
			if err == nil {
				err = errors.Join(s.SendMsg(bad), s.CloseSend())
			}
			if err == nil {
				err = s.RecvMsg(&out)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	for method, call := range calls {
		err := call(t.Context())
		e := FromStatus(err)
		if status.Code(err) != codes.InvalidArgument || e == nil || e.Code != messages.InvalidArgument || e.Subject != "message" || e.Hint == "" || strings.Contains(e.Message, "grpc:") {
			t.Errorf("%s: %v", method, err)
		}
	}
	if blamed.Load() != int64(len(calls)) {
		t.Errorf("%d of %d calls were counted", blamed.Load(), len(calls))
	}
}

// An error that quotes bytes which are no text keeps its reason.
func TestAStatusOfBytesThatAreNoText(t *testing.T) {
	_, conn := open(t, Options{Gateway: &gateway{infer: func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		return nil, &messages.Error{Code: messages.InferenceError, Subject: "a\xff", Message: "it said \xff", Log: []string{"\xfe"}}
	}}})
	_, err := messages.NewModelOpsClient(conn).Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: "x"})
	if e := FromStatus(err); e.Code != messages.InferenceError || e.Message != "it said \uFFFD" || len(e.Log) != 1 {
		t.Errorf("%v", err)
	}
}

// A status without a typed error, such as that of the health service, is counted under the code that is nearest: what a caller names wrong is no fault here.
func TestAPlainStatusIsCountedByItsCode(t *testing.T) {
	counted := make(chan string, 1)
	_, conn := open(t, Options{Gateway: &gateway{}, Observe: func(_, code string, _ time.Duration) { counted <- code }})
	_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "nothing"})
	if got := <-counted; status.Code(err) != codes.NotFound || got != messages.NotFound.String() {
		t.Errorf("%v is counted as %s", err, got)
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		ours := c == codes.Unknown || c == codes.Internal || c == codes.DataLoss
		if got := nearest(c); (got == messages.Internal) != ours {
			t.Errorf("%s is counted as %s", c, got)
		}
	}
}
