package grpcapi

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// service is the whole service: inference by hand, everything else from the table of operations.
type service struct {
	messages.UnsafeModelOpsServer
	messages.Operations
	inference
}

// inference is what has a way of its own.
type inference struct{ *Server }

// operations run what the table says, for callers whose role allows it.
func (s *Server) operations() messages.Operations {
	return messages.Through(func(ctx context.Context, o messages.Operation, request proto.Message) (proto.Message, error) {
		principal, err := s.Authenticate.Authorize(ctx, o, credentialsOf(ctx))
		if err != nil {
			return nil, refuse(ctx, err)
		}
		ctx, cancel := s.life(messages.WithCaller(ctx, messages.Caller{Principal: principal}), uuid.NewString(), principal)
		defer cancel()
		answer, err := o.Call(ctx, s.Operations, request)
		if err != nil {
			return nil, refuse(ctx, err)
		}
		return answer, nil
	})
}
