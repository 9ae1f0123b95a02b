package arbiter

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// reinstate brings the models back that left for a job's placement, once the job doesn't hold that memory any more.
type reinstate struct {
	ID string
	Away
}

func (e reinstate) Key() string { return "reinstate/" + e.ID + "/" + e.Lease }

// Pace: the job is asked until its memory is given back, which may take hours.
func (reinstate) Pace() (first, longest time.Duration) { return time.Second, 10 * time.Second }

// comeBack is what is owed to models that left for jobs.
func (s State) comeBack() (out []entity.Effect) {
	for _, id := range slices.Sorted(maps.Keys(s.Away)) {
		out = append(out, reinstate{id, s.Away[id]})
	}
	return out
}

// reinstate asks the job first, then each model. One that was unloaded by hand since, or is gone, stays where it is.
func (h ports) reinstate(ctx context.Context, e reinstate) (proto.Message, error) {
	job, err := messages.ParseActorID(e.Job)
	if err != nil {
		return &messages.ReportReinstated{Id: e.ID}, nil
	}
	r, err := h.door.Ask(ctx, job, &messages.QueryHolding{Lease: e.Lease})
	if code := messages.CodeOf(err); err != nil && code != messages.NotFound && !staysDown(err) {
		return nil, err
	}
	if reply, ok := r.Answer.(*messages.HoldingReply); err == nil && ok && reply.Holds {
		return nil, nil
	}
	for _, v := range e.Victims {
		model, err := messages.ParseActorID(v)
		if err != nil {
			continue
		}
		_, err = h.door.Ask(ctx, model, &messages.Reinstate{Placement: e.ID, Reason: e.Job + ", for which it left, has given the memory back"})
		switch code := messages.CodeOf(err); {
		case err == nil, code == messages.FailedPrecondition, code == messages.ModelNotFound, code == messages.NotFound, staysDown(err):
		default:
			return nil, err
		}
	}
	return &messages.ReportReinstated{Id: e.ID}, nil
}
