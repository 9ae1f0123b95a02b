package explain

import (
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"modelops/messages"
)

// errForgotten says that the index let go of what a question needs.
var errForgotten = errors.New("the index holds too little of the subject")

// lookup gathers what a question needs: from an index where the facts are, from the journal the facts.
type lookup struct {
	journal Journal
	host    string                   // whose journal it is
	use     func(func(*index)) error // lends the index for a moment
}

// facts are loaded facts. The zero spot has none.
type facts map[spot]*fact

// read gathers what a question needs. errForgotten: another index may know more.
func (l lookup) read(ctx context.Context, q Question) (*reading, error) {
	r := &reading{question: q, journal: l.host}
	if q.Model != (messages.ActorID{}) {
		r.model = q.Model.String()
	}
	switch {
	case q.Request != nil:
		return r, l.readRequest(ctx, r)
	case r.model != "":
		return r, l.readModel(ctx, r)
	}
	return r, l.readID(ctx, r)
}

func (l lookup) readModel(ctx context.Context, r *reading) error {
	s, err := l.story(ctx, r)
	if err == nil {
		r.show(s)
	}
	return err
}

// story tells the model's story and returns its last facts.
func (l lookup) story(ctx context.Context, r *reading) ([]fact, error) {
	var s story
	if err := l.use(func(x *index) { s, r.latest = x.storyOf(r.model), x.latest.clone() }); err != nil {
		return nil, err
	}
	all := s.refs()
	spots := make([]spot, len(all))
	for i := range all {
		spots[i] = all[i].spot
	}
	of, err := l.load(ctx, spots)
	if err != nil {
		return nil, err
	}
	r.tell(s, of)
	var out []fact
	for _, at := range s.window {
		if f := of[at.spot]; f != nil {
			f.note = at.note
			out = append(out, *f)
		}
	}
	return out, nil
}

// load reads facts from the journal.
func (l lookup) load(ctx context.Context, spots []spot) (facts, error) {
	out := facts{}
	var sequences []uint64
	for _, s := range spots {
		if s.sequence > 0 {
			sequences = append(sequences, s.sequence)
		}
	}
	if len(sequences) == 0 {
		return out, nil
	}
	err := l.journal.Read(ctx, sequences, func(r messages.Recorded) error {
		for n, e := range r.Events {
			at := spot{r.Sequence, n}
			out[at] = &fact{spot: at, at: r.At, actor: r.Actor, event: e, correlation: r.Meta.Correlation, host: l.host, id: r.ID, cause: r.Meta.Causation}
		}
		return nil
	})
	return out, err
}

// readID reads a placement's or lease's facts, or what a request caused that memory has forgotten.
func (l lookup) readID(ctx context.Context, r *reading) error {
	id := r.question.ID
	var ids, asked []spot
	var dropped uint64
	err := l.use(func(x *index) {
		ids, asked, dropped = x.ids.find(topicOf(ofID, id)), x.ids.find(topicOf(ofAsked, id)), x.ids.dropped
		r.latest = x.latest.clone()
	})
	if err != nil {
		return err
	}
	ids = ids[max(0, len(ids)-mostOfID):]
	of, err := l.load(ctx, append(ids, asked[max(0, len(asked)-1):]...))
	if err != nil {
		return err
	}
	own := of.ofID(ids, id)
	if r.asked = of.askedBy(id, asked, time.Time{}); r.asked == nil {
		if dropped > 0 && !begins(own) {
			return errForgotten
		}
		return l.showID(r, own)
	}
	if err := l.use(func(x *index) { r.model = x.modelWanted(r.asked) }); err != nil {
		return err
	}
	since, err := l.story(ctx, r)
	if err != nil {
		return err
	}
	since = slices.DeleteFunc(since, func(f fact) bool { return f.sequence < r.asked.sequence })
	own = append(own, since...)
	slices.SortFunc(own, func(a, b fact) int { return a.compare(b.spot) })
	own = slices.CompactFunc(own, func(a, b fact) bool { return a.spot == b.spot })
	return l.showID(r, own)
}

// mostOfID bounds the facts of one id that are read. Callers choose the ids of leases, so one can have many.
const mostOfID = 4 * keep

func (l lookup) showID(r *reading, own []fact) error {
	if err := l.annotate(own); err != nil {
		return err
	}
	r.tellLease(r.question.ID, own)
	r.show(own)
	return nil
}

// ofID are the facts of an id. What carries one carries it itself; what a model went through is trusted to the index.
func (of facts) ofID(spots []spot, id string) (out []fact) {
	for _, s := range spots {
		if f := of[s]; f != nil && slices.Contains(idsOf(*f, id), id) {
			out = append(out, *f)
		}
	}
	return out
}

// askedBy is the first wish for a place that a request caused since a moment, the last one when the moment is zero.
func (of facts) askedBy(id string, spots []spot, since time.Time) (found *fact) {
	for _, s := range spots {
		f := of[s]
		if f == nil || f.correlation != id || f.at.Before(since) {
			continue
		}
		if found = f; !since.IsZero() {
			break
		}
	}
	return found
}

// begins tells whether facts of an id begin with what made it: then none is missing before them.
func begins(own []fact) bool {
	if len(own) == 0 {
		return false
	}
	switch e := own[0].event.(type) {
	case *messages.PlacementDecided, *messages.PressureRelieved, *messages.GoalCreated:
		return true
	case *messages.VramReserved:
		return !isActor(e.Holder) // a placement came before it
	}
	return false
}

// annotate adds the notes that the index kept.
func (l lookup) annotate(all []fact) error {
	complete := true
	err := l.use(func(x *index) {
		for i := range all {
			if all[i].note == "" {
				all[i].note = x.notes.of(all[i].spot)
			}
			complete = complete && (all[i].note != "" || all[i].sequence > x.notes.dropped || !mayHaveNote(all[i]))
		}
	})
	if err == nil && !complete {
		return errForgotten
	}
	return err
}

func mayHaveNote(f fact) bool {
	e, placed := f.event.(*messages.PlacementDecided)
	return f.actor.Kind == messages.KindHost || placed && len(e.GetPlacement().GetVictims()) > 0
}

// slack is by how much the times of neighbouring decisions, and the clocks of gateway and actors, may differ.
const slack = 2 * time.Second

// readRequest reads what a request caused and what its model went through while it waited.
func (l lookup) readRequest(ctx context.Context, r *reading) error {
	q := r.question.Request
	if err := l.readCause(ctx, r); err != nil {
		return err
	}
	if r.model == "" && r.asked != nil {
		if err := l.use(func(x *index) { r.model = x.modelWanted(r.asked) }); err != nil {
			return err
		}
	}
	if r.model == "" {
		return l.use(func(x *index) { r.latest = x.latest.clone() })
	}
	all, err := l.story(ctx, r)
	if err != nil {
		return err
	}
	if len(all) == keep && !q.over().IsZero() && !all[0].at.Before(q.Began.Add(-slack)) {
		if all, err = l.during(ctx, r.model, q); err != nil {
			return err
		}
	}
	all = slices.DeleteFunc(all, func(f fact) bool { return !q.waitedAt(f.at) && (r.asked == nil || f.sequence != r.asked.sequence) })
	r.show(all)
	return l.annotate(r.window)
}

// readCause finds what the request caused: the first since it came, for callers may use an id again.
func (l lookup) readCause(ctx context.Context, r *reading) error {
	q, id := r.question.Request, r.question.ID
	var asked []spot
	var dropped uint64
	if err := l.use(func(x *index) { asked, dropped = x.ids.find(topicOf(ofAsked, id)), x.ids.dropped }); err != nil {
		return err
	}
	began := q.Began.Add(-slack)
	from, err := l.since(ctx, asked, began)
	if err != nil {
		return err
	}
	asked = asked[from:min(len(asked), from+keep)]
	of, err := l.load(ctx, append(slices.Clone(asked), spot{sequence: dropped}))
	if err != nil {
		return err
	}
	r.asked = of.askedBy(id, asked, began)
	if last := of[spot{sequence: dropped}]; last != nil && !last.at.Before(began) {
		return errForgotten
	}
	return nil
}

// during are a model's facts around the time that a request waited, at most the last mostOfID of them.
func (l lookup) during(ctx context.Context, model string, q *Request) ([]fact, error) {
	var spots []spot
	var dropped uint64
	if err := l.use(func(x *index) { spots, dropped = x.models.find(topicOf(ofModel, model)), x.models.dropped }); err != nil {
		return nil, err
	}
	from, err := l.since(ctx, spots, q.Began.Add(-slack))
	if err != nil {
		return nil, err
	}
	if from == 0 && dropped > 0 {
		return nil, errForgotten
	}
	to, err := l.since(ctx, spots, q.over().Add(slack))
	if err != nil {
		return nil, err
	}
	spots = spots[max(from, to-mostOfID):max(from, to)]
	of, err := l.load(ctx, spots)
	if err != nil {
		return nil, err
	}
	var out []fact
	for _, s := range spots {
		if f := of[s]; f != nil {
			out = append(out, *f)
		}
	}
	return out, nil
}

// since is the place of the first of some facts that happened at a time or later. It reads a few of them.
func (l lookup) since(ctx context.Context, spots []spot, at time.Time) (int, error) {
	var err error
	i := sort.Search(len(spots), func(i int) bool {
		if err != nil {
			return true
		}
		var of facts
		of, err = l.load(ctx, spots[i:i+1])
		f := of[spots[i]]
		return f == nil || !f.at.Before(at)
	})
	return i, err
}
