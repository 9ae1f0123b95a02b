package grpcapi

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// A stranger is refused at every method of every service that is registered, before the message is read: none is sent here. The methods that anybody may call stand
// in a list.
func TestStrangersCallNothing(t *testing.T) {
	s, conn := open(t, Options{Gateway: &gateway{infer: echo}, Operations: &control{}, Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
	}})
	tried := 0
	for name, service := range s.grpc.GetServiceInfo() {
		for _, m := range service.Methods {
			method := "/" + name + "/" + m.Name
			if slices.Contains(openMethods, method) {
				continue
			}
			tried++
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Unauthenticated { // an open method waits for the message
				t.Fatalf("%s: %v", method, err)
			}
			cancel()
		}
	}
	if tried < 20 {
		t.Errorf("only %d methods were found", tried)
	}
}
