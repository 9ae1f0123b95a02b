package main

import (
	"context"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/actors/control"
	"modelops/messages"
)

// doors fits the operations to the doors that have yet to be made from the table of operations.
type doors struct{ *control.Control }

func (d doors) Load(ctx context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	return d.LoadModel(ctx, r)
}
func (d doors) Unload(ctx context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	return d.UnloadModel(ctx, r)
}
func (d doors) List(ctx context.Context) (*messages.ModelList, error) { return d.ListModels(ctx, nil) }
func (d doors) AcquireLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	return d.AcquireGpuLease(ctx, r)
}
func (d doors) ReleaseLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	return d.ReleaseGpuLease(ctx, r)
}
func (d doors) Status(ctx context.Context) (*messages.StatusView, error) {
	return d.GetStatus(ctx, nil)
}
func (d doors) State(ctx context.Context, actor messages.ActorID) (*messages.StateReply, error) {
	return d.GetState(ctx, &messages.StateRequest{Actor: actor.String()})
}
func (d doors) Queue(ctx context.Context) (*messages.QueueView, error) { return d.GetQueue(ctx, nil) }
func (d doors) ApplyConfig(ctx context.Context, dry bool) (*messages.ConfigChanges, error) {
	return d.Control.ApplyConfig(ctx, &messages.ApplyConfigRequest{DryRun: dry})
}
func (d doors) Swap(ctx context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	return d.StartSwap(ctx, r)
}
func (d doors) Promote(ctx context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	return d.PromoteSwap(ctx, r)
}
func (d doors) Rollback(ctx context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	return d.RollbackSwap(ctx, r)
}
func (d doors) Swaps(ctx context.Context) (*messages.SwapList, error) { return d.ListSwaps(ctx, nil) }

// Send is SendCommand for a door that asks nobody for a key: it may send everything.
func (d doors) Send(ctx context.Context, actor messages.ActorID, command string, body []byte) (*messages.Sent, error) {
	r := &messages.SendRequest{Actor: actor.String(), Command: command, Body: &structpb.Struct{}}
	if err := protojson.Unmarshal(body, r.Body); err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, command, "its JSON can't be read: %w", err)
	}
	caller := messages.CallerFrom(ctx)
	caller.Role = messages.Role_ADMIN
	reply, err := d.SendCommand(messages.WithCaller(ctx, caller), r)
	if err != nil {
		return nil, err
	}
	out := &messages.Sent{AnswerType: reply.AnswerType, Answer: plain(reply.Answer), Sequence: uint64(reply.Sequence)}
	for _, e := range reply.Events {
		out.Events = append(out.Events, messages.SentEvent{Name: e.Name, Body: plain(e.Body)})
	}
	return out, nil
}

func plain(s *structpb.Struct) json.RawMessage {
	if s == nil {
		return nil
	}
	b, err := s.MarshalJSON()
	if err != nil {
		return nil
	}
	return b
}
