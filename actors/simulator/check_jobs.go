package simulator

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/job"
	"modelops/messages"
)

// What must never be of jobs. The rules are written here once more, so that a fault of the arbiter's doesn't hide itself.

// jobEvents looks at a job's decisions: one end, and no memory for one that was cancelled.
func (w *World) jobEvents(id messages.ActorID, e proto.Message) {
	switch e.(type) {
	case *messages.JobCompleted, *messages.JobFailed, *messages.JobCancelled:
		if before := w.ends[id]; before != "" {
			w.violated("%s ends twice: %s after %s", id, name(e), before)
		}
		w.ends[id] = name(e)
	case *messages.JobReserved:
		if w.cancelled[id] {
			w.violated("%s gets memory although it was cancelled", id)
		}
	}
}

// checkJobs: each process has its leases, and its job knows it; no goal has more than its quota by jobs that don't borrow; not more jobs run than may.
func (w *World) checkJobs() {
	if len(w.jobs) == 0 {
		return
	}
	for _, r := range w.runs {
		for _, p := range r.parts {
			if _, ok := w.ledgers[p.device].state.Leases[p.lease]; r.outcome == nil && !ok {
				w.violated("attempt %d of %s is alive without its lease %s", r.attempt, r.job, p.lease)
			}
		}
	}
	if w.down {
		return
	}
	own, running := map[string]uint32{}, map[string]uint32{}
	count := func(m *node[job.State], p *messages.Placement) {
		running[m.id.Host()]++
		if !p.Borrowed && m.state.Spec.GetGoal() != "" {
			own[m.state.Spec.Goal] += uint32(len(p.Shares))
		}
	}
	counted := map[messages.ActorID]bool{}
	for _, m := range w.jobs {
		s := &m.state
		if s.Placement != nil {
			counted[m.id] = true
			count(m, s.Placement)
		}
		if over(s.Phase) != (w.ends[m.id] != "") {
			w.violated("%s is %s, and its end was %q", m.id, s.Phase, w.ends[m.id])
		}
	}
	for _, o := range w.arbiter.state.Open {
		if id, err := messages.ParseActorID(o.Placement.Holder); err == nil && id.Kind == messages.KindJob && !counted[id] && o.Step != arbiter.Releasing {
			if m := w.jobs[w.jobAt[id]]; takes(&m.state, o.Placement.Claim) { // else it had the memory, and the report of that is late
				count(m, o.Placement)
			}
		}
	}
	for goal, devices := range own {
		if q := w.o.Learning.OfGoal(goal); q.Devices > 0 && devices > q.Devices {
			w.violated("quota overrun: %s has %d devices by jobs that don't borrow, its quota is %d", goal, devices, q.Devices)
		}
	}
}

// checkJobPlacement: a job is placed on its host, where it fits, and has nobody leave who goes before it.
func (w *World) checkJobPlacement(p *messages.Placement, leaving map[string]bool) {
	id, _ := messages.ParseActorID(p.Holder)
	m := w.jobs[w.jobAt[id]]
	for _, part := range p.Shares {
		if gpu := w.devices[w.deviceOf(part.Gpu)].id; gpu.Host() != id.Host() {
			w.violated("%s is placed on %s, which is another host's device", id, gpu)
		}
		w.checkPart(p, part, leaving)
	}
	if p.Borrowed && len(p.Victims) > 0 {
		w.violated("%v have to leave for %s, which borrows", p.Victims, id)
	}
	if p.Borrowed && m.state.Spec.Unpreemptible {
		w.violated("%s borrows and is never asked to leave", id)
	}
	if m.state.Spec.IdleOnly && w.busyOn(p) != "" {
		w.violated("%s runs only while nothing else does and is placed although %s", id, w.busyOn(p))
	}
	if s := w.now().Sub(w.now().Truncate(2 * time.Minute)); m.state.Spec.Window != "" && s >= time.Minute {
		w.violated("%s is placed %s after its window closed", id, s-time.Minute)
	}
	running := uint32(0)
	for _, other := range w.jobs {
		if other.state.Placement != nil && other.id.Host() == id.Host() && other != m && !slices.Contains(p.Victims, other.id.String()) && !leaving[other.id.String()] {
			running++
		}
	}
	if most := w.o.Learning.MaxJobs; most > 0 && running >= most {
		w.violated("%s is placed although %d jobs run on its host, at most %d may", id, running, most)
	}
}

// checkJobVictim: a job leaves for who has a higher priority, or lent it its quota, never when it was submitted as one that isn't asked.
func (w *World) checkJobVictim(p *messages.Placement, victim messages.ActorID) {
	s := &w.jobs[w.jobAt[victim]].state
	mine := int32(0)
	taker, err := messages.ParseActorID(p.Holder)
	byJob := err == nil && taker.Kind == messages.KindJob
	if byJob {
		mine = w.jobs[w.jobAt[taker]].state.Spec.Rank()
	}
	switch {
	case s.Spec.GetUnpreemptible():
		w.violated("%s has to leave for %s although it is never asked to", victim, p.Holder)
	case byJob && s.Spec.Rank() >= mine && !s.Placement.GetBorrowed() && w.o.Learning.OfGoal(s.Spec.GetGoal()).Hours == 0,
		!byJob && s.Spec.Rank() > mine:
		w.violated("%s of priority %d has to leave for %s of priority %d", victim, s.Spec.Rank(), p.Holder, mine)
	}
}

// checkLeavesForJob: a model leaves for a job only when it has rested.
func (w *World) checkLeavesForJob(p *messages.Placement, victim string) {
	i := w.indexOf(victim)
	m, f := w.views[i], w.frontOf(i)
	job, _ := messages.ParseActorID(p.Holder)
	if w.jobs[w.jobAt[job]].state.Spec.Rank() > 0 { // it goes before models
		return
	}
	switch now := w.now().UnixMilli(); {
	case arbiter.Pinned(m, now):
		w.violated("%s has to leave for %s although it is pinned", victim, p.Holder)
	case w.inUse(i) || f.pool.Idle(f.now()) < time.Minute-time.Millisecond:
		w.violated("%s has to leave for %s although it was in use %s ago", victim, p.Holder, f.pool.Idle(f.now()))
	case w.young(m, now):
		w.violated("%s has to leave for %s inside its minimum residency", victim, p.Holder)
	}
}

// jobUnrest says which job hasn't come to its end; empty when all have.
func (w *World) jobUnrest() string {
	for _, m := range w.jobs {
		switch s := &m.state; {
		case s.Phase == job.Unsubmitted:
		case len(s.Returning) > 0:
			return fmt.Sprintf("%s returns a lease", m.id)
		case !over(s.Phase):
			return fmt.Sprintf("%s is %s since %d ms", m.id, s.Phase, s.WaitingMS)
		}
	}
	for id := range w.cancelled {
		if end := w.ends[id]; end == "" {
			return fmt.Sprintf("%s was cancelled and hasn't ended", id)
		}
	}
	for _, r := range w.runs {
		if r.outcome == nil {
			return fmt.Sprintf("attempt %d of %s runs", r.attempt, r.job)
		}
	}
	return ""
}

// jobsTake is the longest that the jobs that are left may take when nothing goes wrong, one after the other, each beside a model that has to rest first.
func (w *World) jobsTake() (sum time.Duration) {
	for _, m := range w.jobs {
		if !over(m.state.Phase) {
			sum += time.Duration(max(w.o.Jobs.Steps, mostSteps))*stepTakes*2 + 5*time.Minute
		}
	}
	return sum
}

// takes tells whether a job would take the placement of a claim.
func takes(s *job.State, claim string) bool {
	return (s.Phase == job.Pending || s.Phase == job.Preempted) && s.RetryAtMS == 0 && claim == fmt.Sprint(s.Attempt)
}

// ownerOfJob finds the placement with which a job's lease will be returned.
func (w *World) ownerOfJob(id messages.ActorID, lease string) (placement string, leaving bool) {
	s := &w.jobs[w.jobAt[id]].state
	if has(s.Placement, lease) {
		return s.Placement.Id, false
	}
	for _, p := range s.Returning {
		if has(p, lease) {
			return p.Id, true
		}
	}
	for open, o := range w.arbiter.state.Open {
		if has(o.Placement, lease) {
			return open, o.Step == arbiter.Releasing || !takes(s, o.Placement.Claim)
		}
	}
	return "", false
}

// seenWithin is how soon an inversion must be told once it is one: who waits asks at least once a second.
const seenWithin = 3 * time.Second

// checkInversions: where nothing goes wrong, requests that have waited too long for the memory of a job of lower priority, which isn't asked to leave, are told to.
// It looks at worlds of one device, where nothing else can keep them from a place.
func (w *World) checkInversions() {
	if len(w.jobs) == 0 || w.down || len(w.devices) > 1 || w.o.Faults != (Faults{}) {
		return
	}
	s := &w.ledgers[0].state
	limit, _ := limitOf(s)
	limit -= min(s.Foreign, limit)
	kept, blocks := uint64(0), false
	for _, m := range w.jobs {
		if m.state.Spec.GetUnpreemptible() && m.state.Spec.Rank() < 0 && m.state.Phase == job.Running {
			kept, blocks = kept+m.state.Placement.Bytes(), true
		}
	}
	placed := map[string]bool{} // a model that has its place and waits for who leaves it
	for _, o := range w.arbiter.state.Open {
		if id, err := messages.ParseActorID(o.Placement.Holder); err == nil && id.Kind == messages.KindModel {
			placed[id.Name()] = true
		}
	}
	for _, f := range w.fronts {
		holder, need := messages.ModelActor(messages.AnyHost, f.pool.Name()).String(), w.o.Models[f.model].Estimate
		waited, seeks := f.pool.Seeking(f.now())
		if !seeks || !blocks || placed[f.pool.Name()] || waited <= w.o.MaxWait || need > limit || limit-min(kept, limit) >= need {
			delete(w.blocked, holder)
			continue
		}
		since, known := w.blocked[holder]
		if !known {
			w.blocked[holder] = w.elapsed
		} else if w.elapsed-since > seenWithin && w.arbiter.state.Inversions[holder] == nil {
			w.violated("inversion unseen: requests for %s have waited %s for a job of lower priority that is never asked to leave", holder, waited)
		}
	}
}
