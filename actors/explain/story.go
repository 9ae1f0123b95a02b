package explain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/model"
	"modelops/messages"
)

// spot is where a fact stands in the journal. The zero spot is nowhere.
type spot struct {
	sequence uint64
	nth      int // event of its decision
}

func (s spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(s.sequence, o.sequence), cmp.Compare(s.nth, o.nth))
}

// fact is an event with all that an explanation says of it.
type fact struct {
	spot
	at          time.Time
	actor       messages.ActorID
	event       proto.Message
	note        string // what the states showed then, and the event doesn't say
	correlation string // of its decision; set on loaded facts only, as what follows
	host        string // whose journal it is in; empty when there is one journal only
	id, cause   string // of its decision
}

// after tells whether a fact is the later one. The order of facts in different journals is known by the clocks only.
func (f *fact) after(o *fact) bool {
	if f.host == o.host {
		return f.compare(o.spot) > 0
	}
	return f.at.After(o.at)
}

// ref stands for a fact that is in the journal. The zero ref stands for none.
type ref struct {
	spot
	note string
}

func refOf(f fact) ref { return ref{f.spot, f.note} }

// story is what the index keeps of one model or job: where its facts are, and what states forget. It is bounded, whatever the model went through.
type story struct {
	window []ref // the last facts that concern it, oldest first; at most keep

	placed    ref      // its last PlacementDecided
	postponed ref      // what told it to wait, if nothing was decided since
	named     ref      // the decision that named it as a victim
	stayed    []string // which models could have been named instead: the journal doesn't say which of them were idle
	left      ref      // its last ModelUnwanted
	failed    ref      // its last LoadFailed since it was ready
	exited    ref
	wanted    ref
	since     time.Time // when its phase last changed

	leaving   string              // why it drains, sleeps or wakes
	placement *messages.Placement // its last one, also when its worker is gone: later events of the device still concern it
}

// keep bounds the facts that an explanation shows.
const keep = 32

// refs are all facts that the story needs.
func (s *story) refs() []ref {
	return append(slices.Clone(s.window), s.placed, s.postponed, s.named, s.left, s.failed, s.exited, s.wanted)
}

// remember adds a fact to the window.
func (s *story) remember(f fact) {
	if len(s.window) == keep {
		s.window = slices.Delete(s.window, 0, 1)
	}
	s.window = append(s.window, refOf(f))
}

// follow takes what the summary needs however long ago it was. model is the story's own.
func (s *story) follow(model string, f fact, l *latest) {
	switch e := f.event.(type) {
	case *messages.PlacementDecided:
		switch {
		case isHolder(e.GetPlacement().GetHolder(), model):
			s.postponed = ref{}
			if hostOf(e.GetPlacement().Gpu()) == hostOf(model) { // else its name got its place on another host
				s.placed = refOf(f)
			}
		case slices.Contains(e.GetPlacement().GetVictims(), model):
			s.named, s.stayed = refOf(f), l.rivals(e.Placement, f.at)
		}
	case *messages.PressureRelieved:
		s.named, s.stayed = refOf(f), nil
	case *messages.PlacementPostponed:
		s.postponed = refOf(f)
	}
	if f.actor.String() == model {
		s.followOwn(f)
	}
}

func (s *story) followOwn(f fact) {
	switch e := f.event.(type) {
	case *messages.ModelWanted:
		s.wanted = refOf(f)
	case *messages.ModelUnwanted:
		s.left, s.postponed = refOf(f), ref{}
	case *messages.LoadFailed:
		s.failed, s.postponed = refOf(f), ref{}
	case *messages.ModelReady:
		s.failed = ref{}
	case *messages.ModelLoadStarted:
		s.postponed, s.placement = ref{}, e.Placement
	case *messages.JobReserved:
		s.postponed, s.placement = ref{}, e.Placement
	case *messages.JobPaused, *messages.JobFailed, *messages.JobCancelled:
		s.postponed = ref{}
	case *messages.SleepStarted:
		s.leaving = e.Reason
	case *messages.WakeStarted:
		s.leaving = e.Reason
	case *messages.ModelDraining:
		s.leaving = e.Reason
	case *messages.WorkerExited:
		if e.Reason != model.Stopped {
			s.exited = refOf(f)
		}
	}
}

// hostOf is the host of an actor.
func hostOf(actor string) string {
	id, _ := messages.ParseActorID(actor)
	return id.Host()
}

// isActor tells whether a holder is an actor of some host, and no program.
func isActor(holder string) bool {
	kind, _, _ := strings.Cut(holder, "/")
	return messages.Holds(kind)
}

// isModel tells whether a holder is a model of some host.
func isModel(holder string) bool { return strings.HasPrefix(holder, messages.KindModel+"/") }

// isHolder tells whether a holder stands for a model: by its name, or by its name on any host, as long as its host isn't chosen.
func isHolder(holder, model string) bool {
	if holder == model {
		return true
	}
	rest, ok := strings.CutPrefix(holder, messages.KindModel+"/"+messages.AnyHost+"/")
	return ok && strings.HasSuffix(model, "/"+rest) && short(model) == rest
}
