package explain

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Present is what the journal doesn't hold.
type Present struct {
	Now time.Time
	// Tries is how many loads in a row may fail before the model is failed; 0 = unknown, and not said.
	Tries int
}

// Question is what a Reading is about. Model is zero when the subject is no model; ID is a lease's, a placement's or a request's.
type Question struct {
	Subject string // as asked
	Model   messages.ActorID
	ID      string
	Request *Request // what memory knows of the request; may be nil
}

// keep bounds the facts that an explanation shows.
const keep = 32

// fact is an event and where it stands.
type fact struct {
	sequence uint64
	at       time.Time
	actor    messages.ActorID
	event    proto.Message
	note     string // what the ledgers showed then, and the event doesn't say
}

// Reading takes a journal in order and explains one subject. It is used by one goroutine.
type Reading struct {
	question Question
	house    house
	model    string          // of the subject, as an actor's name; empty until it is known
	mine     map[string]bool // open placements of the model
	window   []fact          // what concerns the subject, oldest first

	placed    *fact    // the model's last PlacementDecided
	postponed *fact    // and what told it to wait, if nothing was decided since
	named     *fact    // the decision that named it as a victim
	stayed    []string // who could have been named instead: idle or not, the journal doesn't know
	left      *fact    // its last ModelUnwanted
	failed    *fact    // its last LoadFailed since it was ready
	exited    *fact
	wanted    *fact
	since     time.Time // when its phase last changed

	asked  fact // the request's ModelWanted; zero when it caused none
	taken  bool // the id names a decision, not a request
	leases lease
	ended  *fact // how the lease ended
}

// Open begins a reading.
func Open(q Question) *Reading {
	r := &Reading{question: q, house: newHouse(), mine: map[string]bool{}}
	if q.Model != (messages.ActorID{}) {
		r.model = q.Model.String()
	}
	return r
}

// Take reads the next decision. Only facts about the subject are kept.
func (r *Reading) Take(rec messages.Recorded) {
	if r.question.ID != "" && rec.ID == r.question.ID && rec.Actor.Kind != messages.KindArbiter {
		r.taken = true
	}
	for _, e := range rec.Events {
		f := fact{sequence: rec.Sequence, at: rec.At, actor: rec.Actor, event: e}
		if _, ok := e.(*messages.ModelWanted); ok && r.question.ID != "" && rec.Meta.Correlation == r.question.ID && r.asked.event == nil {
			r.asked = f
			if r.model == "" {
				r.model = rec.Actor.String()
			}
		}
		if r.concerns(f) {
			f.note = r.noteOn(f)
			r.note(f)
		}
		r.fold(f)
	}
}

// note keeps a fact in the window; for a request, only what happened while it waited.
func (r *Reading) note(f fact) {
	if q := r.question.Request; q != nil && f.sequence != r.asked.sequence && !q.waitedAt(f.at) {
		return
	}
	if len(r.window) == keep {
		r.window = slices.Delete(r.window, 0, 1)
	}
	r.window = append(r.window, f)
}

// fold follows the house, and of the subject what the summary needs however long ago it was.
func (r *Reading) fold(f fact) {
	before := r.house.phase(r.model)
	r.house.fold(f)
	if r.house.phase(r.model) != before {
		r.since = f.at
	}
	switch e := f.event.(type) {
	case *messages.PlacementDecided:
		switch {
		case e.GetPlacement().GetHolder() == r.model && r.model != "":
			r.placed, r.postponed = &f, nil
			r.mine[e.Placement.GetId()] = true
		case slices.Contains(e.GetPlacement().GetVictims(), r.model):
			r.named, r.stayed = &f, r.house.rivals(e.Placement, f.at)
		}
	case *messages.PressureRelieved:
		if names(e.Victims, r.model) {
			r.named, r.stayed = &f, nil
		}
	case *messages.PlacementPostponed:
		if e.Holder == r.model {
			r.postponed = &f
		}
	case *messages.PlacementClosed:
		delete(r.mine, e.Id)
	case *messages.PlacementRefused:
		delete(r.mine, e.Id)
	}
	if f.actor.String() == r.model {
		r.foldModel(f)
	}
	r.foldLease(f)
}

func (r *Reading) foldModel(f fact) {
	switch e := f.event.(type) {
	case *messages.ModelWanted:
		r.wanted = &f
	case *messages.ModelUnwanted:
		r.left, r.postponed = &f, nil
	case *messages.LoadFailed:
		r.failed, r.postponed = &f, nil
	case *messages.ModelReady:
		r.failed = nil
	case *messages.ModelLoadStarted:
		r.postponed = nil
	case *messages.WorkerExited:
		if e.Reason != "stopped" {
			r.exited = &f
		}
	}
}

func (r *Reading) foldLease(f fact) {
	switch e := f.event.(type) {
	case *messages.VramReserved:
		if r.question.ID != "" && e.Lease == r.question.ID {
			r.leases, r.ended = lease{id: e.Lease, gpu: f.actor.String(), holder: e.Holder, bytes: e.Bytes, ttl: e.TtlSeconds, at: f.at, epoch: f.sequence}, nil
		}
	case *messages.VramSettled:
		if r.leases.id != "" && e.Lease == r.leases.id {
			r.leases.measured = e.MeasuredBytes
		}
	case *messages.VramReleased:
		if r.leases.id != "" && e.Lease == r.leases.id {
			r.ended = &f
		}
	case *messages.LeaseExpired:
		if r.leases.id != "" && e.Lease == r.leases.id {
			r.ended = &f
		}
	}
}

func names(victims []*messages.Victim, model string) bool {
	return model != "" && slices.ContainsFunc(victims, func(v *messages.Victim) bool { return v.GetHolder() == model })
}

// concerns tells whether a fact belongs to the subject's story. It looks at the house as it was before the fact.
func (r *Reading) concerns(f fact) bool {
	if r.question.ID != "" && r.question.Request == nil {
		return r.concernsID(f)
	}
	return r.model != "" && r.concernsModel(f)
}

func (r *Reading) concernsModel(f fact) bool {
	switch e := f.event.(type) {
	case *messages.LeaseSettled, *messages.LeaseReturned, *messages.ModelDrained, *messages.PlacementReserved, *messages.PlacementClosed, *messages.VramSettled:
		return false // steps of what other facts say already
	case *messages.PlacementDecided:
		return e.GetPlacement().GetHolder() == r.model || slices.Contains(e.GetPlacement().GetVictims(), r.model)
	case *messages.PlacementPostponed:
		return e.Holder == r.model
	case *messages.RolloutStarted, *messages.RolloutCanaried, *messages.RolloutPromoted, *messages.RolloutRolledBack, *messages.RouteDropped:
		x, _ := r.house.swapOf(f)
		return x.to == r.model || x.from == r.model
	case *messages.PressureRelieved:
		return names(e.Victims, r.model)
	case *messages.PlacementHinted:
		return e.Holder == r.model
	case *messages.DefragDecided:
		return e.Holder == r.model || slices.ContainsFunc(e.Moves, func(m *messages.Move) bool { return m.Holder == r.model })
	case *messages.MoveLeft:
		return e.Holder == r.model
	case *messages.VictimPreempted:
		return e.Holder == r.model || r.mine[e.Id]
	case *messages.PlacementRefused:
		return r.mine[e.Id]
	case *messages.PlacementAbandoned:
		return r.mine[e.Id]
	case *messages.VramReserved:
		return e.Holder == r.model
	case *messages.VramReleased:
		return r.house.ledger(f.actor).leases[e.Lease].holder == r.model
	case *messages.LeaseExpired:
		return r.house.ledger(f.actor).leases[e.Lease].holder == r.model
	case *messages.DeviceLost, *messages.DeviceRecovered, *messages.DeviceFaulted:
		_, on := r.house.model(r.model).placement.On(f.actor.String())
		return on
	}
	return f.actor.String() == r.model
}

// concernsID finds what happened to a placement or lease of an id. A placement's lease has its id.
func (r *Reading) concernsID(f fact) bool {
	id := r.question.ID
	switch e := f.event.(type) {
	case *messages.PlacementDecided:
		return e.GetPlacement().GetId() == id
	case *messages.PressureRelieved:
		return id == reliefID(f.sequence)
	case *messages.VictimPreempted:
		return e.Id == id
	case *messages.PlacementReserved:
		return e.Id == id
	case *messages.PlacementRefused:
		return e.Id == id
	case *messages.PlacementAbandoned:
		return e.Id == id
	case *messages.PlacementClosed:
		return e.Id == id
	case *messages.VramReserved:
		return e.Lease == id
	case *messages.VramSettled:
		return e.Lease == id
	case *messages.VramReleased:
		return e.Lease == id
	case *messages.LeaseExpired:
		return e.Lease == id
	case *messages.ModelUnwanted:
		return e.Placement == id
	case *messages.ModelLoadStarted:
		return e.GetPlacement().GetId() == id
	case *messages.WorkerStarted, *messages.ModelReady, *messages.LoadFailed, *messages.WorkerExited:
		return r.house.model(f.actor.String()).placement.GetId() == id
	}
	// A request's own id, when memory doesn't know it any more: what its model went through since.
	return r.asked.event != nil && f.sequence >= r.asked.sequence && r.concernsModel(f)
}

// noteOn says what the event leaves out: of whom a swap speaks, and who stayed on a device when others had to leave it: the event names only the victims.
func (r *Reading) noteOn(f fact) string {
	if f.actor.Kind == messages.KindHost {
		return r.house.swapNote(f)
	}
	e, ok := f.event.(*messages.PlacementDecided)
	if !ok || len(e.GetPlacement().GetVictims()) == 0 {
		return ""
	}
	var stay []string
	for _, l := range r.house.holders(e.Placement.Gpu()) {
		if slices.Contains(e.Placement.Victims, l.holder) || l.holder == e.Placement.GetHolder() {
			continue
		}
		why := ""
		if by := r.house.model(l.holder).pinner(f.at); by != "" {
			why = ", pinned by " + by
		}
		stay = append(stay, short(l.holder)+" ("+mib(l.holds())+why+")")
	}
	if len(stay) == 0 {
		return ""
	}
	return "there stayed " + strings.Join(stay, ", ")
}
