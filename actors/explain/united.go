package explain

import (
	"context"
	"maps"
	"slices"
	"strings"

	"modelops/actors/model"
	"modelops/messages"
)

// Why explains a subject from the journals of one or more hosts; the first one is the own. The arbiter that places a model may be another host's
// than the one on which it runs, so its story may lie in several. A journal that can't be read is left out, unless it is the own one or that of
// the host that the question is about. messages.NotFound: neither a journal nor memory knows the subject.
func Why(ctx context.Context, q Question, p Present, books ...*Book) (*messages.Explanation, error) {
	if strings.HasPrefix(q.ID, reliefs) {
		books = books[:1] // it names a place in one journal
	}
	r, err := readAll(ctx, q, books)
	if err != nil {
		return nil, err
	}
	x, err := r.explain(p)
	if err == nil {
		x.Host = r.host()
	}
	if messages.CodeOf(err) == messages.NotFound && q.Model == (messages.ActorID{}) {
		if q.Model = r.latest.named(q.Subject, q.Host); q.Model != (messages.ActorID{}) {
			q.ID = ""
			return Why(ctx, q, p, books...)
		}
	}
	return x, err
}

// readAll reads all journals and unites what they say.
func readAll(ctx context.Context, q Question, books []*Book) (*reading, error) {
	r, err := readEach(ctx, q, books)
	if err != nil || len(books) == 1 || r.asked == nil || r.question.Model != (messages.ActorID{}) {
		return r, err
	}
	of, err := messages.ParseActorID(r.model)
	if err != nil {
		return r, nil
	}
	// The model of a request that memory has forgotten is known now: other journals hold its story.
	story, err := readEach(ctx, Question{Model: of}, books)
	if err != nil {
		return nil, err
	}
	story.question, story.asked, story.leases, story.ended = r.question, r.asked, r.leases, r.ended
	story.window = slices.DeleteFunc(story.window, func(f fact) bool { return r.asked.after(&f) })
	return story, nil
}

func readEach(ctx context.Context, q Question, books []*Book) (*reading, error) {
	var all []*reading
	for i, b := range books {
		r, err := b.read(ctx, q)
		switch {
		case err == nil:
			all = append(all, r)
		case i == 0 || ctx.Err() != nil || b.host == q.Model.Host():
			return nil, err
		}
	}
	return united(all), nil
}

// united is what several journals say, as one reading.
func united(all []*reading) *reading {
	if len(all) == 1 {
		return all[0]
	}
	first := all[0]
	out := &reading{question: first.question, journal: first.journal, model: first.model, latest: unitedStates(all), window: unitedWindow(all)}
	for _, r := range all {
		if r.named != nil && (out.named == nil || r.named.after(out.named)) {
			out.named, out.stayed = r.named, r.stayed
		}
		for to, from := range map[**fact]*fact{&out.placed: r.placed, &out.postponed: r.postponed, &out.left: r.left, &out.failed: r.failed, &out.exited: r.exited,
			&out.wanted: r.wanted, &out.ended: r.ended} {
			if from != nil && (*to == nil || from.after(*to)) {
				*to = from
			}
		}
		if r.asked != nil && (out.asked == nil || out.asked.after(r.asked)) {
			out.asked = r.asked
		}
		if r.leases.id != "" {
			out.leases = r.leases
		}
		if of, err := messages.ParseActorID(r.model); err == nil && (out.model == "" || of.Host() == r.journal) {
			out.model = r.model
		}
		if r.since.After(out.since) { // only the model's own journal says
			out.since, out.leaving = r.since, r.leaving
		}
	}
	if out.postponed != nil && out.movedOn() {
		out.postponed = nil
	}
	return out
}

// movedOn tells whether something followed what told the model to wait. The journal that told it doesn't hold what the model did then.
func (r *reading) movedOn() bool {
	for _, f := range []*fact{r.placed, r.left, r.failed} {
		if f != nil && f.after(r.postponed) {
			return true
		}
	}
	if id, err := messages.ParseActorID(r.model); err == nil && id.Kind == messages.KindJob {
		return r.since.After(r.postponed.at)
	}
	return r.latest.model(r.model).Phase != model.Placing && r.since.After(r.postponed.at)
}

// unitedStates are the states of the actors of all journals. Each journal has an arbiter.
func unitedStates(all []*reading) *latest {
	out := newLatest()
	out.arbiters = map[string]any{}
	arbiter := messages.ArbiterActor().String()
	for _, r := range slices.Backward(all) { // the own arbiter comes last, and stays
		maps.Copy(out.actors, r.latest.actors)
		maps.Copy(out.rollouts, r.latest.rollouts)
		out.arbiters[r.journal] = r.latest.actors[arbiter].state
	}
	return out
}

// unitedWindow is the last facts of all, an effect behind its cause in another journal.
func unitedWindow(all []*reading) []fact {
	lists := make([][]messages.Recorded, len(all))
	of := make([]map[uint64][]fact, len(all))
	for i, r := range all {
		of[i] = map[uint64][]fact{}
		for _, f := range r.window {
			if of[i][f.sequence] == nil {
				lists[i] = append(lists[i], messages.Recorded{Sequence: f.sequence, ID: f.id, At: f.at, Meta: messages.Meta{Causation: f.cause}})
			}
			of[i][f.sequence] = append(of[i][f.sequence], f)
		}
	}
	var out []fact
	_ = messages.InOrder(lists, func(i int, r messages.Recorded) error { out = append(out, of[i][r.Sequence]...); return nil })
	return out[max(0, len(out)-keep):]
}

// named is the model of a name or an alias, of a host when that has a name, that a journal declares; else the first by host.
func (l *latest) named(name, host string) messages.ActorID {
	name = strings.TrimPrefix(name, messages.KindModel+"/")
	for _, actor := range slices.Sorted(maps.Keys(l.actors)) {
		s, ok := stateOf[model.State](l, actor)
		id, err := messages.ParseActorID(actor)
		if !ok || err != nil || s.Spec == nil || s.Retired || host != "" && id.Host() != host {
			continue
		}
		if id.Name() == name || id.Host()+"/"+id.Name() == name || slices.Contains(s.Spec.Aliases, name) {
			return id
		}
	}
	return messages.ActorID{}
}
