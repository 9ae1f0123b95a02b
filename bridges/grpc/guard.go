package grpcapi

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"modelops/messages"
)

// guardUnary keeps a panic from ending the process, and reports the end of each call.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
	start := time.Now()
	if c := began(ctx, info.FullMethod); c != nil {
		defer c.CallEnded()
	}
	defer func() {
		if p := recover(); p != nil {
			reply, err = nil, statusOf(s.caught(info.FullMethod, p))
		}
		s.tell(ctx, info.FullMethod, err, start)
	}()
	if err := s.enter(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	start := time.Now()
	if c := began(stream.Context(), info.FullMethod); c != nil {
		defer c.CallEnded()
	}
	defer func() {
		if p := recover(); p != nil {
			err = statusOf(s.caught(info.FullMethod, p))
		}
		s.tell(stream.Context(), info.FullMethod, err, start)
	}()
	if err := s.enter(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, reading{stream})
}

// enter lets callers with a role call what is no operation, such as reflection. Operations check their own role, when they know the caller.
func (s *Server) enter(ctx context.Context, method string) error {
	if strings.HasPrefix(method, operationRoot) || slices.Contains(openMethods, method) {
		return nil
	}
	if _, err := s.Authenticate.AuthorizeInference(ctx, credentialsOf(ctx)); err != nil {
		return refuse(ctx, err)
	}
	return nil
}

const operationRoot = "/modelops.ModelOps/"

// openMethods are the methods that anybody may call: load balancers have no key, and learn only whether this host serves.
var openMethods = []string{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List"}

// caught logs a panic and makes the answer for it. The answer doesn't say what panicked: it may hold a prompt.
func (s *Server) caught(method string, p any) *messages.Error {
	s.Log.Error("a gRPC call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	return messages.NewError(messages.Internal, method, "the call panicked").WithHint("the stack is in the server's log")
}

// tell reports and logs the end of a call. Messages of errors stay out of the log unless the fault is ours: they may quote input.
func (s *Server) tell(ctx context.Context, method string, err error, start time.Time) {
	took := time.Since(start)
	if err == nil {
		s.Observe(method, "OK", took)
		s.Log.Debug("gRPC call", "method", method, "code", "OK", "took", took)
		return
	}
	e := asCaused(err)
	s.Observe(method, e.Code.String(), took)
	level, attrs := slog.LevelDebug, []any{"method", method, "code", e.Code.String(), "took", took}
	if e.Code.Wire().HTTP >= 500 {
		level, attrs = slog.LevelWarn, append(attrs, "subject", e.Subject, "error", e.ForLog())
	}
	s.Log.Log(ctx, level, "gRPC call failed", attrs...)
}
