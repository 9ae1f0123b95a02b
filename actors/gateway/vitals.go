package gateway

import (
	"fmt"
	"time"

	"modelops/messages"
)

// When a worker that is up is taken to do its work badly.
const (
	recentOutcomes = 20               // the latest requests that count
	failedShare    = 0.4              // of them failed: degraded
	failedProbes   = 2                // probes of an open breaker that failed
	slowSamples    = 32               // answers before its pace is known
	slowTimes      = 5                // slower than it usually is
	slowMemory     = 256              // answers over which that is taken
	slowLeast      = 2 * time.Second  // what is quicker is never called slow
	inVainInARow   = 3                // callers that gave up, one after the other
	inVainTimes    = 10               // each had waited for so many times what is usual,
	inVainEach     = time.Second      // but so long at least,
	inVainUnknown  = 30 * time.Second // or so long when nobody knows what is usual,
	inVainSpan     = 10 * time.Second // and from the first one's beginning to the last one's end it was so long
	stuckTimes     = 20               // nothing ends for so many times what is usual while others wait,
	stuckLeast     = 10 * time.Minute // or so long
)

// vitals is what requests tell about a worker that says of itself that it is well. Pure: the time is an argument.
type vitals struct {
	outcomes [recentOutcomes]bool // true = failed; a ring
	seen     int
	pace     average       // of the latest answers
	usual    time.Duration // of many answers
	answers  int
	inVain   int           // callers in a row who gave up
	vainly   time.Time     // when the first of them began
	vainSpan time.Duration // from then until the last one gave up
	lastEnd  time.Time
	reported bool // as degraded
}

// saw takes the outcome of a request.
func (v *vitals) saw(o messages.Outcome, took time.Duration, now time.Time) {
	v.lastEnd = now
	switch {
	case o.Failed, o.Err == nil:
		v.outcomes[v.seen%recentOutcomes] = o.Failed
		v.seen++
	}
	switch {
	case o.Err == nil && !o.Failed:
		v.inVain = 0
		v.answers++
		v.pace.add(took)
		if v.usual == 0 {
			v.usual = took
		}
		v.usual += (took - v.usual) / slowMemory
	case gaveUp(o) && took >= v.patience():
		if v.inVain++; v.inVain == 1 {
			v.vainly = now.Add(-took)
		}
		v.vainSpan = now.Sub(v.vainly)
	}
}

// gaveUp tells whether the caller's deadline or patience ended the request.
func gaveUp(o messages.Outcome) bool {
	switch messages.CodeOf(o.Err) {
	case messages.DeadlineExceeded, messages.Cancelled:
		return true
	}
	return false
}

// patience is how long a caller must have waited to have waited in vain.
func (v *vitals) patience() time.Duration {
	if v.usual == 0 {
		return inVainUnknown
	}
	return max(inVainTimes*v.usual, inVainEach)
}

// degraded says why a worker does its work badly; empty when it doesn't.
func (l *lane) degraded(s *seat, now time.Time) string {
	v := &s.vitals
	failed := 0
	for _, f := range v.outcomes {
		if f {
			failed++
		}
	}
	switch {
	case v.seen >= recentOutcomes && float64(failed) >= failedShare*recentOutcomes:
		return fmt.Sprintf("%d of its last %d requests failed", failed, recentOutcomes)
	case s.breaker.open && s.breaker.failures >= s.breaker.threshold+failedProbes:
		return fmt.Sprintf("its breaker is open and %d probes failed", s.breaker.failures-s.breaker.threshold)
	case v.answers >= slowSamples && time.Duration(v.pace) > slowLeast && time.Duration(v.pace) > slowTimes*v.usual:
		return fmt.Sprintf("its answers take %s, usually %s", time.Duration(v.pace).Round(time.Millisecond), v.usual.Round(time.Millisecond))
	case v.inVain >= inVainInARow && v.vainSpan >= inVainSpan:
		return fmt.Sprintf("%d callers in a row gave up on it, each after more than %s", v.inVain, v.patience().Round(time.Millisecond))
	case s.running >= l.places() && l.waiting.n > 0 && v.usual > 0:
		if still := now.Sub(l.lastSign(s)); still > max(stuckLeast, stuckTimes*v.usual) {
			return fmt.Sprintf("no request ended for %s, usually one takes %s", still.Round(time.Second), v.usual.Round(time.Millisecond))
		}
	}
	return ""
}

// lastSign is when a worker's request last ended or began.
func (l *lane) lastSign(s *seat) time.Time {
	last := s.vitals.lastEnd
	for _, r := range l.running {
		if r.seat == s && r.began.After(last) {
			last = r.began
		}
	}
	return last
}

// replaceEvery is the least time between two replacements of a model's workers: each costs a load, and what is wrong may be the model.
const replaceEvery = time.Minute

// unwell are the workers to be replaced now, at most one, and why.
func (l *lane) unwell(now time.Time) (*seat, string) {
	if l.view.GetReplacing() != "" || !l.replaced.IsZero() && now.Sub(l.replaced) < replaceEvery {
		return nil, ""
	}
	for _, s := range l.seats {
		if s.view.GetPhase() != "ready" || !s.ready {
			continue
		}
		if why := l.degraded(s, now); why != "" {
			l.replaced, s.vitals.reported = now, true
			return s, why
		}
	}
	return nil, ""
}

// reviveEvery is how often a model whose own worker can't be had, and whose other workers serve, is asked to try anew.
const reviveEvery = time.Minute

// bereft tells whether the model should try its own worker anew. Requests don't ask for it while others serve them.
func (l *lane) bereft(now time.Time) bool {
	if l.view.GetPhase() != "failed" || !l.ready() {
		l.revived = now
		return false
	}
	if now.Sub(l.revived) < reviveEvery {
		return false
	}
	l.revived = now
	return true
}
