package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// Present is what the journal doesn't hold.
type Present struct {
	Now time.Time
	// Tries is how many loads in a row may fail before the model is failed; 0 = unknown, and not said.
	Tries int
	// LastWords is the line of a worker's log that most likely tells why it ended; may be nil. The journal doesn't hold it.
	LastWords func(logFile string) string
	// Awaited tells whether a request or a load waits for a model of this host now; may be nil. Requests that give up write nothing to the journal.
	Awaited func(model string) bool
}

// Question is what is asked about. Model is a model or a job, and zero when the subject is neither; ID is a lease's, a placement's or a request's.
type Question struct {
	Subject string // as asked
	Model   messages.ActorID
	ID      string
	Request *Request // what memory knows of the request; may be nil
	Host    string   // whose model it is, should only a journal know it; empty = any host's
}

// reading is all that an explanation says, out of the journal as it was at one decision.
type reading struct {
	question Question
	journal  string // the host in whose journal it was read; empty when there is one journal only
	latest   *latest
	model    string // of the subject, as an actor's name; empty when it has none
	given    Present
	window   []fact // what concerns the subject, oldest first; at most keep

	// As in story; nil where there is none.
	placed, postponed, named, left, failed, exited, wanted *fact
	stayed                                                 []string
	since                                                  time.Time
	leaving                                                string

	asked  *fact // what the request caused: the first wish for a place; nil when it caused none
	leases grant
	ended  *fact // how the lease ended
}

// grant is the lease that is asked about. The zero grant is none.
type grant struct {
	held
	at time.Time
}

// explain says what was read. NotFound: nothing of the subject is in the journal or in memory.
func (r *reading) explain(p Present) (*messages.Explanation, error) {
	r.given = p
	q := r.question
	switch {
	case q.Request != nil:
		return r.explainRequest(p), nil
	case q.Model.Kind == messages.KindJob:
		return r.explainJob(p)
	case q.Model != (messages.ActorID{}):
		return r.explainModel(p), nil
	case isGoal(q.ID):
		return r.explainGoal(p)
	case r.leases.id != "" && !isActor(r.leases.Holder):
		return r.explainLease(p), nil
	case r.decision() != nil:
		return r.explainPlacement(r.decision(), p), nil
	case r.leases.id != "":
		return r.explainLease(p), nil
	case r.asked != nil:
		return r.explainAsked(p), nil
	}
	return nil, messages.Errorf(messages.NotFound, q.Subject, "no model, lease, placement or request of this name is known").
		WithHint("modelops models lists the models, modelops gpus --leases the leases; a request that caused no decision is remembered for a while only, and not over a restart")
}

// host is the host that the explanation is about: its decisions are numbered without its name.
func (r *reading) host() string {
	of := r.journal
	switch id, err := messages.ParseActorID(cmp.Or(r.model, r.leases.gpu)); {
	case err == nil && id.Host() != messages.AnyHost:
		of = id.Host()
	case r.decision() != nil:
		of = r.decision().host
	}
	return of
}

// number names a decision: by the host whose journal it is in too, when that isn't the one that the explanation is about.
func (r *reading) number(f *fact) string {
	if f.host == "" || f.host == r.host() {
		return strconv.FormatUint(f.sequence, 10)
	}
	return fmt.Sprintf("%d of %s", f.sequence, f.host)
}

// tell takes a model's story but for its window.
func (r *reading) tell(s story, of facts) {
	r.placed, r.postponed, r.named, r.left = of[s.placed.spot], of[s.postponed.spot], of[s.named.spot], of[s.left.spot]
	r.failed, r.exited, r.wanted = of[s.failed.spot], of[s.exited.spot], of[s.wanted.spot]
	r.stayed, r.since, r.leaving = s.stayed, s.since, s.leaving
}

// show makes the last of some facts, which are in order, the window.
func (r *reading) show(all []fact) { r.window = all[max(0, len(all)-keep):] }

// tellLease follows the lease of an id through its facts. What it holds now is what its ledger says.
func (r *reading) tellLease(id string, own []fact) {
	for i := range own {
		f := &own[i]
		if !slices.Contains(idsOf(*f, ""), id) {
			continue // what a request caused has facts of other ids
		}
		switch e := f.event.(type) {
		case *messages.VramReserved:
			if e.Lease == id {
				r.leases, r.ended = grant{at: f.at}, nil
				r.leases.id, r.leases.gpu, r.leases.Holder, r.leases.Bytes, r.leases.TTL, r.leases.Epoch = id, f.actor.String(), e.Holder, e.Bytes, e.TtlSeconds, f.sequence
			}
		case *messages.VramSettled:
			r.leases.Measured = e.MeasuredBytes
		case *messages.VramResized:
			r.leases.Bytes, r.leases.Measured = e.Bytes, 0
		case *messages.VramReleased, *messages.LeaseExpired, *messages.LeaseReclaimed:
			r.ended = f
		}
	}
	if now, ok := r.latest.ledger(r.leases.gpu).Leases[id]; ok && r.ended == nil {
		r.leases.Lease = now
	}
}

// retryAt is when a model that waits is tried again.
func (r *reading) retryAt() time.Time {
	if r.failed == nil {
		return time.Time{}
	}
	return r.failed.at.Add(time.Duration(r.failed.event.(*messages.LoadFailed).RetryMs) * time.Millisecond)
}

// last is the latest decision on devices.
func (r *reading) last() *fact {
	if r.postponed != nil && (r.placed == nil || r.postponed.after(r.placed)) {
		return r.postponed
	}
	return r.placed
}

// phase is where the model stands. One that waits for a place by its name, before a host is chosen, is being placed: its own actor hasn't
// heard of it yet.
func (r *reading) phase() model.Phase {
	m := r.latest.model(r.model)
	if !resident(m) && m.Phase != model.Placing && r.postponed != nil && r.latest.waits(r.postponed.host, r.model) && r.awaited() {
		return model.Placing
	}
	return m.Phase
}

func (r *reading) awaited() bool {
	return r.given.Awaited == nil || r.given.Awaited(short(r.model))
}

// open tells whether a placement is on its way to the model.
func (r *reading) open(p *messages.Placement) bool {
	holder := r.latest.placed(p.GetId())
	return holder != "" && isHolder(holder, r.model)
}
