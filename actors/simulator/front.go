package simulator

import (
	"cmp"
	"slices"
	"time"

	"modelops/actors/control"
	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// The gateway's figures.
const (
	maxQueue     = 64
	queueTimeout = 30 * time.Second
	// runLongest ends a request at an engine that hangs.
	runLongest = time.Minute
	tries      = 3
	sweepEvery = time.Second // the shipped gateway sweeps more often; here each sweep is a step

	failureThreshold = 4
	resetTimeout     = 20 * time.Second
	// wantLongest is how long a person waits for a load.
	wantLongest = time.Minute
)

// request is one call. It ends once: answered, or refused with a code.
type request struct {
	model   int
	class   int    // its priority class
	ticket  uint64 // at the pool; another one each time it is sent
	arrived time.Duration
	takes   time.Duration
	try     int
	running bool
	ended   bool
	calm    bool // came when nothing went wrong any more
	code    messages.Code
	only    messages.Only       // where it may run
	told    func(messages.Code) // at another host how it went; nil = its caller is at this one
}

// front drives one model's request pool as the gateway does, in virtual time. The course of each request is on the agenda.
type front struct {
	w       *World
	model   int
	pool    *pool.Pool
	waiting map[uint64]*request
	running map[uint64]*request
	pausing bool                       // the next Seek is on the agenda
	drains  map[drainKey]time.Duration // when the drain of an attempt began
}

type drainKey struct {
	id      messages.ActorID
	attempt uint64
}

func newFront(w *World) *front {
	f := &front{w: w, model: len(w.fronts)}
	f.open()
	return f
}

// open begins with an empty pool, as a coordinator that starts does.
func (f *front) open() {
	m := f.w.o.Models[f.model]
	f.pool = pool.New(m.Name, f.w.host(0), pool.Figures{Limits: pool.Limits{MaxConcurrent: m.places(), MaxQueue: maxQueue},
		FailureThreshold: failureThreshold, ResetTimeout: resetTimeout, MaxWait: f.w.o.MaxWait, Apart: f.w.far != nil}, f.w.bound)
	f.waiting, f.running, f.drains, f.pausing = map[uint64]*request{}, map[uint64]*request{}, map[drainKey]time.Duration{}, false
}

// places is how many requests may run at one worker.
func (m Model) places() int { return cmp.Or(m.Places, 4) }

// now is the gateway's clock.
func (f *front) now() time.Time { return f.w.steady() }

// update takes a new view of the model, or of a replica.
func (f *front) update(v *messages.ModelView) {
	if refusal := f.pool.Update(v, f.now()); refusal != nil {
		f.refuse(f.pool.RefuseAll(f.now()), refusal)
	}
	f.dispatch()
	f.pursue()
}

// arrive admits a request, queues it or refuses it.
func (f *front) arrive(r *request) {
	w := f.w
	if w.down {
		w.end(r, messages.Unavailable)
		return
	}
	r.ticket = w.ticket()
	position, err := f.pool.Admit(pool.Request{Ticket: r.ticket, Class: r.class, Since: f.now(), Only: r.only})
	switch {
	case err != nil:
		w.end(r, messages.CodeOf(err))
		return
	case position == 0:
		f.run(r)
		return
	}
	f.waiting[r.ticket] = r
	f.patience(r)
	if f.pool.Ready() {
		f.dispatch()
		return
	}
	f.pursue()
}

// want is a person's load: interest without a request.
func (f *front) want() {
	ticket := f.w.ticket()
	f.pool.Want(pool.Request{Ticket: ticket, Since: f.now()})
	f.w.alive(wantLongest, func() { f.pool.Unwant(ticket, f.now()) })
	f.dispatch()
	f.pursue()
}

// patience refuses a request that finds no place at a ready model. The shipped gateway ends the wait for a model too; here it goes on, so that a model that
// never comes is seen.
func (f *front) patience(r *request) {
	ticket := r.ticket
	f.w.alive(queueTimeout, func() {
		switch {
		case f.waiting[ticket] == nil:
		case !f.pool.Ready():
			f.patience(r)
		default:
			delete(f.waiting, ticket)
			f.pool.Leave(ticket, f.now())
			f.w.end(r, messages.BulkheadRejection)
		}
	})
}

// dispatch lets waiting requests run; full tells that the host has no place for more.
func (f *front) dispatch() (full bool) { return pool.Fill(f.w.bound, f, f.dispatchOnce) }

func (f *front) dispatchOnce() (waitsForHost bool) {
	d := f.pool.Dispatch(f.now())
	for _, t := range d.Granted {
		r := f.waiting[t]
		delete(f.waiting, t)
		f.run(r)
	}
	f.refuse(d.Stranded, d.Why)
	if d.Refusal != nil {
		f.refuse(f.pool.RefuseAll(f.now()), d.Refusal)
	}
	return d.WaitsForHost
}

// freed gives the place that a request left to the front whose turn it is.
func (f *front) freed() {
	first, waits := pool.Left(f.w.bound, f)
	if !waits {
		f.dispatch()
		return
	}
	pool.Turns(f.w.bound, first, (*front).dispatch)
}

// refuse ends waiting requests that get no place.
func (f *front) refuse(tickets []uint64, why error) {
	for _, t := range tickets {
		if r := f.waiting[t]; r != nil { // not a load by hand
			delete(f.waiting, t)
			f.w.end(r, messages.CodeOf(why))
		}
	}
}

// pursue does what the pool wants done so that an endpoint becomes ready.
func (f *front) pursue() {
	w := f.w
	if w.down {
		return
	}
	for _, i := range f.pool.Intents(f.now()) {
		if w.o.Plants.Intent != nil && !w.o.Plants.Intent(i) {
			continue
		}
		switch i := i.(type) {
		case pool.Wake:
			if w.far != nil {
				w.alive(0, func() { f.wake(i.Actor) }) // the actor may be in the middle of what this follows from
			} else {
				f.wake(i.Actor)
			}
		case pool.Seek:
			w.alive(0, f.place)
		}
	}
	if pause, ok := f.pool.SeekAfter(f.now()); ok && !f.pausing {
		f.pausing = true
		w.alive(pause, func() { f.pausing = false; f.pursue() })
	}
}

// wake has an actor's engine wake.
func (f *front) wake(id messages.ActorID) {
	if _, err := (door{f.w}).Ask(&try{}, id, &messages.EnsureModel{Reason: "a request waits for it", OnDemand: true}); err != nil {
		f.refuse(f.pool.WakeRefused(err, f.now()))
	}
}

// place answers a Seek by the shipped placer: it asks the arbiter where the name is to run.
func (f *front) place() {
	w := f.w
	waited, _ := f.pool.Seeking(f.now())
	answer, err := control.Memory{Host: w.host(0), Door: door{w}, Views: view{w}, Estimate: runtime{w}, NewID: w.newID}.Place(&try{}, pool.Seek{Name: f.pool.Name(), Waited: waited})
	refused, why := f.pool.Answered(answer, err, f.now())
	f.refuse(refused, why)
	f.pursue()
}

// run lets a request run at the endpoint that the pool chose.
func (f *front) run(r *request) {
	w := f.w
	r.running = true
	f.running[r.ticket] = r
	e := f.pool.Running()[r.ticket].Endpoint
	if r.told == nil {
		w.tally.waited(w, r)
	}
	if e.Far() {
		w.far.pass(f, r, e.ID())
		return
	}
	i := w.byID[e.ID()]
	k, ticket := w.workerOf(i), r.ticket
	if k == nil { // its connection is refused: the model doesn't know yet that its worker ended
		w.after(w.latency(), func() { f.cutOff(ticket) })
		return
	}
	if k.asleep {
		w.violated("a request for %s runs at worker %d, which sleeps", f.pool.Name(), k.pid)
	}
	takes, code := k.answers(r.takes)
	w.after(takes, func() {
		if k := w.workerOf(i); k != nil && k.hung {
			code = messages.DeadlineExceeded
		}
		f.answered(ticket, code)
	})
}

// answered ends a running request with a worker's answer.
func (f *front) answered(ticket uint64, code messages.Code) {
	o := messages.Outcome{Failed: code == messages.Internal}
	if code != 0 {
		o.Err = messages.NewError(code, f.pool.Name(), "the request failed")
	}
	f.leave(ticket, o, code)
}

// leave ends a running request; nothing when it has gone already.
func (f *front) leave(ticket uint64, o messages.Outcome, code messages.Code) {
	if r := f.finish(ticket, o); r != nil {
		f.w.end(r, code)
		f.freed()
	}
}

// finish takes a running request out of its place; nil when it has gone already.
func (f *front) finish(ticket uint64, o messages.Outcome) *request {
	r := f.running[ticket]
	if r == nil {
		return nil
	}
	delete(f.running, ticket)
	r.running = false
	e, changed := f.pool.Finish(ticket, o, f.now())
	if changed && !e.Far() {
		state, failures := e.Breaker(f.now())
		door{f.w}.Tell(&try{}, e.ID(), &messages.ReportBreaker{State: state, Failures: uint32(failures)})
	}
	if e.Running() == 0 {
		f.w.poke("idle/" + e.ID().String())
	}
	return r
}

// bereaved ends the requests of a worker that died.
func (f *front) bereaved(id messages.ActorID) {
	for _, t := range f.at(id) {
		f.cutOff(t)
	}
}

// cutOff ends a try whose worker is gone. The request is sent again, a few times, since no byte had come.
func (f *front) cutOff(ticket uint64) {
	f.cut(ticket, messages.Outcome{Failed: true, Err: messages.NewError(messages.Unavailable, f.pool.Name(), "the worker is gone")})
}

func (f *front) cut(ticket uint64, gone messages.Outcome) {
	w := f.w
	r := f.finish(ticket, gone)
	if r == nil {
		return
	}
	if r.try++; r.try >= tries || r.told != nil { // the host that passed it on sends it again
		w.end(r, messages.Unavailable)
	} else {
		boot := w.boot
		w.after(w.latency(), func() {
			if w.boot != boot { // the coordinator it was at is gone, and its caller has an error
				w.end(r, messages.Unavailable)
				return
			}
			f.arrive(r)
		})
	}
	f.freed()
}

// shut tells whether the breakers of all workers, awake or asleep, keep requests out for a time.
func (f *front) shut() bool {
	up := func(e *pool.Endpoint) bool { return e.Ready() || e.View().GetPhase() == messages.ModelView_asleep }
	lets := func(e *pool.Endpoint) bool {
		state, _ := e.Breaker(f.now())
		return up(e) && state != pool.Opened
	}
	return slices.ContainsFunc(f.pool.Endpoints(), up) && !slices.ContainsFunc(f.pool.Endpoints(), lets)
}

// lost is the coordinator's end: requests that waited or ran fail at once.
func (f *front) lost() {
	for _, requests := range []map[uint64]*request{f.running, f.waiting} {
		for _, r := range requests {
			f.w.end(r, messages.Unavailable)
		}
	}
	f.open()
}

// end tells a caller how it went.
func (w *World) end(r *request, code messages.Code) {
	if r.ended {
		w.violated("a request for %s ended twice", w.o.Models[r.model].Name)
	}
	r.ended, r.running, r.code = true, false, code
	if r.told != nil {
		r.told(code)
		return
	}
	w.tally.done(w, r)
}

func (w *World) ticket() uint64 {
	w.tickets++
	return w.tickets
}

// frontOf is where the requests of an actor's model come in.
func (w *World) frontOf(i int) *front { return w.fronts[w.modelOf[i]] }

// runningAt is how many requests run at an actor's worker.
func (w *World) runningAt(i int) int {
	if e := w.frontOf(i).pool.Endpoint(w.models[i].id); e != nil {
		return e.Running()
	}
	return 0
}

// workerOf is the ready worker of an actor; nil when it has none.
func (w *World) workerOf(model int) *worker {
	for _, k := range w.workers {
		if k.model == model && k.ready {
			return k
		}
	}
	return nil
}
