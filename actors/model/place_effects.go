package model

import (
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// place asks the arbiter, again and again while it is undecided: asking twice for one attempt gives one placement.
func (h ports) place(ctx context.Context, e place) (proto.Message, error) {
	need, err := NeedOf(ctx, h.runtime, e.Spec, e.Known)
	if err != nil {
		return &messages.ReportPlacementFailed{Attempt: e.Attempt, Error: messages.AsError(err).Body()}, nil
	}
	need.Host = e.ID.Host()
	_, err = h.door.Ask(ctx, messages.ArbiterActor(), &messages.RequestPlacement{Holder: e.ID.String(), Preemptible: true, FreeOnly: e.FreeOnly,
		Claim: &messages.Claim{Id: claimOf(e.Attempt), Needs: []*messages.Need{need}, Groups: e.Spec.GetGroups()}})
	if messages.CodeOf(err) == messages.GPUUnavailable {
		refusal := messages.AsError(err)
		return &messages.ReportPlacementFailed{Attempt: e.Attempt, Error: refusal.Body(), Retriable: refusal.Retry > 0}, nil
	}
	return nil, err
}

// RunsOn says which kinds of devices a model's engine uses. Remote engines hold nothing here and go anywhere.
func RunsOn(spec *messages.ModelSpec) []string {
	switch spec.GetRuntime() {
	case "embedded":
		return []string{"cpu", "unified", "simulated"}
	case "openai", "ollama":
		return []string{"cpu", "unified", "simulated", "cuda", "rocm", "oneapi"}
	}
	return []string{"cuda", "rocm", "oneapi", "unified", "simulated", "cpu"}
}

// ShardsOf is over how many devices a model is split. Some engines can't split, and remote ones split on their own host.
func ShardsOf(spec *messages.ModelSpec) uint32 {
	switch spec.GetRuntime() {
	case "embedded", "whisper.cpp", "openai", "ollama":
		return 1
	}
	return spec.GetShards()
}

// Estimator says what a model's files suggest of its need.
type Estimator interface {
	// Need is the memory to reserve, declared, else estimated, with its source, and the devices that the declaration names. It fails when the
	// file isn't there, and when the declaration contradicts itself.
	Need(ctx context.Context, spec *messages.ModelSpec) (*messages.Need, error)
}

// NeedOf is what a model needs on a host: what was measured there beats what is declared, and that beats what its file suggests.
func NeedOf(ctx context.Context, from Estimator, spec *messages.ModelSpec, measured uint64) (*messages.Need, error) {
	need, err := from.Need(ctx, spec) // also finds out that the file isn't there
	if err != nil {
		return nil, err
	}
	if len(need.Kinds) == 0 {
		need.Kinds = RunsOn(spec)
	}
	if need.Shards == 0 {
		need.Shards = ShardsOf(spec)
	}
	if measured > 0 {
		need.Bytes, need.Source = measured, messages.Need_measured
	}
	return need, nil
}
