package pool

import (
	"fmt"
	"slices"
	"time"

	"modelops/messages"
)

// When a worker that is up counts as degraded.
const (
	recentOutcomes = 20              // the latest requests that count
	failedShare    = 0.4             // of them failed: degraded
	failedProbes   = 2               // probes of an open breaker that failed
	slowSamples    = 32              // answers before its pace is known
	slowTimes      = 5               // its answers take so many times what they usually take
	slowMemory     = 256             // answers over which the usual is taken
	slowLeast      = 2 * time.Second // what is quicker is never called slow

	abandonedInARow  = 3                // callers that gave up, one after the other
	abandonedTimes   = 10               // each had waited for so many times the usual,
	abandonedEach    = time.Second      // but at least for so long,
	abandonedUnknown = 30 * time.Second // or for so long while the usual is unknown,
	abandonedSpan    = 10 * time.Second // and the first one's beginning is at least so long before the last one's end

	stuckTimes = 20               // no request ends for so many times the usual while others wait,
	stuckLeast = 10 * time.Minute // and at least for so long
)

// outlier detects a worker that is up and does its work badly, by the outcomes of its requests.
type outlier struct {
	outcomes [recentOutcomes]bool // true = failed; a ring
	seen     int
	pace     average       // of the latest answers
	usual    time.Duration // of many answers
	size     average       // 1/1024 bytes of the latest requests with their answers,
	large    average       // and of many
	answers  int
	lastEnd  time.Time
	reported bool // as degraded

	abandoned      int           // callers in a row that gave up
	abandonedSince time.Time     // when the first of them began
	abandonedFor   time.Duration // from then until the last one gave up

	quietSince time.Time // since when requests run and no answer came; zero while none runs
}

// saw takes the outcome of a request.
func (o *outlier) saw(out messages.Outcome, took time.Duration, now time.Time) {
	o.lastEnd = now
	if out.Failed || out.Err == nil {
		o.outcomes[o.seen%recentOutcomes] = out.Failed
		o.seen++
	}
	switch {
	case out.Err == nil && !out.Failed:
		o.abandoned = 0
		o.quietSince = now
		o.answers++
		o.pace.add(took)
		if o.usual == 0 {
			o.usual = took
		}
		o.usual += (took - o.usual) / slowMemory
		o.weigh(out.Bytes)
	case gaveUp(out) && took >= o.patience():
		if o.abandoned++; o.abandoned == 1 {
			o.abandonedSince = now.Add(-took)
		}
		o.abandonedFor = now.Sub(o.abandonedSince)
	}
}

// weigh notes the size of a request that was answered.
func (o *outlier) weigh(bytes int64) {
	if bytes <= 0 {
		return
	}
	size := average(min(bytes, 1<<40)) << 10 // in parts of a byte: averages are whole numbers
	o.size.add(time.Duration(size))
	if o.large == 0 {
		o.large = o.size
	}
	o.large += (size - o.large) / slowMemory
}

// expected is how long the latest requests may take: as long as usual, and as much longer as they are larger. A caller with long prompts makes
// no worker slow.
func (o *outlier) expected() time.Duration {
	if o.large == 0 || o.size <= o.large {
		return o.usual
	}
	return time.Duration(float64(o.usual) * float64(o.size) / float64(o.large))
}

// often tells whether enough of the latest requests failed.
func (o *outlier) often() bool {
	return o.seen >= recentOutcomes && float64(o.failed()) >= failedShare*recentOutcomes
}

func (o *outlier) failed() (n int) {
	for _, f := range o.outcomes {
		n += bit(f)
	}
	return n
}

// acquit forgets failures and callers that gave up: a trial was answered.
func (o *outlier) acquit(now time.Time) {
	o.outcomes, o.seen, o.abandoned = [recentOutcomes]bool{}, 0, 0
	if !o.quietSince.IsZero() {
		o.quietSince = now
	}
}

// signAfter tells whether an answer or a byte came after a time.
func (o *outlier) signAfter(t time.Time) bool { return o.quietSince.After(t) }

// gaveUp tells whether the caller's deadline or patience ended the request.
func gaveUp(o messages.Outcome) bool {
	switch messages.CodeOf(o.Err) {
	case messages.DeadlineExceeded, messages.Cancelled:
		return true
	}
	return false
}

// patience is how long a caller must have waited so that its giving up counts against the worker.
func (o *outlier) patience() time.Duration {
	if o.usual == 0 {
		return abandonedUnknown
	}
	return max(abandonedTimes*o.usual, abandonedEach)
}

// degraded says why an endpoint's worker does its work badly; empty when it doesn't.
func (p *Pool) degraded(e *Endpoint, now time.Time) string {
	o := &e.outlier
	confirmed := e.suspicion.fails || !p.figures.Trials
	switch {
	case o.often() && confirmed:
		return fmt.Sprintf("%d of its last %d requests failed", o.failed(), recentOutcomes)
	case p.hangs(e, now):
		return fmt.Sprintf("it gave no sign of life for %s, not even to the smallest request", now.Sub(e.suspicion.silent).Round(time.Second))
	case e.breaker.open && e.breaker.failures >= e.breaker.threshold+failedProbes:
		return fmt.Sprintf("its breaker is open and %d probes failed", e.breaker.failures-e.breaker.threshold)
	case o.answers >= slowSamples && time.Duration(o.pace) > slowLeast && time.Duration(o.pace) > slowTimes*o.expected():
		return fmt.Sprintf("its answers take %s, usually %s", time.Duration(o.pace).Round(time.Millisecond), o.usual.Round(time.Millisecond))
	case !p.figures.Trials && o.abandoned >= abandonedInARow && o.abandonedFor >= abandonedSpan:
		return fmt.Sprintf("%d callers in a row gave up on it, each after more than %s", o.abandoned, o.patience().Round(time.Millisecond))
	case e.running >= p.places() && p.waiting.n > 0 && p.baseline(e) > 0:
		if still := now.Sub(p.lastSign(e)); still > max(stuckLeast, stuckTimes*p.baseline(e)) {
			return fmt.Sprintf("no request ended for %s, usually one takes %s", still.Round(time.Second), p.baseline(e).Round(time.Millisecond))
		}
	}
	return ""
}

// lastSign is when a request last ended or began at an endpoint.
func (p *Pool) lastSign(e *Endpoint) time.Time {
	last := e.outlier.lastEnd
	for _, r := range p.running {
		if r.Endpoint == e && r.Began.After(last) {
			last = r.Began
		}
	}
	return last
}

// replaceEvery is the least time between two replacements in a pool: each costs a load, and the fault may be the model's.
const replaceEvery = time.Minute

// eject finds an endpoint whose worker should be replaced now, and says why; nil when there is none. It isn't reported again.
func (p *Pool) eject(now time.Time) (*Endpoint, string) {
	if !p.replaced.IsZero() && now.Sub(p.replaced) < replaceEvery || p.replacing() {
		return nil, ""
	}
	for _, e := range p.endpoints {
		if e.far || e.view.GetPhase() != messages.ModelView_ready || !e.ready {
			continue
		}
		if why := p.degraded(e, now); why != "" {
			p.replaced, e.outlier.reported = now, true
			return e, why
		}
	}
	return nil, ""
}

// replacing tells whether a worker is being replaced on any host.
func (p *Pool) replacing() bool {
	return slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool { return e.view.GetReplacing() != "" })
}
