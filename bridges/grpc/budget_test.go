package grpcapi

import (
	"context"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// Requests take their part of the memory for all bodies and give it back; while it is used up no inference begins.
func TestRequestsShareTheBudgetOfBodies(t *testing.T) {
	budget := messages.NewBudget(4 << 10)
	var during int64
	_, conn := open(t, Options{Bodies: budget, Operations: &control{}, Gateway: &gateway{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		during = budget.Used()
		return echo(ctx, r, emit)
	}}})
	client := messages.NewModelOpsClient(conn)
	ask := func(size int) error {
		_, err := client.Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: string(make([]byte, size))})
		return err
	}
	if err := ask(2 << 10); err != nil || during < 2<<10 || budget.Used() != 0 {
		t.Errorf("%v, %d while it ran, %d after it", err, during, budget.Used())
	}
	if e := FromStatus(ask(5 << 10)); e.Code != messages.PayloadTooLarge {
		t.Error(e)
	}
	other := budget.Body()
	if err := other.Grow(t.Context(), 4<<10); err != nil {
		t.Fatal(err)
	}
	if e := FromStatus(ask(1)); e.Code != messages.BulkheadRejection || e.Retry <= 0 || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	stream, err := client.InferStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); FromStatus(err).Code != messages.BulkheadRejection {
		t.Error(err)
	}
	if _, err := client.ListModels(t.Context(), &emptypb.Empty{}); err != nil {
		t.Error("an operation needs no room:", err)
	}
	other.Free()
	if err := ask(1); err != nil {
		t.Error(err)
	}
}
