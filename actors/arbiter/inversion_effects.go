package arbiter

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

type (
	// watchInversion looks whether an inversion still is one.
	watchInversion struct{ Holder, Job string }
	// remedy stops the job of an inversion, with a checkpoint and its grace.
	remedy struct {
		Holder, Job string
		Attempt     uint64
	}
)

func (e watchInversion) Key() string { return "inversion/" + e.Holder + "/" + e.Job }
func (e remedy) Key() string         { return "remedy/" + e.Holder + "/" + e.Job }

// Delay implements entity.Delayed: the holder asks again sooner than that, and its placement ends the inversion.
func (watchInversion) Delay() time.Duration { return 2 * time.Second }

// Pace implements entity.Paced.
func (watchInversion) Pace() (first, longest time.Duration) { return 2 * time.Second, 2 * time.Second }

// Pace implements entity.Paced: the job is told again while it holds the memory; that it knows it already changes nothing.
func (remedy) Pace() (first, longest time.Duration) { return time.Second, 10 * time.Second }

// settleInversions is what is owed while inversions last.
func (s State) settleInversions() (out []entity.Effect) {
	for _, i := range s.inversions() {
		out = append(out, watchInversion{i.Holder, i.Job})
		if i.Taken {
			out = append(out, remedy{i.Holder, i.Job, i.Attempt})
		}
	}
	return out
}

func (h ports) remedy(ctx context.Context, e remedy) (proto.Message, error) {
	job, err := messages.ParseActorID(e.Job)
	if err != nil {
		return nil, err
	}
	_, err = h.door.Ask(ctx, job, &messages.StopJob{Attempt: e.Attempt, Cause: messages.StopCause_stop_inversion,
		Reason: e.Holder + ", which has a higher priority, has waited too long for its memory"})
	return nil, err
}
