package grpcapi

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// knowsAlice refuses every key but alice's, and a missing one.
func knowsAlice(_ context.Context, c messages.Credentials) (messages.Principal, error) {
	key := c.Key
	if key == "" {
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "there is none")
	}
	if key == "alice-key" {
		return messages.Principal{Name: "alice", Class: "interactive", Fingerprint: "f00", Role: messages.Role_ADMIN}, nil
	}
	return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
}

// tellsCaller answers with the caller, after a wait at place 2.
func tellsCaller(ctx context.Context, r *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	a := messages.CallerFrom(ctx)
	a.OnQueued(messages.QueuePlace{Position: 2, Expected: 1500 * time.Millisecond})
	a.OnQueued(messages.QueuePlace{Position: 1})
	keep := "as declared"
	if a.KeepAlive != nil {
		keep = a.KeepAlive.String()
	}
	if len(r.Parameters) > 1 || r.Parameters["keep_alive"] != "" {
		return nil, errors.New("the engine would see keep_alive")
	}
	return &messages.InferenceResponse{ResponseText: a.Name + " " + a.Class + " " + a.RequestID + " " + messages.MetaFrom(ctx).Caller + " " + keep, QueuedMs: 12, Host: "pc2"}, nil
}

func TestCallersAndPlaces(t *testing.T) {
	_, conn := open(t, Options{Authenticate: knowsAlice, Gateway: &gateway{infer: tellsCaller}})
	client := messages.NewModelOpsClient(conn)
	ask := func() *messages.InferenceRequest {
		return &messages.InferenceRequest{ModelName: "tiny", Prompt: "x", RequestId: "r1", Parameters: map[string]string{"keep_alive": `"5m"`, "seed": "1"}}
	}
	for _, pair := range [][2]string{{"authorization", "Bearer alice-key"}, {"x-api-key", "alice-key"}} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), pair[0], pair[1])
		var header metadata.MD
		r, err := client.Infer(ctx, ask(), grpc.Header(&header))
		if err != nil || r.ResponseText != "alice interactive r1 f00 5m0s" || r.QueuePosition != 2 || r.QueueExpectedMs != 1500 {
			t.Fatal(pair, r, err)
		}
		if header.Get(QueuePositionHeader)[0] != "2" || header.Get(QueueExpectedHeader)[0] != "1500" || header.Get(QueueWaitHeader)[0] != "12" || header.Get(messages.HostHeader)[0] != "pc2" {
			t.Error(header)
		}
		stream, err := client.InferStream(ctx)
		if err != nil || stream.Send(ask()) != nil {
			t.Fatal(err)
		}
		chunk, err := stream.Recv()
		if err != nil || chunk.Response.GetQueuePosition() != 2 || chunk.Response.GetResponseText() != "alice interactive r1 f00 5m0s" {
			t.Error(chunk, err)
		}
		_ = stream.CloseSend()
		_, _ = stream.Recv()
	}
}

func TestUnknownCallers(t *testing.T) {
	_, conn := open(t, Options{Authenticate: knowsAlice, Operations: &control{}, Gateway: &gateway{infer: tellsCaller}})
	client := messages.NewModelOpsClient(conn)
	for _, ctx := range []context.Context{t.Context(), metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer wrong")} {
		_, err := client.Infer(ctx, &messages.InferenceRequest{ModelName: "tiny", Prompt: "x"})
		if status.Code(err) != codes.Unauthenticated || FromStatus(err).Code != messages.Unauthenticated {
			t.Error(err)
		}
		stream, err := client.InferStream(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Error(err)
		}
	}
	if _, err := client.ListModels(t.Context(), &emptypb.Empty{}); status.Code(err) != codes.Unauthenticated {
		t.Error("management needs a key too:", err)
	}
	if _, err := client.ListModels(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "wrong"), &emptypb.Empty{}); status.Code(err) != codes.Unauthenticated {
		t.Error("a wrong key is a mistake everywhere:", err)
	}
}

// No operation runs for a caller whose role doesn't cover it.
func TestEveryOperationNeedsItsRole(t *testing.T) {
	g, c := &gateway{infer: tellsCaller}, &control{}
	var role atomic.Int32
	_, conn := open(t, Options{Operations: c, Gateway: g, Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{Name: "x", Role: messages.Role(role.Load())}, nil
	}})
	for _, o := range messages.OperationTable() {
		for _, r := range []messages.Role{messages.Role_ROLE_UNKNOWN, messages.Role_PEER, o.Role - 1} {
			role.Store(int32(r))
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/modelops.ModelOps/"+o.Name)
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.SendMsg(o.Request())
			_ = stream.CloseSend()
			if err := stream.RecvMsg(o.Answer()); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s as %s: %v", o.Name, r, err)
			}
		}
	}
}

func TestKeepAliveIsStrict(t *testing.T) {
	_, conn := open(t, Options{Gateway: &gateway{infer: tellsCaller}})
	_, err := messages.NewModelOpsClient(conn).Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: "x", Parameters: map[string]string{"keep_alive": "soon"}})
	if status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

// mangled sends bytes that are no message.
type mangled struct{}

func (mangled) Name() string                { return "proto" }
func (mangled) Marshal(any) ([]byte, error) { return []byte{0xff, 0xff}, nil }
func (mangled) Unmarshal([]byte, any) error { return nil }

// Who may not run an operation isn't told that its message is wrong: that is for those who may.
func TestTheRoleIsAskedBeforeTheMessageIsRead(t *testing.T) {
	roles := map[string]messages.Role{"reader": messages.Role_READ, "operator": messages.Role_OPERATE}
	_, conn := open(t, Options{Operations: &control{}, Authenticate: func(_ context.Context, c messages.Credentials) (messages.Principal, error) {
		if roles[c.Key] == 0 {
			return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
		}
		return messages.Principal{Name: c.Key, Role: roles[c.Key]}, nil
	}})
	for key, want := range map[string]codes.Code{"nobody": codes.Unauthenticated, "reader": codes.PermissionDenied, "operator": codes.InvalidArgument} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
		err := conn.Invoke(ctx, messages.ModelOps_LoadModel_FullMethodName, &emptypb.Empty{}, &emptypb.Empty{}, grpc.ForceCodec(mangled{}))
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %v", key, err, want)
		}
	}
}
