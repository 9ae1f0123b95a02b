package grpcapi

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"modelops/messages"
)

// Infer answers one prompt.
func (s *Server) Infer(ctx context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error) {
	caller := principalIn(ctx)
	err := caller.AllowsInference(messages.Model{})
	if err == nil {
		err = messages.CheckInference(r)
	}
	if err != nil {
		return nil, refuse(ctx, err)
	}
	ctx, cancel := s.life(ctx, name(r), caller)
	defer cancel()
	var arrival messages.Arrival
	response, err := s.infer(ctx, r, caller, &arrival, nil)
	_ = grpc.SetHeader(ctx, queueHeader(arrival.Place(), response)) // fails only outside of a call
	if err != nil {
		return nil, refuse(ctx, err)
	}
	return response, nil
}

// infer brings a request to the gateway and notes in its answer how it waited.
func (s *Server) infer(ctx context.Context, r *messages.InferenceRequest, caller messages.Principal, arrival *messages.Arrival, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	c := messages.Caller{Principal: caller, RequestID: r.RequestId, OnQueued: arrival.Told, Only: messages.Only{Host: sent{ctx}.Get(messages.HostHeader)}}
	var err error
	if c.KeepAlive, err = messages.TakeKeepAlive(r); err != nil {
		return nil, err
	}
	response, err := s.Gateway.Infer(messages.WithCaller(ctx, c), r, emit)
	arrival.Note(response)
	return response, err
}

// name gives a request its id when the client gave none.
func name(r *messages.InferenceRequest) string {
	if r.RequestId == "" {
		r.RequestId = uuid.NewString()
	}
	return r.RequestId
}

// life is the context of one piece of work: it always has a deadline, and what follows from it shares correlation.
func (s *Server) life(ctx context.Context, correlation string, caller messages.Principal) (context.Context, context.CancelFunc) {
	ctx = messages.WithMeta(ctx, messages.Meta{Correlation: correlation, Causation: correlation, Caller: caller.Fingerprint})
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.Timeout)
}
