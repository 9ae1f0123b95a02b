package grpcapi

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// LoadModel returns when the model is ready, or with the reason why it can't be.
func (s *Server) LoadModel(ctx context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	switch {
	case r.ModelName == "":
		return nil, refuse(ctx, invalid("model_name", "it is empty", "name the model to load"))
	case r.Shards < 0:
		return nil, refuse(ctx, invalid("shards", "it is negative", "leave it out for one shard"))
	}
	return ask(ctx, s, r, s.Control.Load)
}

// UnloadModel drains the model and frees its memory.
func (s *Server) UnloadModel(ctx context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	if r.ModelName == "" {
		return nil, refuse(ctx, invalid("model_name", "it is empty", "name the model to unload"))
	}
	return ask(ctx, s, r, s.Control.Unload)
}

// ListModels lists what can be asked for.
func (s *Server) ListModels(ctx context.Context, r *emptypb.Empty) (*messages.ModelList, error) {
	return ask(ctx, s, r, func(ctx context.Context, _ *emptypb.Empty) (*messages.ModelList, error) { return s.Control.List(ctx) })
}

// AcquireGpuLease reserves device memory. A refusal for want of memory is an OK reply with granted false: old clients rely on it.
func (s *Server) AcquireGpuLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	switch {
	case r.VramEstimateMb < 0:
		return nil, refuse(ctx, invalid("vram_estimate_mb", "it is negative", "say how many MiB are needed"))
	case r.TtlSeconds < 0:
		return nil, refuse(ctx, invalid("ttl_seconds", "it is negative", "leave it out for 30"))
	}
	return ask(ctx, s, r, s.Control.AcquireGpuLease)
}

// ReleaseGpuLease gives the memory back; unknown leases are no error.
func (s *Server) ReleaseGpuLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	return ask(ctx, s, r, s.Control.ReleaseGpuLease)
}

// Why explains, from the journal, why a model, lease, placement or request is where it is.
func (s *Server) Why(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	if r.Subject == "" {
		return nil, refuse(ctx, invalid("subject", "it is empty", "name a model, a request, a lease or a placement"))
	}
	return ask(ctx, s, r, s.Control.Why)
}

func ask[Q, A any](ctx context.Context, s *Server, question Q, answer func(context.Context, Q) (A, error)) (A, error) {
	var none A
	var caller messages.Principal
	if key := keyOf(ctx); key != "" { // who manages the house needs none, but a wrong one is a mistake
		var err error
		if caller, err = s.Callers.Of(messages.Credentials{Key: key}); err != nil {
			return none, refuse(ctx, err)
		}
	}
	ctx, cancel := s.life(ctx, uuid.NewString(), caller)
	defer cancel()
	a, err := answer(ctx, question)
	if err != nil {
		return none, refuse(ctx, err)
	}
	return a, nil
}
