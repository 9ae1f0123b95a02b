package simulator

import (
	"cmp"
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
	seat    *seat // where it runs, or ran last
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

// lane is one model's requests. They run at its workers: the model's own and its replicas'.
type lane struct {
	w         *World
	model     int
	places    int     // at each worker
	seats     []*seat // the model's own first
	waiting   []*request
	idleSince time.Duration // since when nothing runs or waits; < 0 = something does
	served    bool
	replaced  time.Duration // when a replacement was last asked for
	revived   time.Duration // when its own worker was last asked to try anew
}

func newLane(w *World, m Model) *lane {
	l := &lane{w: w, model: len(w.lanes), places: cmp.Or(m.Places, 4), idleSince: -1}
	l.seat(l.model)
	return l
}

// update takes a new view of the model, or of a replica.
func (l *lane) update(i int, v *messages.ModelView) {
	was := l.ready()
	l.seat(i).update(v)
	base := l.seats[0].view
	switch {
	case l.ready() && !was:
		l.idleSince, l.served = -1, false
		l.pump()
		l.rest()
	case l.ready():
		l.pump()
	case i == l.model && v.Phase == messages.ModelView_failed:
		l.refuseAll(v)
	case base.GetPhase() == messages.ModelView_absent && !base.Wanted && len(l.waiting) > 0:
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
	case len(l.waiting) == 0 && l.free() != nil:
		l.run(r, l.free())
	case len(l.waiting) >= maxQueue:
		w.end(r, messages.BulkheadRejection)
	default:
		l.waiting = append(l.waiting, r)
		r.queued = w.elapsed
		if !l.ready() {
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
		case !l.ready():
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
	for len(l.waiting) > 0 && l.free() != nil {
		r := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.run(r, l.free())
	}
}

func (l *lane) run(r *request, s *seat) {
	w := l.w
	r.running, r.seat = true, s
	r.grants++
	grant := r.grants
	s.running = append(s.running, r)
	w.tally.waited(w, r)
	k := w.workerOf(s.model)
	if k != nil && k.asleep {
		w.violated("a request for %s runs at worker %d, which sleeps", w.o.Models[l.model].Name, k.pid)
	}
	takes, code := k.answers(r.takes)
	w.after(takes, func() {
		if r.ended || r.grants != grant || !r.running {
			return
		}
		if k := w.workerOf(s.model); k != nil && k.hung {
			code = messages.DeadlineExceeded
		}
		s.saw(code != 0 || takes > slowTimes*r.takes)
		l.leave(r, code)
	})
}

// leave ends a running request.
func (l *lane) leave(r *request, code messages.Code) {
	s := r.seat
	s.running = slices.DeleteFunc(s.running, func(x *request) bool { return x == r })
	l.served = true
	l.w.end(r, code)
	l.pump()
	l.rest()
	s.pokeIdle(l.w)
}

func (l *lane) rest() {
	if l.running()+len(l.waiting) == 0 && l.idleSince < 0 {
		l.idleSince = l.w.elapsed
	}
}

func (l *lane) idle() time.Duration {
	if l.idleSince < 0 || l.running()+len(l.waiting) > 0 {
		return 0
	}
	return l.w.elapsed - l.idleSince
}

// bereaved is what a worker's death does to its requests: they are sent again, a few times, since no byte had come.
func (l *lane) bereaved(model int) {
	if l.w.down {
		return
	}
	s := l.seat(model)
	gone := s.running
	s.running = nil
	for _, r := range gone {
		r.running = false
		if r.try++; r.try >= tries {
			l.w.end(r, messages.Unavailable)
			continue
		}
		// The lane may say ready for a moment longer: then the worker refuses the connection and this comes back.
		boot := l.w.boot
		l.w.after(l.w.latency(), func() {
			if l.w.boot != boot { // the coordinator it was at is gone, and its caller heard so
				l.w.end(r, messages.Unavailable)
				return
			}
			l.arrive(r)
		})
	}
	s.pokeIdle(l.w)
	l.rest()
}

// lost is the coordinator's end: who waited or ran hears of it at once.
func (l *lane) lost() {
	for _, s := range l.seats {
		for _, r := range s.running {
			l.w.end(r, messages.Unavailable)
		}
	}
	for _, r := range l.waiting {
		l.w.end(r, messages.Unavailable)
	}
	l.seats, l.waiting, l.idleSince = nil, nil, -1
	l.seat(l.model)
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

// sweep unloads models whose idle time is over, puts idle workers to sleep and has bad ones replaced.
func (w *World) sweep() {
	w.alive(sweepEvery, w.sweep)
	for i, l := range w.lanes {
		limit := w.o.Models[i].Idle
		if limit > 0 && l.ready() && l.idleSince >= 0 && !w.o.Models[i].Pinned && l.idle() >= limit {
			door{w}.Tell(&try{}, w.models[i].id, &messages.UnloadModel{Reason: "its idle time is over"})
		}
		if nap := w.o.Models[i].Sleep; nap > 0 && l.idle() >= nap {
			for _, s := range l.seats {
				if s.ready {
					door{w}.Tell(&try{}, w.models[s.model].id, &messages.SleepModel{Reason: "nobody asks for it"})
				}
			}
		}
		l.inspect()
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
	w.rescale(i)
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
