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

// ensureAgain is how soon the same number of workers is asked for again: one that loads or waits for memory isn't gone.
const ensureAgain = 30 * time.Second

// Replica is a further worker of the model, or one that takes a degraded worker's place. It is kept until it is removed.
type Replica struct {
	Wanted  bool
	Settled bool   // it has been told
	Order   uint64 // sequence of the decision that ordered it; reports of older ones are dropped
}

// isReplica tells whether the model is a further worker of another one, which decides for it.
func (s State) isReplica() bool { return s.Spec.GetReplicaOf() != "" }

// bounded is a number of workers within what the declaration allows. The least of a model that runs on several hosts is counted over all of them, by those
// who see them: a host alone wants one.
func (s State) bounded(n uint32) uint32 {
	least := max(s.Spec.GetMinReplicas(), 1)
	most := max(s.Spec.GetMaxReplicas(), least)
	if len(s.Spec.GetHosts()) > 1 {
		least = 1
	}
	return min(max(n, least), most)
}

// workers is the desired number of workers, the model's own included; 0 on a replica.
func (s State) workers() uint32 {
	if s.isReplica() {
		return 0
	}
	return s.bounded(s.Scale)
}

// desiredReplicas lists the further workers that are wanted.
func (s State) desiredReplicas() []string {
	if !s.Wanted || s.isReplica() {
		return nil
	}
	var out []string
	for n := 2; n <= int(s.workers()); n++ {
		out = append(out, messages.ReplicaName(s.ID.Name(), n))
	}
	if s.Replacement != nil && s.Replacement.By != "" && !slices.Contains(out, s.Replacement.By) {
		out = append(out, s.Replacement.By)
	}
	return out
}

// reconcileReplicas orders the missing replicas and the removal of those that aren't wanted. renew orders all of them again: the declaration
// changed, or one may be gone.
func (s State) reconcileReplicas(sequence uint64, renew bool) State {
	desired := s.desiredReplicas()
	if len(desired) == 0 && len(s.Replicas) == 0 {
		return s
	}
	replicas := map[string]Replica{}
	for name, r := range s.Replicas {
		if r.Wanted && !slices.Contains(desired, name) {
			r = Replica{Order: sequence}
		}
		replicas[name] = r
	}
	for _, name := range desired {
		if !replicas[name].Wanted || renew {
			replicas[name] = Replica{Wanted: true, Order: sequence}
		}
	}
	s.Replicas = replicas
	return s
}

// scale sets the desired number of workers. The same number again ensures those that are gone.
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
	if n == s.workers() && (n == 1 || s.pendingReplicas() || at.Now.UnixMilli()-s.ScaledMS < ensureAgain.Milliseconds()) {
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

// pendingReplicas tells whether a replica hasn't been told yet.
func (s State) pendingReplicas() bool {
	for _, m := range s.Replicas {
		if !m.Settled {
			return true
		}
	}
	return false
}

func replicaSettled(s State, c *messages.ReportReplicaSettled, now *timestamppb.Timestamp) (entity.Verdict, error) {
	r, ok := s.Replicas[c.Replica]
	ordered := ok && r.Order == c.Order && !r.Settled && r.Wanted == c.Up
	if !ordered && !s.Replacement.restarted(c.Replica, c.Order) {
		return stale()
	}
	return entity.Facts(&messages.ReplicaSettled{Replica: c.Replica, Up: c.Up, Order: c.Order, At: now}), nil
}

// evolveReplicas folds what happens to the further workers.
func evolveReplicas(s State, event proto.Message, sequence uint64) State {
	switch e := event.(type) {
	case *messages.ModelScaled:
		s.Scale, s.ScaledMS = e.Replicas, e.At.AsTime().UnixMilli()
	case *messages.ReplicaSettled:
		if s.Replacement.restarted(e.Replica, e.Order) {
			s.Replacement = nil
			break
		}
		r, ok := s.Replicas[e.Replica]
		if !ok || r.Order != e.Order {
			break
		}
		s.Replicas = maps.Clone(s.Replicas)
		r.Settled = true
		s.Replicas[e.Replica] = r
		if !e.Up {
			delete(s.Replicas, e.Replica)
		}
	case *messages.WorkerDegraded, *messages.WorkerReplaced, *messages.ReplacementFailed:
		s = evolveReplacement(s, e, sequence)
	}
	return s
}

// replicaSpec is the declaration of a further worker. Its engine is called by the model's name, so that it answers as the model.
func (s State) replicaSpec(name string) *messages.ModelSpec {
	spec := proto.CloneOf(s.Spec)
	spec.Name, spec.ReplicaOf, spec.UseModelName = name, s.ID.Name(), cmp.Or(spec.UseModelName, s.ID.Name())
	spec.Aliases, spec.Unlisted, spec.MinReplicas, spec.MaxReplicas, spec.DeclaredBy = nil, true, 0, 0, "replica"
	return spec
}

// freeName is a replica's name with a number above all in use.
func (s State) freeName() string {
	last := int(s.workers())
	for name := range s.Replicas {
		n, _ := strconv.Atoi(name[strings.LastIndexByte(name, '~')+1:])
		last = max(last, n)
	}
	return messages.ReplicaName(s.ID.Name(), last+1)
}

// owedReplicas are the orders that haven't reached their replicas.
func owedReplicas(s State) []entity.Effect {
	var out []entity.Effect
	for _, name := range slices.Sorted(maps.Keys(s.Replicas)) {
		r, actor := s.Replicas[name], messages.ModelActor(s.ID.Host(), name)
		switch {
		case !r.Wanted:
			out = append(out, removeReplica{actor, r.Order})
		case s.Replacement != nil && !s.Replacement.Restarting && s.Replacement.By == name:
			out = append(out, ensureReplacement{actor, s.replicaSpec(name), r.Order})
		case !r.Settled:
			out = append(out, ensureReplica{actor, s.replicaSpec(name), r.Order})
		}
	}
	if w := s.Replacement; w != nil && w.Restarting && w.Replica != s.ID.Name() {
		out = append(out, restartReplica{messages.ModelActor(s.ID.Host(), w.Replica), w.Attempt, w.Reason, w.Order})
	}
	return out
}
