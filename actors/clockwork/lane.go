package clockwork

import (
	"cmp"
	"context"
	"slices"
	"time"

	"modelops/messages"
)

// The gateway's figures.
const (
	maxQueue     = 64
	queueTimeout = 30 * time.Second
	// runLongest ends a request at an engine that hangs.
	runLongest = time.Minute
	tries      = 3
	sweepEvery = time.Second
)

// request is one call. It ends once: answered, or refused with a code.
type request struct {
	model   int
	arrived time.Duration
	queued  time.Duration // when it began to wait, for the last time
	takes   time.Duration
	try     int
	grants  int // tells one grant from the next
	running bool
	ended   bool
	calm    bool // came when nothing went wrong any more
	code    messages.Code
}

// lane is one model's requests.
type lane struct {
	w         *World
	model     int
	places    int
	view      *messages.ModelView
	ready     bool
	closed    uint64 // the newest attempt that was drained
	running   []*request
	waiting   []*request
	idleSince time.Duration // since when nothing runs or waits; < 0 = something does
	served    bool
	drains    map[uint64]time.Duration // when a drain of an attempt began
}

func newLane(w *World, m Model) *lane {
	return &lane{w: w, model: len(w.lanes), places: cmp.Or(m.Places, 4), idleSince: -1, drains: map[uint64]time.Duration{}}
}

// update takes a new view of the model.
func (l *lane) update(v *messages.ModelView) {
	was := l.ready
	l.view = v
	if (v.Phase == "asleep" || v.Phase == "waking") && l.closed == v.Attempt { // it was drained to sleep and comes back as it was
		l.closed--
	}
	l.ready = v.Phase == "ready" && v.Attempt > l.closed
	switch {
	case l.ready && !was:
		l.idleSince, l.served = -1, false
		l.pump()
		l.rest()
	case l.ready:
		l.pump()
	case v.Phase == "failed":
		l.refuseAll(v)
	case v.Phase == "absent" && !v.Wanted && len(l.waiting) > 0:
		l.ensure()
	}
}

func (l *lane) ensure() {
	door{l.w}.Tell(&try{}, messages.ModelActor(host, l.w.o.Models[l.model].Name), &messages.EnsureModel{Reason: "a request waits for it"})
}

// arrive admits a request, queues it or refuses it.
func (l *lane) arrive(r *request) {
	w := l.w
	l.idleSince = -1
	switch {
	case w.down:
		w.end(r, messages.Unavailable)
	case l.ready && len(l.waiting) == 0 && len(l.running) < l.places:
		l.run(r)
	case len(l.waiting) >= maxQueue:
		w.end(r, messages.BulkheadRejection)
	default:
		l.waiting = append(l.waiting, r)
		r.queued = w.elapsed
		if !l.ready {
			l.ensure()
		}
		l.patience(r)
	}
}

// patience refuses a request that finds no place at a ready model; while there is none the model's own deadlines decide.
func (l *lane) patience(r *request) {
	queued := r.queued
	l.w.alive(queueTimeout, func() {
		switch {
		case r.ended || r.running || r.queued != queued:
		case !l.ready:
			r.queued = l.w.elapsed
			l.patience(r)
		default:
			l.waiting = slices.DeleteFunc(l.waiting, func(x *request) bool { return x == r })
			l.w.end(r, messages.BulkheadRejection)
			l.rest()
		}
	})
}

func (l *lane) pump() {
	for l.ready && len(l.waiting) > 0 && len(l.running) < l.places {
		r := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.run(r)
	}
}

func (l *lane) run(r *request) {
	w := l.w
	r.running = true
	r.grants++
	grant := r.grants
	l.running = append(l.running, r)
	w.tally.waited(w, r)
	takes, code := r.takes, messages.Code(0)
	if k := w.workerOf(l.model); k != nil && k.asleep {
		w.violated("a request for %s runs at worker %d, which sleeps", w.o.Models[l.model].Name, k.pid)
	}
	if k := w.workerOf(l.model); k == nil || k.hung {
		takes, code = runLongest, messages.DeadlineExceeded
	}
	w.after(takes, func() {
		if r.ended || r.grants != grant || !r.running {
			return
		}
		if k := w.workerOf(l.model); k != nil && k.hung {
			code = messages.DeadlineExceeded
		}
		l.leave(r, code)
	})
}

// leave ends a running request.
func (l *lane) leave(r *request, code messages.Code) {
	l.running = slices.DeleteFunc(l.running, func(x *request) bool { return x == r })
	l.served = true
	l.w.end(r, code)
	l.pump()
	l.rest()
	if len(l.running) == 0 {
		l.w.poke("idle/" + l.w.o.Models[l.model].Name)
	}
}

func (l *lane) rest() {
	if len(l.running)+len(l.waiting) == 0 && l.idleSince < 0 {
		l.idleSince = l.w.elapsed
	}
}

func (l *lane) idle() time.Duration {
	if l.idleSince < 0 || len(l.running)+len(l.waiting) > 0 {
		return 0
	}
	return l.w.elapsed - l.idleSince
}

// bereaved is what a worker's death does to its requests: they are sent again, a few times, since no byte had come.
func (l *lane) bereaved() {
	if l.w.down {
		return
	}
	gone := l.running
	l.running = nil
	for _, r := range gone {
		r.running = false
		if r.try++; r.try >= tries {
			l.w.end(r, messages.Unavailable)
			continue
		}
		// The lane may say ready for a moment longer: then the worker refuses the connection and this comes back.
		l.w.alive(l.w.latency(), func() { l.arrive(r) })
	}
	if len(l.running) == 0 {
		l.w.poke("idle/" + l.w.o.Models[l.model].Name)
	}
	l.rest()
}

// lost is the coordinator's end: who waited or ran hears of it at once.
func (l *lane) lost() {
	for _, r := range slices.Concat(l.running, l.waiting) {
		l.w.end(r, messages.Unavailable)
	}
	l.running, l.waiting, l.ready, l.closed, l.idleSince = nil, nil, false, 0, -1
	l.drains = map[uint64]time.Duration{}
}

// refuseAll tells the queue that the model can't be had.
func (l *lane) refuseAll(v *messages.ModelView) {
	code := messages.ModelLoadError
	if why := v.Error.Err(); why != nil && why.Code == messages.GPUUnavailable {
		code = why.Code
	}
	for _, r := range l.waiting {
		l.w.end(r, code)
	}
	l.waiting = nil
	l.rest()
}

// gate is the model's port to its lane.
type gate struct{ w *World }

// Drain implements model.Gate.
func (g gate) Drain(ctx context.Context, name string, attempt uint64, force bool) error {
	w := g.w
	l := w.lanes[w.byName[name]]
	l.closed, l.ready = max(l.closed, attempt), false
	if len(l.running) == 0 {
		return nil
	}
	began, ok := l.drains[attempt]
	if !ok {
		began = w.elapsed
		l.drains[attempt] = began
		w.alive(w.o.DrainTimeout, func() { delete(l.drains, attempt); w.drainOver(l, attempt) })
	}
	if force {
		l.endAll()
		return nil
	}
	return notYet(ctx, "idle/"+name)
}

// drainOver ends who still runs when a drain's time is over.
func (w *World) drainOver(l *lane, attempt uint64) {
	if l.closed == attempt && !l.ready {
		l.endAll()
	}
}

func (l *lane) endAll() {
	for _, r := range slices.Clone(l.running) {
		l.leave(r, messages.Unavailable)
	}
}

// sweep unloads models whose idle time is over.
func (w *World) sweep() {
	w.alive(sweepEvery, w.sweep)
	for i, l := range w.lanes {
		limit := w.o.Models[i].Idle
		if limit > 0 && l.ready && l.idleSince >= 0 && !w.o.Models[i].Pinned && l.idle() >= limit {
			door{w}.Tell(&try{}, w.models[i].id, &messages.UnloadModel{Reason: "its idle time is over"})
		}
		if nap := w.o.Models[i].Sleep; nap > 0 && l.ready && l.idle() >= nap {
			door{w}.Tell(&try{}, w.models[i].id, &messages.SleepModel{Reason: "nobody asks for it"})
		}
	}
}

// end tells a caller how it went.
func (w *World) end(r *request, code messages.Code) {
	if r.ended {
		w.violated("a request for %s ended twice", w.o.Models[r.model].Name)
	}
	r.ended, r.running, r.code = true, false, code
	w.tally.done(w, r)
}

// arrivals brings requests in at random, sometimes many at a time.
func (w *World) arrivals() {
	if w.calm {
		return
	}
	w.after(time.Duration(w.rng.ExpFloat64()/w.o.Rate*float64(time.Second)), w.arrivals)
	i, burst := w.pick(), 1
	if w.rng.IntN(20) == 0 {
		burst = 1 + w.rng.IntN(12)
	}
	for range burst {
		w.call(w.o.Models[i].Name, w.service())
	}
}

// service is how long a request runs: mostly short, sometimes long.
func (w *World) service() time.Duration {
	d := time.Duration(w.rng.ExpFloat64() * float64(400*time.Millisecond))
	if w.rng.IntN(50) == 0 {
		d *= 20
	}
	return 5*time.Millisecond + min(d, runLongest/2)
}

func (w *World) pick() int {
	var sum float64
	for _, m := range w.o.Models {
		sum += cmp.Or(m.Weight, 1)
	}
	at := w.rng.Float64() * sum
	for i, m := range w.o.Models {
		if at -= cmp.Or(m.Weight, 1); at < 0 {
			return i
		}
	}
	return len(w.o.Models) - 1
}

// call asks a model for something that takes a while.
func (w *World) call(name string, takes time.Duration) *request {
	r := &request{model: w.byName[name], arrived: w.elapsed, takes: takes, calm: w.calm}
	w.tally.came(r)
	w.lanes[r.model].arrive(r)
	return r
}

func (w *World) workerOf(model int) *worker {
	for _, k := range w.workers {
		if k.model == model && k.ready {
			return k
		}
	}
	return nil
}
