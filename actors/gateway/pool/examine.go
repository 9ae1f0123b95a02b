package pool

import (
	"cmp"
	"time"

	"modelops/messages"
)

const (
	quietLeast  = 30 * time.Second // no sign of life for so long, or
	quietTimes  = 20               // so many times the usual: a trial is due
	trialEvery  = 10 * time.Second // between two trials that told nothing
	trialAgain  = time.Second      // between two trials of a worker that answered the first one
	silentLeast = 3 * time.Minute  // all trials in so long were without an answer: the worker hangs, unless HangTimeout says otherwise
	busyLeast   = 20 * time.Minute // the same while it computes
	manyCallers = 2                // failures of so many callers count where no trial can tell
)

// Trial asks whether an endpoint's worker works. Its verdict goes to Tried.
type Trial struct {
	Endpoint *Endpoint
	Attempt  uint64
	Path     string // of the kind of request that failed
	Began    time.Time
}

// suspicion is what an endpoint's requests say against its worker. A caller's inputs can make a good worker fail, so failures alone neither open
// its breaker nor end it: a trial decides.
type suspicion struct {
	due    bool   // requests failed, and no trial was made since
	path   string // of the latest failure
	asked  bool   // a trial runs
	next   time.Time
	fails  bool // the last trial that told something found that it doesn't work
	silent time.Time
	busy   time.Time // since when all trials were without an answer, and since when it computed in all of them; zero: they weren't
	// callers are the fingerprints of callers whose requests failed in a row, at most manyCallers.
	callers []string
}

// blames notes a failure; enough tells that a trial is due.
func (s *suspicion) blames(o messages.Outcome, enough bool) {
	s.path = o.Path
	s.due = s.due || enough
	if o.Caller == "" || len(s.callers) == manyCallers {
		return
	}
	for _, c := range s.callers {
		if c == o.Caller {
			return
		}
	}
	s.callers = append(s.callers, o.Caller)
}

// answered ends what one answer disproves: the worker doesn't hang, and not every caller's requests fail.
func (s *suspicion) answered() { s.silent, s.busy, s.callers = time.Time{}, time.Time{}, nil }

// acquit forgets everything: the worker works.
func (s *suspicion) acquit() { *s = suspicion{path: s.path, asked: s.asked, next: s.next} }

// Trials are the trials that are due now. The caller makes each and gives its verdict to Tried. It calls Trials after Finish and from time to time.
func (p *Pool) Trials(now time.Time) (out []Trial) {
	if !p.figures.Trials {
		return nil
	}
	for _, e := range p.endpoints {
		s := &e.suspicion
		if e.far || e.view.GetPhase() != messages.ModelView_ready || !e.ready || s.asked || now.Before(s.next) {
			continue
		}
		if s.due || !s.silent.IsZero() || p.quiet(e, now) {
			s.due, s.asked = false, true
			out = append(out, Trial{e, e.view.GetAttempt(), s.path, now})
		}
	}
	return out
}

// quiet tells whether an endpoint's requests have had no sign of life for too long: since the first of them began, no answer came and no caller has
// received a byte.
func (p *Pool) quiet(e *Endpoint, now time.Time) bool {
	o := &e.outlier
	if o.abandoned >= abandonedInARow && o.abandonedFor >= abandonedSpan {
		return true
	}
	return e.running > 0 && !o.quietSince.IsZero() && now.Sub(o.quietSince) >= max(quietLeast, quietTimes*p.baseline(e))
}

// baseline is how long an answer usually takes: at this worker, else at its predecessors; 0 when none has answered.
func (p *Pool) baseline(e *Endpoint) time.Duration {
	if e.outlier.usual > 0 {
		return e.outlier.usual
	}
	return p.usualBefore
}

// Heard notes that a running request's caller received bytes at a time: the worker is at work.
func (e *Endpoint) Heard(at time.Time) {
	if o := &e.outlier; !o.quietSince.IsZero() && at.After(o.quietSince) {
		o.quietSince = at
	}
	if s := &e.suspicion; !s.silent.IsZero() && at.After(s.silent) {
		s.silent, s.busy = time.Time{}, time.Time{}
	}
}

// Suspected tells whether a sign of life would matter.
func (e *Endpoint) Suspected() bool { return e.suspicion.asked || !e.suspicion.silent.IsZero() }

// Tried takes a trial's verdict. breakerChanged tells that the endpoint's breaker opened or closed.
func (p *Pool) Tried(t Trial, v messages.Verdict, now time.Time) (breakerChanged bool) {
	e, s := t.Endpoint, &t.Endpoint.suspicion
	if t.Attempt != e.view.GetAttempt() {
		return false
	}
	s.asked, s.next = false, now.Add(trialEvery)
	if v == messages.TrialUnknown && len(s.callers) >= manyCallers {
		v = messages.TrialFails
	}
	switch v {
	case messages.TrialWorks:
		s.next = now.Add(trialAgain)
		s.acquit()
		e.outlier.acquit(now)
		return e.breaker.acquit()
	case messages.TrialFails:
		s.fails, s.silent, s.busy = true, time.Time{}, time.Time{}
		return e.breaker.condemn(now)
	case messages.TrialUnknown:
		e.outlier.abandoned = 0 // callers may be impatient, and nothing else is known
	case messages.TrialBusy, messages.TrialSilent:
		since(&s.silent, !e.outlier.signAfter(t.Began), t.Began)
		since(&s.busy, v == messages.TrialBusy && !s.silent.IsZero(), t.Began)
	}
	return false
}

// hangs tells whether a worker that may compute gave no sign of life through so many trials that it hangs.
func (p *Pool) hangs(e *Endpoint, now time.Time) bool {
	s := &e.suspicion
	if s.silent.IsZero() {
		return false
	}
	least := cmp.Or(p.figures.HangTimeout, silentLeast)
	if !s.busy.IsZero() {
		least = max(least, busyLeast)
	}
	return now.Sub(s.silent) >= max(least, quietTimes*p.baseline(e))
}
