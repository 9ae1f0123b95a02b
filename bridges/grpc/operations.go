package grpcapi

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
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

// operations run what the table says. Who calls was asked before (described).
func (s *Server) operations() messages.Operations {
	return messages.Through(func(ctx context.Context, o messages.Operation, request proto.Message) (proto.Message, error) {
		principal := principalIn(ctx)
		if err := principal.Allows(o, messages.Model{}); err != nil {
			return nil, refuse(ctx, err)
		}
		ctx, cancel := s.life(messages.WithCaller(ctx, messages.Caller{Principal: principal, Only: messages.Only{Host: sent{ctx}.Get(messages.HostHeader)}}), uuid.NewString(), principal)
		defer cancel()
		answer, err := o.Call(ctx, s.Operations, request)
		if err != nil {
			return nil, refuse(ctx, err)
		}
		return answer, nil
	})
}

// described is the service as it is generated, but it asks who calls before it reads the message: nobody's message takes memory, or is told to be
// wrong, before the role is known to be enough.
func (s *Server) described() *grpc.ServiceDesc {
	d := s.readable(messages.ModelOps_ServiceDesc)
	for i, m := range d.Methods {
		o, ok := messages.OperationNamed(m.MethodName)
		if !ok {
			o = messages.Operation{Name: m.MethodName} // nobody has the role that it needs
		}
		d.Methods[i].Handler = func(srv any, ctx context.Context, read func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
			ctx, err := s.authorize(ctx, o)
			if err != nil {
				return nil, err
			}
			room := s.Bodies.Body()
			defer room.Free()
			return m.Handler(srv, ctx, s.reader(ctx, &room, read), guard)
		}
	}
	return d
}

// reader reads the message of a call, when there is room for it.
func (s *Server) reader(ctx context.Context, room *messages.Body, read func(any) error) func(any) error {
	w := wireOf(ctx)
	return func(v any) error {
		a, is := v.(*arrival)
		if !is {
			return read(v)
		}
		m, is := a.into.(proto.Message)
		if !is || w == nil {
			return read(v)
		}
		return s.receive(ctx, w, room, m, true)
	}
}

// principalOf is the context's key of the caller of a call of one message.
type principalOf struct{}

func principalIn(ctx context.Context) messages.Principal {
	p, _ := ctx.Value(principalOf{}).(messages.Principal)
	return p
}

func (s *Server) authorize(ctx context.Context, o messages.Operation) (_ context.Context, err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = statusOf(s.caught(operationRoot+o.Name, p))
		}
		if err != nil {
			s.tell(ctx, operationRoot+o.Name, err, start)
		}
	}()
	principal, err := s.Authenticate.Authorize(ctx, o, credentialsOf(ctx))
	if err != nil {
		return ctx, refuse(ctx, err)
	}
	return context.WithValue(ctx, principalOf{}, principal), nil
}
