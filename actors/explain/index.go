package explain

import (
	"slices"

	"modelops/messages"
)

// index is what the journal was about up to a decision: the latest states, a story of each model, and where the facts of placements, leases and
// requests are. It is used by one goroutine at a time.
//
// What grows with the number of actors is kept for all of them: their states, which the daemon holds anyway, and some 2 KB of story a model.
// What grows with the journal is bounded: see limits.
type index struct {
	seen    uint64 // sequence of the last decision that was taken
	latest  *latest
	stories map[string]*story // by model or job
	models  trail             // facts of models, older ones than their windows hold
	ids     trail             // facts of placements and leases, and what requests caused
	notes   notes
	recent  recent
	only    map[topic]bool // what the trails keep; nil = everything
}

// limits bound what an index keeps of a journal that grows. A subject beyond them is found by reading the journal once more.
type limits struct {
	ids    int // marks of placements, leases and requests: some 0.7 for each event, 16 bytes each
	models int // marks of models' facts: some 0.6 for each event, 16 bytes each
	notes  int // notes of decisions that evict, and of rollouts; some 32 bytes each. Up to twice as many are kept
	recent int // ids of decisions
	chunk  int // marks that are let go at once
}

// The defaults hold the placements, leases and requests of the last 1.5 million events in 16 MiB, and each model's facts of the last 200,000
// events in 2 MiB. Notes take 4 MiB at most, and their texts.
var defaultLimits = limits{ids: 1 << 20, models: 1 << 17, notes: 1 << 16, recent: 1 << 12, chunk: 1 << 12}

func newIndex(l limits) *index {
	return &index{latest: newLatest(), stories: map[string]*story{}, models: trail{most: l.models, chunk: l.chunk},
		ids: trail{most: l.ids, chunk: l.chunk}, notes: notes{most: l.notes}, recent: recent{most: l.recent}}
}

// newSearch is an index without bounds that keeps the marks of some subjects only.
func newSearch(l limits, only map[topic]bool) *index {
	x := newIndex(l)
	x.models.most, x.ids.most, x.notes.most = 0, 0, 0
	x.only = only
	return x
}

// take reads the next decision.
func (x *index) take(r messages.Recorded) {
	x.seen = r.Sequence
	x.recent.add(topicOf(ofSelf, r.ID))
	for n, e := range r.Events {
		f := fact{spot: spot{r.Sequence, n}, at: r.At, actor: r.Actor, event: e}
		if _, ok := wants(e); ok {
			x.takeAsked(f, r.Meta.Correlation)
		}
		x.takeFact(f)
	}
}

// takeAsked notes what a request caused. What follows from a decision carries that decision's id in the place of a request's: it is none.
func (x *index) takeAsked(f fact, correlation string) {
	if correlation != "" && !x.recent.has(topicOf(ofSelf, correlation)) {
		x.mark(&x.ids, topicOf(ofAsked, correlation), f)
	}
}

func (x *index) takeFact(f fact) {
	actor := f.actor.String()
	concerned := x.concerned(f)
	var ids []string
	if s := x.stories[actor]; s != nil {
		ids = idsOf(f, s.placement.GetId())
	} else {
		ids = idsOf(f, "")
	}
	if f.note = x.noteOn(f); f.note != "" {
		x.notes.add(refOf(f))
	}
	for _, id := range ids {
		if id != "" {
			x.mark(&x.ids, topicOf(ofID, id), f)
		}
	}
	for _, model := range concerned {
		x.story(model).remember(f)
		x.mark(&x.models, topicOf(ofModel, model), f)
	}
	before := x.latest.phase(f.actor)
	x.latest.fold(f)
	if messages.Holds(f.actor.Kind) {
		if s := x.story(actor); x.latest.phase(f.actor) != before {
			s.since = f.at
		}
	}
	for _, model := range concerned {
		x.story(model).follow(model, f, x.latest)
	}
	if _, gone := f.event.(*messages.JobFilesRemoved); gone { // nobody asks for it again
		delete(x.stories, actor)
	}
}

func (x *index) mark(t *trail, about topic, f fact) {
	if x.only == nil || x.only[about] {
		t.add(about, f.sequence, f.nth)
	}
}

func (x *index) story(model string) *story {
	s := x.stories[model]
	if s == nil {
		s = &story{}
		x.stories[model] = s
	}
	return s
}

// noteOn says what an event leaves out: which models a rollout is about, and which holders stayed on a device when others had to leave it.
func (x *index) noteOn(f fact) string {
	if f.actor.Kind == messages.KindHost {
		return x.latest.routedNote(f)
	}
	if e, ok := f.event.(*messages.PlacementDecided); ok && len(e.GetPlacement().GetVictims()) > 0 {
		return x.latest.stayed(e.Placement, f.at)
	}
	return ""
}

// recent holds the ids of the latest decisions.
type recent struct {
	all  []topic
	next int
	most int
	set  map[topic]bool
}

func (r *recent) add(id topic) {
	if r.set == nil {
		r.set = map[topic]bool{}
	}
	if len(r.all) < r.most {
		r.all = append(r.all, id)
	} else {
		delete(r.set, r.all[r.next])
		r.all[r.next] = id
		r.next = (r.next + 1) % r.most
	}
	r.set[id] = true
}

func (r *recent) has(id topic) bool { return r.set[id] }

// copy of a model's story that stays as it is while the index goes on.
func (x *index) storyOf(model string) story {
	s := x.stories[model]
	if s == nil {
		return story{}
	}
	out := *s
	out.window = slices.Clone(s.window)
	return out
}
