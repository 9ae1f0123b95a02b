package model

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Phase is where the model is on its way to a worker and back.
type Phase = messages.ModelView_Phase

// The phases of a model.
const (
	Absent        = messages.ModelView_absent
	Placing       = messages.ModelView_placing
	Loading       = messages.ModelView_loading
	Ready         = messages.ModelView_ready
	FallingAsleep = messages.ModelView_falling_asleep // its engine is being put to sleep
	Asleep        = messages.ModelView_asleep
	Waking        = messages.ModelView_waking
	Draining      = messages.ModelView_draining
	Stopping      = messages.ModelView_stopping
	Waiting       = messages.ModelView_waiting
	Failed        = messages.ModelView_failed
)

// State is the fold of one model's journal.
type State struct {
	ID        messages.ActorID
	Spec      *messages.ModelSpec
	Retired   bool // its declaration is withdrawn; the spec stays for what still has to be stopped
	Wanted    bool
	Reason    string // why it is wanted
	OnDemand  bool   `json:",omitempty"` // by requests or the loss of a host: nobody asked for it here
	FreeOnly  bool   `json:",omitempty"` // it moves here from another host, into free memory only; until it is ready
	Phase     Phase
	Attempt   uint64
	Failures  int // in a row, without healthyAfter between
	Placement *messages.Placement
	Nonce     string
	Worker    *messages.Worker
	Measured  uint64 // bytes
	Slots     uint32
	WantedMS  int64 // since when it wants a place, over all tries; 0 = it has one
	StartedMS int64
	ReadyMS   int64
	LoadMS    int64 // of its last load, also when nothing of that is left: the choice between hosts goes by it
	RetryMS   int64 // pause before the next try, in phase waiting
	Force     bool
	Unsettled bool   // the gpu actor hasn't heard the measured footprint
	LostLease string // of this attempt, which its device's owner doesn't know any more
	// SleepTried tells, in phase waking, that the try to fall asleep is over: only then it can be woken.
	SleepTried    bool
	SleepBytes    uint64 // bytes that the sleeping worker holds
	SleepFailedMS int64  // when it last didn't fall asleep
	// Returning holds leases of ended attempts that the gpu actor hasn't taken back.
	Returning []*messages.Placement
	Error     *messages.ErrorBody
	// Obeyed is the highest epoch of an arbiter whose decision was taken; 0 = no arbiter ever took over.
	Obeyed  uint64 `json:",omitempty"`
	LogFile string // of the worker that exited last
	Breaker messages.ModelView_Breaker
	// Footprints are measured peaks in bytes, by revision and device kind ("4f2a@cuda"); they beat every estimate.
	Footprints map[string]uint64
	// Guess is what to ask for after a worker ran out of memory, in bytes; 0 = nothing went wrong. It isn't a footprint: foreign use may have
	// been the reason. It ends when a worker is ready or no device can hold it, because the model could never be placed again otherwise.
	Guess      uint64
	PinnedBy   string
	PinnedTill int64 // ms since 1970; 0 = for good
	// Scale is how many workers were last asked for since it became wanted; 0 = as declared. What follows is empty on a replica.
	Scale       uint32
	ScaledMS    int64
	Replicas    map[string]Replica // further workers, by name
	Replacement *Replacement
	// HeldMS is when a replacement last failed.
	HeldMS int64
	// Taken is the placement that it took last. A grant can arrive again when its leases are given back already: it is taken once.
	Taken string
	// MadeRoom is the placement for which it was last evicted: asking twice evicts once.
	MadeRoom string
	// LeftFor is that placement until the model is unloaded by hand: only as long as it is set may the model be brought back for it.
	LeftFor string
}

// footprintKey is what a footprint depends on: the revision covers file and arguments.
func footprintKey(spec *messages.ModelSpec, deviceKind string) string {
	return spec.GetRevision() + "@" + deviceKind
}

// remembered is the largest footprint measured for the declaration, or guessed after one that was too small; 0 when there is none.
func (s State) remembered() uint64 {
	most := s.Guess
	for key, bytes := range s.Footprints {
		if strings.HasPrefix(key, s.Spec.GetRevision()+"@") {
			most = max(most, bytes)
		}
	}
	return most
}

// pinned tells whether the model may not be evicted at a time.
func (s State) pinned(now time.Time) bool {
	return s.Spec.GetPinned() || s.PinnedBy != "" && (s.PinnedTill == 0 || now.UnixMilli() < s.PinnedTill)
}

// New is a model without a declaration.
func New(id messages.ActorID) State {
	return State{ID: id, Phase: Absent, Breaker: messages.ModelView_closed}
}

// resident tells whether a worker runs or is about to.
func (s State) resident() bool {
	switch s.Phase {
	case Loading, Ready, FallingAsleep, Asleep, Waking, Draining, Stopping:
		return true
	}
	return false
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, sequence uint64) State {
	s = evolve(s, event, sequence).replaced()
	switch event.(type) {
	case *messages.ModelDeclared, *messages.ModelScaled:
		return s.reconcileReplicas(sequence, true)
	}
	return s.reconcileReplicas(sequence, false)
}

func evolve(s State, event proto.Message, sequence uint64) State {
	switch e := event.(messages.ModelEvent).(type) {
	case *messages.ModelDeclared:
		s.Spec, s.Retired = e.Spec, false
	case *messages.ModelRetired:
		s.Retired = true
	case *messages.ModelWanted:
		s = wanted(s, e)
	case *messages.ModelUnwanted:
		s.Wanted, s.Reason, s.OnDemand, s.FreeOnly, s.LeftFor = false, "", false, false, e.Placement
		if e.Placement != "" {
			s.MadeRoom = e.Placement
		}
		s.Obeyed = max(s.Obeyed, e.ArbiterEpoch)
		s.WantedMS, s.Failures = 0, 0 // a new request resets the retry budget
		s.Scale, s.ScaledMS, s.Replacement, s.HeldMS = 0, 0, nil, 0
		if !s.resident() {
			s.Phase, s.Error = Absent, nil
		}
	case *messages.ModelLoadStarted:
		s.Phase, s.Placement, s.Nonce, s.StartedMS = Loading, e.Placement, e.Nonce, e.At.AsTime().UnixMilli()
		s.Worker, s.LogFile, s.WantedMS, s.Taken = nil, "", 0, e.Placement.GetId()
		s.Obeyed = max(s.Obeyed, e.Placement.GetArbiterEpoch())
	case *messages.WorkerStarted:
		s.Worker = e.Worker
	case *messages.ModelReady:
		s.Phase, s.Measured, s.Slots, s.LoadMS = Ready, e.MeasuredBytes, e.Slots, e.LoadMs
		s.ReadyMS, s.Error, s.Unsettled, s.FreeOnly = e.At.AsTime().UnixMilli(), nil, true, false
		s = s.remember(e.MeasuredBytes)
		s.Guess = 0
	case *messages.FootprintMeasured:
		s.Measured, s.Unsettled = e.Bytes, true
		s = s.remember(e.Bytes)
	case *messages.ModelPinned:
		s.PinnedBy, s.PinnedTill = e.Owner, e.UntilMs
	case *messages.LeaseSettled:
		s.Unsettled = false
	case *messages.ModelDraining:
		s.Phase, s.Force = Draining, e.Force
	case *messages.ModelDrained:
		s.Phase = Stopping
	case *messages.WorkerExited:
		s.LogFile = e.LogFile
		if s.Phase == Ready && !e.Unwitnessed {
			s.Failures = max(s.Failures, 1)
			if s.healthy(e.At.AsTime()) {
				s.Failures = 0
			}
		}
		s = ended(s.withoutDegraded())
	case *messages.LoadFailed:
		s.Failures++
		s.Error, s.RetryMS = e.Error, e.RetryMs
		switch {
		case e.OutOfMemory && s.Placement != nil: // too little was reserved, or less than that was free: ask for a quarter more
			s.Guess = s.Placement.Bytes() + s.Placement.Bytes()/4
		case s.Placement == nil: // no device can hold so much
			s.Guess = 0
		}
		s = ended(s)
		s.Phase = Waiting
		if e.RetryMs <= 0 { // no try follows: the wait of a later request doesn't begin now
			s.Phase, s.WantedMS = Failed, 0
		}
	case *messages.LeaseReturned:
		s.Returning = withoutClaim(s.Returning, e.Placement)
	case *messages.BreakerChanged:
		s.Breaker = e.State
	case *messages.SleepStarted, *messages.ModelAsleep, *messages.WakeStarted, *messages.ModelAwake:
		s = evolveSleep(s, e)
	case *messages.ModelLeaseLost:
		s.LostLease = e.Lease
	case *messages.ModelScaled, *messages.ReplicaSettled, *messages.WorkerDegraded, *messages.WorkerReplaced, *messages.ReplacementFailed:
		s = evolveReplicas(s, e, sequence)
	}
	return s
}

// keepFootprints bounds what is remembered of old revisions.
const keepFootprints = 8

// remember notes a footprint for the device the model is on. Old revisions go when there are too many.
func (s State) remember(bytes uint64) State {
	if bytes == 0 || s.Placement == nil {
		return s
	}
	next := map[string]uint64{}
	for key, b := range s.Footprints {
		if len(s.Footprints) < keepFootprints || strings.HasPrefix(key, s.Spec.GetRevision()+"@") {
			next[key] = b
		}
	}
	key := footprintKey(s.Spec, s.Placement.DeviceKind)
	next[key] = max(next[key], bytes)
	s.Footprints = next
	return s
}

// healthyAfter is how long a worker must have been ready before its death counts as a first failure again.
const healthyAfter = time.Minute

func (s State) healthy(now time.Time) bool {
	return s.Phase == Ready && now.UnixMilli()-s.ReadyMS > healthyAfter.Milliseconds()
}

func wanted(s State, e *messages.ModelWanted) State {
	s.Wanted, s.Reason, s.OnDemand, s.FreeOnly = true, e.Reason, e.OnDemand, e.FreeOnly
	if !s.resident() {
		if s.Phase == Failed {
			s.Failures = 0
		}
		s.Phase, s.Attempt, s.Error = Placing, e.Attempt, nil
		if s.WantedMS == 0 {
			s.WantedMS = e.At.AsTime().UnixMilli()
		}
	}
	return s
}

// ended closes an attempt: its leases are to be returned, and nothing of its worker is left.
func ended(s State) State {
	if s.Placement != nil {
		s.Returning = append(append([]*messages.Placement(nil), s.Returning...), s.Placement)
	}
	s.Placement, s.Worker, s.Nonce, s.Force, s.Unsettled, s.LostLease = nil, nil, "", false, false, ""
	s.Measured, s.Slots, s.ReadyMS, s.StartedMS = 0, 0, 0, 0
	s.SleepTried, s.SleepBytes, s.SleepFailedMS = false, 0, 0
	s.Phase, s.Breaker = Absent, messages.ModelView_closed
	return s
}

func withoutClaim(in []*messages.Placement, id string) []*messages.Placement {
	var out []*messages.Placement
	for _, p := range in {
		if p.Id != id {
			out = append(out, p)
		}
	}
	return out
}

// declared tells whether the model may be asked for.
func (s State) declared() bool { return s.Spec != nil && !s.Retired }

// View is what is shown of the model. A withdrawn declaration isn't shown, so that no route leads there.
func View(s State) proto.Message {
	if s.Retired {
		s.Spec = nil
	}
	holds := s.Measured
	if s.Phase == Asleep {
		holds = s.SleepBytes
	}
	v := &messages.ModelView{
		Id: s.ID.String(), Host: s.ID.Host(), Name: s.ID.Name(), Phase: s.Phase, Wanted: s.Wanted, Attempt: s.Attempt,
		Spec: s.Spec, Placement: s.Placement, Worker: s.Worker, MeasuredBytes: holds, ReadyMs: s.ReadyMS, LoadMs: s.LoadMS,
		Error: s.Error, Breaker: s.Breaker, Slots: s.Slots, LogFile: s.LogFile, PinnedBy: s.PinnedBy, PinnedUntilMs: s.PinnedTill,
		Footprints: s.Footprints, RememberedBytes: s.remembered(), WantedMs: s.WantedMS, Replicas: s.workers(), Nonce: s.Nonce, ObeyedEpoch: s.Obeyed, OnDemand: s.OnDemand, FreeOnly: s.FreeOnly,
	}
	if s.Replacement != nil {
		v.Replacing, v.Replacement = s.Replacement.Replica, s.Replacement.By
	}
	return v
}
