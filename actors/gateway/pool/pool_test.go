package pool

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

func newPool(concurrent, queue int) *Pool {
	return newPoolOn(nil, concurrent, queue)
}

func newPoolOn(h Host, concurrent, queue int) *Pool {
	p := New("tiny", "main_pc", Figures{Limits: Limits{concurrent, queue}, FailureThreshold: 2, ResetTimeout: 20 * time.Second}, h)
	p.Update(&messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny"}, entitytest.Epoch)
	return p
}

// tickets of the requests that wait, as they came.
func (p *Pool) tickets() []uint64 {
	out := p.waiting.tickets()
	slices.Sort(out)
	return out
}

// all are the requests that wait.
func (q *queue) all() (out []Request) {
	for _, l := range q.lines {
		out = append(out, l.rs...)
	}
	return out
}

// bounded is a host with few places.
type bounded struct{ counts }

type counts = Counts

func (b *bounded) Enter() bool {
	ok := b.MaxRunning == 0 || b.Running < b.MaxRunning
	b.Running += int64(bit(ok))
	return ok
}

func (b *bounded) Queue() bool {
	ok := b.MaxWaiting == 0 || b.Waiting < b.MaxWaiting
	b.Waiting += int64(bit(ok))
	return ok
}

func (b *bounded) Leave()         { b.Running-- }
func (b *bounded) Unqueue(n int)  { b.Waiting -= int64(n) }
func (b *bounded) Counts() Counts { return b.counts }

// walk takes random steps with a pool that has up to four endpoints on two hosts, and a host with few places.
type walk struct {
	*rapid.T
	p    *Pool
	h    *bounded
	now  time.Time
	next uint64
	held map[uint64]Request // tickets that the pool must know
	// wants are the open ones, seeks whether a Seek's answer is due.
	wants map[uint64]bool
	seeks bool
}

// granted checks that it was a request's turn: no waiting request goes before it, in particular none that has waited for maxWait.
func (w *walk) granted(ticket uint64, waiting []Request) {
	r := w.held[ticket]
	for _, other := range waiting {
		if w.p.order.before(other, r, w.now) {
			w.Fatalf("%+v runs before %+v at %s", r, other, w.now)
		}
		if w.now.Sub(other.Since) >= w.p.order.maxWait && other.Since.Before(r.Since) {
			w.Fatalf("%+v starves: it has waited for %s while %+v came later", other, w.now.Sub(other.Since), r)
		}
	}
}

func (w *walk) dispatch() {
	for {
		waiting := w.p.waiting.all()
		d := w.p.Dispatch(w.now)
		run := d.Granted
		for _, ticket := range d.Met {
			if !w.wants[ticket] || !w.p.Ready() {
				w.Fatalf("want %d is met without an endpoint that is ready", ticket)
			}
			delete(w.wants, ticket)
		}
		for _, ticket := range run { // each grant as it was made: requests that were granted later were still waiting
			waiting = slices.DeleteFunc(waiting, func(r Request) bool { return r.Ticket == ticket })
			w.granted(ticket, waiting)
		}
		if len(run) == 0 {
			return
		}
	}
}

func (w *walk) step() {
	p := w.p
	switch rapid.IntRange(0, 9).Draw(w.T, "step") {
	case 0, 1, 2:
		w.next++
		r := Request{Ticket: w.next, Class: rapid.IntRange(0, 2).Draw(w.T, "class"), Since: w.now}
		position, err := p.Admit(r)
		if err == nil {
			w.held[w.next] = r
		}
		if err == nil && position == 0 {
			w.granted(w.next, p.waiting.all())
		}
		if at := p.waiting.position(w.next, p.order, w.now); at != position {
			w.Fatalf("told position %d, is at %d", position, at)
		}
	case 3, 4:
		if running := sorted(p.running); len(running) > 0 {
			ticket := rapid.SampledFrom(running).Draw(w.T, "ticket")
			p.Finish(ticket, rapid.SampledFrom([]messages.Outcome{{}, {}, {Failed: true}, {Err: context.Canceled}}).Draw(w.T, "outcome"), w.now)
			if at, changed := p.Finish(ticket, messages.Outcome{Failed: true}, w.now); at != nil || changed {
				w.Fatal("finishing twice counted twice")
			}
			delete(w.held, ticket)
			w.dispatch()
		}
	case 5:
		if p.waiting.n > 0 {
			ticket := rapid.SampledFrom(p.tickets()).Draw(w.T, "ticket")
			if !p.Leave(ticket, w.now) || p.Leave(ticket, w.now) {
				w.Fatal("a waiting request leaves once")
			}
			delete(w.held, ticket)
		}
	case 6:
		w.view()
	case 7:
		w.refuse(p.RefuseAll(w.now))
	case 8:
		w.next++
		if rapid.Bool().Draw(w.T, "wants") {
			p.Want(Request{Ticket: w.next, Since: w.now})
			w.wants[w.next] = true
			w.dispatch()
		} else if open := sorted(w.wants); len(open) > 0 {
			if !p.Unwant(open[0], w.now) || p.Unwant(open[0], w.now) {
				w.Fatal("a want ends once")
			}
			delete(w.wants, open[0])
		}
	case 9:
		if w.seeks {
			w.answer()
		}
	}
}

func (w *walk) refuse(tickets []uint64) {
	for _, ticket := range tickets {
		if _, known := w.held[ticket]; !known && !w.wants[ticket] {
			w.Fatalf("%d is refused twice", ticket)
		}
		delete(w.held, ticket)
		delete(w.wants, ticket)
	}
	if w.p.Interested() {
		w.Fatal("refused all, and some are left")
	}
}

func (w *walk) answer() {
	w.seeks = false
	a := rapid.SampledFrom([]PlaceAnswer{Unanswered, Placed, Waits}).Draw(w.T, "answer")
	var err error
	if code := rapid.SampledFrom([]messages.Code{0, 0, messages.GPUUnavailable, messages.Unavailable}).Draw(w.T, "code"); code != 0 {
		err = messages.NewError(code, "", "no")
		if code == messages.Unavailable && rapid.Bool().Draw(w.T, "answers later") {
			err = messages.AsError(err).WithRetry(time.Second)
		}
	}
	refused, why := w.p.Answered(a, err, w.now)
	if why != nil {
		w.refuse(refused)
	}
}

// intents checks that interest is never forgotten: an endpoint is on its way, can be woken, or the pool seeks one, now or after a bounded pause.
func (w *walk) intents() {
	p := w.p
	for _, i := range p.Intents(w.now) {
		_, seeks := i.(Seek)
		// While every ready worker's breaker is open, one that sleeps is woken.
		if !p.Interested() || p.onItsWay() && (seeks || !p.shut(w.now)) {
			w.Fatalf("%+v without need", i)
		}
		if seeks {
			if w.seeks || p.sleeper() != nil {
				w.Fatalf("%+v while the last one isn't answered, or a worker sleeps", i)
			}
			w.seeks = true
		}
	}
	if p.Interested() && !p.onItsWay() && p.sleeper() == nil && !w.seeks && (!p.seek.next.After(w.now) || p.seek.next.Sub(w.now) > longestPause) {
		w.Fatalf("interest, and no endpoint on its way: %+v", p.seek)
	}
	if pause, ok := p.SeekAfter(w.now); ok && (pause < 0 || pause > longestPause) {
		w.Fatalf("pauses %s", pause)
	}
}

// phases in which a walk's views are; ready ones come more often.
var phases = []messages.ModelView_Phase{messages.ModelView_ready, messages.ModelView_ready, messages.ModelView_loading, messages.ModelView_asleep,
	messages.ModelView_absent, messages.ModelView_failed, messages.ModelView_draining}

func (w *walk) view() {
	id := messages.ActorID{Kind: messages.KindModel, ID: rapid.SampledFrom([]string{"main_pc/tiny", "main_pc/tiny", "main_pc/tiny~2", "pc2/tiny", "pc2/tiny~2"}).Draw(w.T, "actor")}
	attempt := rapid.Uint64Range(1, 3).Draw(w.T, "attempt")
	if rapid.IntRange(0, 3).Draw(w.T, "closes") == 0 {
		w.p.Close(id, attempt, w.now)
	}
	v := &messages.ModelView{Id: id.String(), Name: id.Name(), Attempt: attempt, Phase: rapid.SampledFrom(phases).Draw(w.T, "phase"),
		Wanted: rapid.Bool().Draw(w.T, "wanted")}
	if id.ID == "main_pc/tiny" || rapid.Bool().Draw(w.T, "declared") {
		v.Spec = &messages.ModelSpec{Name: id.Name()}
	}
	refusal := w.p.Update(v, w.now)
	for _, ticket := range w.p.EndedWants() { // an unload by hand ended them
		if !w.wants[ticket] || v.Wanted {
			w.Fatalf("want %d ends with %v", ticket, v)
		}
		delete(w.wants, ticket)
	}
	if refusal != nil {
		w.refuse(w.p.RefuseAll(w.now))
	}
	if e := w.p.Endpoint(id); e != nil && e.ready && attempt <= e.closed {
		w.Fatalf("%s is ready in attempt %d, which was drained", id, attempt)
	}
	w.dispatch()
}

// check looks at what must always hold. before is how many ran at each endpoint before the step.
func (w *walk) check(before map[*Endpoint]int) {
	p := w.p
	at := map[*Endpoint]int{}
	for _, r := range p.running {
		at[r.Endpoint]++
	}
	for _, e := range p.endpoints {
		if e.running != at[e] || e.running > p.places() && e.running > before[e] {
			w.Fatalf("%s: %d run, %d are counted, %d may", e.id, at[e], e.running, p.places())
		}
	}
	if p.waiting.n > p.figures.Limits.MaxQueue || w.h.Running != int64(len(p.running)) || w.h.Waiting != int64(p.waiting.n) {
		w.Fatalf("%d run and %d wait, the host counts %d and %d", len(p.running), p.waiting.n, w.h.Running, w.h.Waiting)
	}
	if got := slices.Sorted(slices.Values(append(sorted(p.running), p.tickets()...))); !slices.Equal(got, sorted(w.held)) {
		w.Fatalf("the pool knows %v of %v", got, sorted(w.held))
	}
	if len(p.running)+p.waiting.n > 0 && p.Idle(w.now) != 0 {
		w.Fatal("idle while it works")
	}
	if p.Ready() && len(p.running)+p.waiting.n == 0 && p.idleSince.IsZero() {
		w.Fatal("ready, nothing to do, and not idle: it would never be unloaded")
	}
	var places []int
	for _, r := range p.waiting.all() {
		places = append(places, p.waiting.position(r.Ticket, p.order, w.now))
		if d := p.ExpectedWait(len(places), w.now); d < 0 || d > 0 && p.recent+p.cold == 0 {
			w.Fatalf("expected to wait for %s, and nothing was measured", d)
		}
	}
	slices.Sort(places)
	for i, p := range places {
		if p != i+1 {
			w.Fatalf("positions %v", places)
		}
	}
}

// In any order of steps: never more requests run at an endpoint or wait than may, the host's counts are right, requests run in the order of
// class and age, none starves, every ticket is known until it has gone, and interest is never forgotten.
func TestPoolInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &bounded{counts{MaxRunning: rapid.Int64Range(0, 6).Draw(t, "host"), MaxWaiting: rapid.Int64Range(0, 6).Draw(t, "host queue")}}
		p := newPoolOn(h, rapid.IntRange(1, 4).Draw(t, "concurrent"), rapid.IntRange(0, 6).Draw(t, "queue"))
		p.order = order{maxWait: time.Minute}
		w := &walk{T: t, p: p, h: h, now: entitytest.Epoch, held: map[uint64]Request{}, wants: map[uint64]bool{}}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
			before := map[*Endpoint]int{}
			for _, e := range p.endpoints {
				before[e] = e.running
			}
			w.step()
			w.check(before)
			w.intents()
		}
	})
}

func sorted[V any](m map[uint64]V) []uint64 {
	out := make([]uint64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
