package explain

import (
	"cmp"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// concerned lists the models and jobs that a fact is about, each once. It looks at the states as they were before the fact.
func (x *index) concerned(f fact) []string {
	var out []string
	add := func(holders ...string) {
		for _, h := range holders {
			for _, m := range x.modelsOf(h) {
				if !slices.Contains(out, m) {
					out = append(out, m)
				}
			}
		}
	}
	switch e := f.event.(type) {
	case *messages.LeaseSettled, *messages.LeaseReturned, *messages.ModelDrained, *messages.PlacementReserved, *messages.PlacementClosed, *messages.VramSettled,
		*messages.CheckpointAcknowledged, *messages.JobLeaseReturned:
		return nil // steps of what other facts say already
	case *messages.PlacementDecided:
		add(e.GetPlacement().GetHolder())
		add(weighedFor(e.GetPlacement().GetHolder(), e.Candidates)...)
		add(e.GetPlacement().GetVictims()...)
	case *messages.PlacementPostponed:
		add(e.Holder)
		add(weighedFor(e.Holder, e.Candidates)...)
	case *messages.RolloutStarted, *messages.RolloutCanaried, *messages.RolloutPromoted, *messages.RolloutRolledBack, *messages.RouteDropped:
		r, _ := x.latest.routedOf(f)
		add(r.to, r.from)
	case *messages.PressureRelieved:
		add(modelsOf(e.Victims)...)
	case *messages.PlacementHinted:
		add(e.Holder)
	case *messages.DefragDecided:
		add(e.Holder)
		for _, m := range e.Moves {
			add(m.GetHolder())
		}
	case *messages.MoveLeft:
		add(e.Holder)
	case *messages.DisplacedReinstated:
		add(x.latest.placed(e.Id))
	case *messages.InversionFound:
		add(e.GetInversion().GetHolder(), e.GetInversion().GetJob())
	case *messages.InversionEnded:
		add(e.Holder, e.Job)
	case *messages.VictimPreempted:
		add(e.Holder, x.latest.placed(e.Id))
	case *messages.PlacementRefused:
		add(x.latest.placed(e.Id))
	case *messages.PlacementAbandoned:
		add(x.latest.placed(e.Id))
	case *messages.VramReserved:
		add(e.Holder)
	case *messages.VramReleased:
		add(x.holderOf(f, e.Lease))
	case *messages.LeaseExpired:
		add(x.holderOf(f, e.Lease))
	case *messages.LeaseReclaimed:
		add(x.holderOf(f, e.Lease))
	case *messages.DeviceLost, *messages.DeviceRecovered, *messages.DeviceFaulted:
		for name, s := range x.stories {
			if _, on := s.placement.On(f.actor.String()); on {
				add(name)
			}
		}
	default:
		if messages.Holds(f.actor.Kind) {
			add(f.actor.String())
		}
	}
	return out
}

func (x *index) holderOf(f fact, lease string) string {
	return x.latest.ledger(f.actor.String()).Leases[lease].Holder
}

// modelsOf are the models or the job that a holder stands for: itself, or every known model of a name while its host isn't chosen.
func (x *index) modelsOf(holder string) []string {
	if !isActor(holder) {
		return nil
	}
	if id, err := messages.ParseActorID(holder); err != nil || id.Host() != messages.AnyHost {
		return []string{holder}
	}
	var out []string
	for name := range x.stories {
		if isHolder(holder, name) {
			out = append(out, name)
		}
	}
	return out
}

// weighedFor are the models that a holder without a host stands for, by the hosts whose devices were weighed for it. Those of other hosts say
// nothing else in this journal.
func weighedFor(holder string, candidates []*messages.Candidate) []string {
	id, err := messages.ParseActorID(holder)
	if err != nil || id.Kind != messages.KindModel || id.Host() != messages.AnyHost {
		return nil
	}
	var out []string
	for _, c := range candidates {
		if host := hostOf(c.GetGpu()); host != "" {
			out = append(out, messages.ModelActor(host, id.Name()).String())
		}
	}
	return out
}

// wants is the holder that an event says a place is wanted for: what a request can cause.
func wants(e proto.Message) (holder string, ok bool) {
	switch e := e.(type) {
	case *messages.ModelWanted:
		return "", true // its own actor
	case *messages.PlacementDecided:
		return e.GetPlacement().GetHolder(), isModel(e.GetPlacement().GetHolder())
	case *messages.PlacementPostponed:
		return e.Holder, isModel(e.Holder)
	}
	return "", false
}

// modelWanted is the model that a request's fact is about; empty when none is known.
func (x *index) modelWanted(f *fact) string {
	holder, ok := wants(f.event)
	if known := x.modelsOf(cmp.Or(holder, f.actor.String())); ok && len(known) > 0 {
		return slices.Min(known) // of a model on several hosts, while none is chosen, the first by name
	}
	return ""
}

// idsOf lists the placements and leases that a fact is part of; nil when facts of its type never are. A placement's lease may have its id.
// loaded is the placement with which the fact's model last began to load. A goal's facts have its own name for an id.
func idsOf(f fact, loaded string) []string {
	if f.actor.Kind == messages.KindGoal {
		return []string{f.actor.String()}
	}
	switch e := f.event.(type) {
	case *messages.PlacementDecided:
		return []string{e.GetPlacement().GetId()}
	case *messages.PressureRelieved:
		return []string{reliefID(f.sequence)}
	case *messages.VictimPreempted:
		return []string{e.Id}
	case *messages.PlacementReserved:
		return []string{e.Id}
	case *messages.PlacementRefused:
		return []string{e.Id}
	case *messages.PlacementAbandoned:
		return []string{e.Id}
	case *messages.PlacementClosed:
		return []string{e.Id}
	case *messages.VramReserved:
		return []string{e.Lease}
	case *messages.VramSettled:
		return []string{e.Lease}
	case *messages.VramResized:
		return []string{e.Lease}
	case *messages.VramReleased:
		return []string{e.Lease}
	case *messages.LeaseExpired:
		return []string{e.Lease}
	case *messages.LeaseReclaimed:
		return []string{e.Lease}
	case *messages.ModelUnwanted:
		return []string{e.Placement}
	case *messages.ModelLoadStarted:
		return []string{e.GetPlacement().GetId()}
	case *messages.JobReserved:
		return []string{e.GetPlacement().GetId()}
	case *messages.JobStarted, *messages.JobAttemptFailed, *messages.JobPreempted, *messages.JobPaused, *messages.JobCompleted, *messages.JobFailed, *messages.JobCancelled:
		return []string{loaded}
	case *messages.WorkerStarted, *messages.ModelReady, *messages.LoadFailed, *messages.WorkerExited:
		return []string{loaded}
	}
	return nil
}

const reliefs = "relief/"

// reliefID names a decision to relieve pressure: it has no id but its place in the journal.
func reliefID(sequence uint64) string { return reliefs + strconv.FormatUint(sequence, 10) }
