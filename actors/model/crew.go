package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// callAgain is how soon the same number of workers is called up again: one that loads or waits for a place isn't gone.
const callAgain = 30 * time.Second

// Mate is a further worker that the model asked for and hasn't dismissed: a replica, or a replacement.
type Mate struct {
	Wanted  bool
	Settled bool   // it was told so
	Order   uint64 // sequence of the decision that ordered it; reports of older ones are dropped
}

// isReplica tells whether the model is a further worker of another one, which decides for it.
func (s State) isReplica() bool { return s.Spec.GetReplicaOf() != "" }

// bounded is a number of workers within what the declaration allows.
func (s State) bounded(n uint32) uint32 {
	least := max(s.Spec.GetMinReplicas(), 1)
	return min(max(n, least), max(s.Spec.GetMaxReplicas(), least))
}

// seats is how many workers shall serve the model, itself included.
func (s State) seats() uint32 {
	if s.isReplica() {
		return 0
	}
	return s.bounded(s.Scale)
}

// manned lists the further workers that there shall be.
func (s State) manned() []string {
	if !s.Wanted || s.isReplica() {
		return nil
	}
	var out []string
	for n := 2; n <= int(s.seats()); n++ {
		out = append(out, messages.ReplicaName(s.ID.Name(), n))
	}
	if s.Swap != nil && s.Swap.Replacement != "" && !slices.Contains(out, s.Swap.Replacement) {
		out = append(out, s.Swap.Replacement)
	}
	return out
}

// staffed orders up who shall be there and isn't, and dismisses the others. renew tells all anew: the declaration changed, or one may be
// gone.
func (s State) staffed(sequence uint64, renew bool) State {
	manned := s.manned()
	if len(manned) == 0 && len(s.Crew) == 0 {
		return s
	}
	crew := map[string]Mate{}
	for name, m := range s.Crew {
		if m.Wanted && !slices.Contains(manned, name) {
			m = Mate{Order: sequence}
		}
		crew[name] = m
	}
	for _, name := range manned {
		if !crew[name].Wanted || renew {
			crew[name] = Mate{Wanted: true, Order: sequence}
		}
	}
	s.Crew = crew
	return s
}

// scale sets how many workers there shall be. The same number again brings back who is gone.
func scale(s State, c *messages.ScaleModel, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	switch {
	case !s.declared():
		return entity.Verdict{}, NotFound(s.ID)
	case s.isReplica():
		return entity.Verdict{}, forReplica(s)
	case !s.Wanted:
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, s.ID.String(), "it isn't loaded, so it has no workers").
			WithHint("modelops load " + s.ID.Name())
	}
	n := s.bounded(c.Replicas)
	if n == s.seats() && (n == 1 || s.ordering() || at.Now.UnixMilli()-s.ScaledMS < callAgain.Milliseconds()) {
		return noted(fmt.Sprintf("already so: %d", n))
	}
	v := entity.Facts(&messages.ModelScaled{Replicas: n, Reason: c.Reason, At: now})
	if n != c.Replicas {
		v.Answer = func(uint64) proto.Message {
			return &messages.Done{Note: fmt.Sprintf("bounded to %d by its declaration", n)}
		}
	}
	return v, nil
}

func forReplica(s State) *messages.Error {
	return messages.Errorf(messages.InvalidArgument, s.ID.String(), "it is a replica; %s decides for it", s.Spec.ReplicaOf).
		WithHint("send it to " + messages.ModelActor(s.ID.Host(), s.Spec.ReplicaOf).String())
}

// ordering tells whether somebody hasn't been told yet.
func (s State) ordering() bool {
	for _, m := range s.Crew {
		if !m.Settled {
			return true
		}
	}
	return false
}

func replicaSettled(s State, c *messages.ReportReplicaSettled, now *timestamppb.Timestamp) (entity.Verdict, error) {
	m, ok := s.Crew[c.Replica]
	ordered := ok && m.Order == c.Order && !m.Settled && m.Wanted == c.Up
	if !ordered && !s.Swap.renewed(c.Replica, c.Order) {
		return stale()
	}
	return entity.Facts(&messages.ReplicaSettled{Replica: c.Replica, Up: c.Up, Order: c.Order, At: now}), nil
}

// evolveCrew folds what happens to the further workers.
func evolveCrew(s State, event proto.Message, sequence uint64) State {
	switch e := event.(type) {
	case *messages.ModelScaled:
		s.Scale, s.ScaledMS = e.Replicas, e.At.AsTime().UnixMilli()
	case *messages.ReplicaSettled:
		if s.Swap.renewed(e.Replica, e.Order) {
			s.Swap = nil
			break
		}
		m, ok := s.Crew[e.Replica]
		if !ok || m.Order != e.Order {
			break
		}
		s.Crew = maps.Clone(s.Crew)
		m.Settled = true
		s.Crew[e.Replica] = m
		if !e.Up {
			delete(s.Crew, e.Replica)
		}
	case *messages.WorkerDegraded, *messages.WorkerReplaced, *messages.ReplacementFailed:
		s = evolveSwap(s, e, sequence)
	}
	return s
}

// mateSpec is the declaration of a further worker. Its engine is called by the model's name, so that it answers as the model.
func (s State) mateSpec(name string) *messages.ModelSpec {
	spec := proto.CloneOf(s.Spec)
	spec.Name, spec.ReplicaOf, spec.UseModelName = name, s.ID.Name(), cmp.Or(spec.UseModelName, s.ID.Name())
	spec.Aliases, spec.Unlisted, spec.MinReplicas, spec.MaxReplicas, spec.DeclaredBy = nil, true, 0, 0, "replica"
	return spec
}

// freeName is a replica's name with a number above all in use.
func (s State) freeName() string {
	last := int(s.seats())
	for name := range s.Crew {
		n, _ := strconv.Atoi(name[strings.LastIndexByte(name, '~')+1:])
		last = max(last, n)
	}
	return messages.ReplicaName(s.ID.Name(), last+1)
}

// owedCrew is what the further workers have to be told.
func owedCrew(s State) []entity.Effect {
	var out []entity.Effect
	for _, name := range slices.Sorted(maps.Keys(s.Crew)) {
		m, actor := s.Crew[name], messages.ModelActor(s.ID.Host(), name)
		switch {
		case !m.Wanted:
			out = append(out, dismiss{actor, m.Order})
		case s.Swap != nil && !s.Swap.Renewing && s.Swap.Replacement == name:
			out = append(out, stepIn{actor, s.mateSpec(name), m.Order})
		case !m.Settled:
			out = append(out, callUp{actor, s.mateSpec(name), m.Order})
		}
	}
	if w := s.Swap; w != nil && w.Renewing && w.Replica != s.ID.Name() {
		out = append(out, renew{messages.ModelActor(s.ID.Host(), w.Replica), w.Attempt, w.Reason, w.Order})
	}
	return out
}
