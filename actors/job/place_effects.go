package job

import (
	"cmp"
	"context"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// kinds of devices on which a trainer runs, the preferred first.
var kinds = []string{"cuda", "rocm", "oneapi", "unified", "simulated", "cpu"}

// place asks the arbiter, again and again while it is undecided: asking twice for one attempt gives one placement. Only a job that no device can ever
// hold fails for it.
func (h ports) place(ctx context.Context, e place) (proto.Message, error) {
	need := h.need(e)
	if need.Bytes == 0 {
		refusal := messages.NewError(messages.InvalidArgument, e.ID.String(), "how much device memory it needs isn't known: neither the job nor its recipe says so, and its recipe never ran here").
			WithHint("give vram_bytes in the recipe or in the job")
		return &messages.ReportJobPlacementFailed{Attempt: e.Attempt, Error: refusal.Body()}, nil
	}
	_, err := h.door.Ask(ctx, messages.ArbiterActor(), &messages.RequestPlacement{Holder: e.ID.String(), Priority: e.Spec.Rank(), Preemptible: !e.Spec.GetUnpreemptible(),
		Claim: &messages.Claim{Id: claimOf(e.Attempt), Needs: []*messages.Need{need}}})
	if refusal := messages.AsError(err); messages.CodeOf(err) == messages.GPUUnavailable && refusal.Retry == 0 {
		return &messages.ReportJobPlacementFailed{Attempt: e.Attempt, Error: refusal.Body()}, nil
	}
	return nil, err
}

// need is what a job needs on its host. What it declares beats what was measured, and that beats what its recipe declares.
func (h ports) need(e place) *messages.Need {
	devices, each, source := e.Spec.RunsOn(), e.Spec.GetVramBytes(), messages.Need_declared
	if each == 0 && h.measured != nil {
		if each = h.measured(e.Spec); each > 0 {
			source = messages.Need_measured
		}
	}
	each = cmp.Or(each, e.Spec.GetRecipe().GetVramBytes())
	return &messages.Need{Host: e.ID.Host(), Bytes: each * uint64(devices), Source: source, Kinds: kinds, Shards: devices}
}
