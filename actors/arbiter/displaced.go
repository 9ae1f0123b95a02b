package arbiter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Jobs and models share devices: a job leaves for a model that requests want, and waits until that model rests; an idle model leaves for a job, and comes back
// after it when somebody had loaded it.

// coolDown is how long a job that had to leave isn't placed again on the same device while the model for which it left is busy there. Memory that is free for a
// moment would else have the job start and leave in turn.
const coolDown = time.Minute

// Displaced is a job that had to leave.
type Displaced struct {
	For  string   // the holder for which it left
	Gpus []string // what that one took
	AtMS int64
}

// Away are models that left for a job and come back after it.
type Away struct {
	Victims []string
	Gpus    []string
	// Job holds the memory by this lease: they come back when it doesn't any more.
	Job, Lease string
}

// isJob tells whether a holder is a job.
func isJob(holder string) bool { return strings.HasPrefix(holder, messages.KindJob+"/") }

// displaced notes the jobs that leave for a placement, and drops those whose cool-down is over.
func (s State) displaced(e *messages.PlacementDecided) map[string]Displaced {
	now := e.At.AsTime().UnixMilli()
	old := s.Displaced
	if len(e.Jobs) == 0 {
		return without(old, e.Placement.Holder) // it has its place
	}
	out := map[string]Displaced{}
	for job, d := range old {
		if now-d.AtMS < coolDown.Milliseconds() {
			out[job] = d
		}
	}
	var gpus []string
	for _, share := range e.Placement.Shares {
		gpus = append(gpus, share.Gpu)
	}
	delete(out, e.Placement.Holder)
	for _, job := range e.Jobs {
		out[job] = Displaced{For: e.Placement.Holder, Gpus: gpus, AtMS: now}
	}
	return out
}

// notOn says why a job isn't placed on a device now, whatever is free there; empty when it may be.
func (q question) notOn(s State, gpu string) string {
	if why := q.cools(s, gpu); why != "" || !q.line.me.IdleOnly {
		return why
	}
	for _, r := range q.allocations {
		switch _, here := r.On(gpu); {
		case !here || r.Job:
		case r.Active+r.Queued > 0:
			return fmt.Sprintf("it runs only while nothing else does, and %s has %d requests", r.Holder, r.Active+r.Queued)
		case r.State == messages.Allocation_settled && r.IdleMs < restsFor.Milliseconds(): // else it would start and leave between each two requests
			return fmt.Sprintf("it runs only while nothing else does, and %s answered %s ago", r.Holder, ms(r.IdleMs).Round(time.Second))
		}
	}
	return ""
}

// cools says why a job isn't placed on a device now; empty when it may be.
func (q question) cools(s State, gpu string) string {
	d, ok := s.Displaced[q.holder]
	if !ok || q.now-d.AtMS >= coolDown.Milliseconds() || !slices.Contains(d.Gpus, gpu) {
		return ""
	}
	for _, r := range q.allocations {
		if _, here := r.On(gpu); here && r.Holder == d.For && useOf(r, q.collation) != atRest {
			return fmt.Sprintf("it left %s ago for %s, which is busy there", ms(q.now-d.AtMS).Round(time.Second), d.For)
		}
	}
	return ""
}

// victimsOf fills in which victims are jobs, and which models come back after a job: those that somebody had loaded, unless they move.
func (q question) victimsOf(d *messages.PlacementDecided) {
	for _, v := range d.Placement.Victims {
		i := slices.IndexFunc(q.allocations, func(a *messages.Allocation) bool { return a.Holder == v && len(a.Shares) > 0 })
		moves := slices.ContainsFunc(d.Moves, func(m *messages.Move) bool { return m.Holder == v })
		switch {
		case isJob(v):
			d.Jobs = append(d.Jobs, v)
		case isJob(d.Placement.Holder) && !moves && i >= 0 && q.allocations[i].Kept:
			d.Back = append(d.Back, v)
		}
	}
}

// away notes the models that come back after a placement that ends here: handed over, refused or given up. Those that wait for another job's end on one of its
// devices wait for this one's instead: to come back between the two would have each of them leave again at once.
func (s State) away(o Open, taken bool) map[string]Away {
	p, out := o.Placement, s.Away
	if taken && isJob(p.GetHolder()) {
		for id, a := range s.Away {
			if slices.ContainsFunc(p.Shares, func(x *messages.Share) bool { return slices.Contains(a.Gpus, x.Gpu) }) {
				a.Job, a.Lease = p.Holder, p.Shares[0].Lease
				out = with(out, id, a)
			}
		}
	}
	if len(o.Back) == 0 || len(p.GetShares()) == 0 {
		return out
	}
	a := Away{Victims: o.Back, Job: p.Holder, Lease: p.Shares[0].Lease}
	for _, share := range p.Shares {
		a.Gpus = append(a.Gpus, share.Gpu)
	}
	return with(out, p.Id, a)
}

// reinstated ends the wait of the models that left for a placement.
func (s State) reinstated(c *messages.ReportReinstated, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if _, ok := s.Away[c.Id]; !ok {
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.DisplacedReinstated{Id: c.Id, At: now}), nil
}
