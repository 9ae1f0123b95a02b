package pool

import (
	"slices"
	"time"

	"modelops/messages"
)

// Intent is what the pool wants done so that an endpoint becomes ready: Seek or Wake.
type Intent interface{ intent() }

// Seek asks for a placement of the pool's name, on whatever host. Its answer goes to Answered; until then there is no other Seek.
type Seek struct {
	Name   string
	Waited time.Duration // how long the oldest request or want has waited
	ByHand bool          // loads by hand alone want it: no request waits
}

// Wake asks an actor to wake its worker's engine. It may be lost: it is repeated.
type Wake struct {
	Actor  messages.ActorID
	ByHand bool // as of a Seek
}

// Reason is why a model is wanted.
func Reason(byHand bool) string {
	if byHand {
		return "asked to load it"
	}
	return "a request waits for it"
}

func (Seek) intent() {}
func (Wake) intent() {}

// PlaceAnswer is what became of a Seek that wasn't refused.
type PlaceAnswer int

const (
	// Unanswered means that the Seek was given up before an answer came: the pool seeks again if it still has to.
	Unanswered PlaceAnswer = iota
	// Placed means that a placement is decided: a view of its endpoint will come. Until then the pool seeks again after pauses, since the
	// placement may still be refused by its device or given up.
	Placed
	// Waits means that there is no placement yet: the pool seeks again after a pause.
	Waits
	// held means that pins alone keep the model from a place, and that those who wait wait for the pins to end.
	held
)

const (
	firstPause   = 5 * time.Millisecond  // after the first Waits; it doubles up to longestPause
	placedPause  = 25 * time.Millisecond // after the first Placed: mostly the endpoint loads by then
	longestPause = 250 * time.Millisecond
	wakeAgain    = time.Second // a Wake without effect is repeated
)

// seeking is where the pool's Seek stands.
type seeking struct {
	asked bool      // an answer is due
	next  time.Time // no Seek before
	pause time.Duration
	said  PlaceAnswer // the last answer
	why   error       // why there was none
}

// Want notes interest in a ready endpoint that takes no place, such as a load by hand. It ends by Dispatched.Met, RefuseAll or Unwant.
func (p *Pool) Want(r Request) { p.wants = append(p.wants, r) }

// endWants ends the wants when the model is unloaded by hand: the later order counts. Waiting requests still want the model.
func (p *Pool) endWants() {
	for _, w := range p.wants {
		p.ended = append(p.ended, w.Ticket)
	}
	p.wants = nil
}

// EndedWants are the wants that ended because the model was unloaded since the last call.
func (p *Pool) EndedWants() []uint64 {
	ended := p.ended
	p.ended = nil
	return ended
}

// EndWants ends the wants because somebody unloads the model, and returns their tickets.
func (p *Pool) EndWants(now time.Time) []uint64 {
	p.endWants()
	p.rest(now)
	return p.EndedWants()
}

// Loads tells whether a worker starts, wakes or comes back after its drain. Each of these has a limit of its own, unlike the wait for a placement.
func (p *Pool) Loads() bool {
	for _, e := range p.endpoints {
		if e.onItsWay() && e.view.GetPhase() != messages.ModelView_absent && e.view.GetPhase() != messages.ModelView_placing {
			return true
		}
	}
	return false
}

// Unwant ends a want; false when there is none.
func (p *Pool) Unwant(ticket uint64, now time.Time) bool {
	n := len(p.wants)
	p.wants = slices.DeleteFunc(p.wants, func(w Request) bool { return w.Ticket == ticket })
	p.rest(now)
	return len(p.wants) < n
}

// Interested tells whether a request waits or a want is open.
func (p *Pool) Interested() bool { return p.waiting.n+len(p.wants) > 0 }

// Stuck tells whether requests or wants wait for an endpoint, and none becomes ready without the journal of this host.
func (p *Pool) Stuck(host string) bool {
	if !p.Interested() || p.Ready() {
		return false
	}
	return !slices.ContainsFunc(p.endpoints, func(e *Endpoint) bool { return e.onItsWay() && e.id.Host() != host })
}

// Seeking tells that the pool needs a placement of its name, and how long the oldest request or want has waited for it. One that waits for pins to
// end isn't in the way of others.
func (p *Pool) Seeking(now time.Time) (waited time.Duration, seeks bool) {
	if !p.Interested() || p.onItsWay() || p.sleeper() != nil || p.seek.said == held {
		return 0, false
	}
	return now.Sub(p.oldest(now)), true
}

// Intents are what the pool wants done now. The caller calls it after each step that can change the answer (Admit, Want, Update, Answered), and
// from time to time.
func (p *Pool) Intents(now time.Time) []Intent {
	if bound := p.summon(now); len(bound) > 0 {
		return bound
	}
	switch {
	case p.waiting.n > 0 && p.shut(now):
		if e := p.spare(now); e != nil && e.asleep() {
			return p.wake(e, now)
		}
		return nil
	case p.Interested() && p.placing():
		if p.seek.pause == 0 && !p.seek.asked { // mostly it has its place before the pause is over
			p.pause(placedPause, now)
		}
	case !p.Interested() || p.onItsWay():
		p.seek.next, p.seek.pause, p.seek.said, p.seek.why = time.Time{}, 0, Unanswered, nil
		return nil
	case p.sleeper() != nil:
		return p.wake(p.wakes(now), now)
	}
	if p.seek.asked || now.Before(p.seek.next) {
		return nil
	}
	p.seek.asked = true
	return []Intent{Seek{p.name, now.Sub(p.oldest(now)), p.waiting.n == 0}}
}

// SeekAfter is how long to wait before Intents has the next Seek; false when only a step or a sweep brings one: also while requests wait for a breaker or
// for a worker that wakes, where a pause that is over would be one of nothing, again and again.
func (p *Pool) SeekAfter(now time.Time) (pause time.Duration, ok bool) {
	if p.seek.asked || p.seek.pause == 0 || !p.Interested() || p.waiting.n > 0 && p.shut(now) || !p.placing() && p.sleeper() != nil {
		return 0, false
	}
	return max(p.seek.next.Sub(now), 0), true
}

// Answered takes the answer to a Seek. An error refuses every waiting request and want: their tickets are returned with the refusal, and the
// caller must tell them. An error that the placer can't be reached is no refusal. FailedPrecondition says that pins keep the model from a place: it
// refuses those that can't wait until the time to try again, and is asked for anew by the next, since a pin may be ended at any time.
func (p *Pool) Answered(a PlaceAnswer, err error, now time.Time) (refused []uint64, why error) {
	p.seek.asked, p.seek.said, p.seek.why = false, a, err
	switch {
	case messages.CodeOf(err) == messages.FailedPrecondition && (p.placing() || !p.onItsWay()):
		return p.heldByPins(messages.AsError(err), now), err
	case p.onItsWay() && !p.placing(): // a view came first
	case unreached(err), err == nil && a == Waits:
		p.pause(firstPause, now)
	case err != nil:
		p.seek = seeking{}
		return p.refuseAll(err, now)
	case a == Placed:
		p.pause(placedPause, now)
	default:
		p.seek.pause, p.seek.next = 0, time.Time{}
	}
	return nil, nil
}

// heldByPins takes that pins keep the model from a place until the refusal's time to try again, or for good. It returns who can't wait so long.
func (p *Pool) heldByPins(why *messages.Error, now time.Time) (refused []uint64) {
	var end time.Time
	if why.Retry > 0 {
		end = now.Add(why.Retry)
	}
	refused = p.waiting.impatient(end)
	for _, ticket := range refused {
		p.waiting.remove(ticket)
	}
	p.host.Unqueue(len(refused))
	p.wants = slices.DeleteFunc(p.wants, func(w Request) bool {
		if !w.outlasts(end) {
			refused = append(refused, w.Ticket)
		}
		return !w.outlasts(end)
	})
	p.seek.said = held
	p.pause(firstPause, now)
	if !p.Interested() {
		p.seek = seeking{}
	}
	p.rest(now)
	return refused
}

// pause puts the next Seek off for twice as long as the last time.
func (p *Pool) pause(least time.Duration, now time.Time) {
	p.seek.pause = min(max(2*p.seek.pause, least), longestPause)
	p.seek.next = now.Add(p.seek.pause)
}

// WakeRefused takes an actor's refusal of a Wake, and refuses every waiting request and want with it. An error that the actor can't be reached is
// no refusal: the Wake is repeated.
func (p *Pool) WakeRefused(err error, now time.Time) (refused []uint64, why error) {
	p.seek.why = err
	if unreached(err) || p.Ready() {
		return nil, nil
	}
	return p.refuseAll(err, now)
}

// unreached tells that a question wasn't answered, and may be when it is asked again. An actor that stays down is Unavailable too, but says no
// time after which asking again makes sense.
func unreached(err error) bool {
	switch e := messages.AsError(err); messages.CodeOf(err) {
	case messages.Unavailable:
		return e.Retry > 0
	case messages.DeadlineExceeded, messages.Cancelled, messages.JournalUnavailable:
		return true
	}
	return false
}

func (p *Pool) refuseAll(err error, now time.Time) (refused []uint64, why error) {
	p.seek.why = nil
	for _, e := range p.endpoints { // the next request asks again
		e.toldToWake = nil
	}
	e := messages.AsError(err)
	switch e.Code {
	case messages.ModelNotFound, messages.Unavailable, messages.JournalFull, messages.JournalDamaged: // says nothing about the model
		return p.RefuseAll(now), e
	}
	refusal := p.failing.add(p.loadError(e, p.subject()), now)
	return p.RefuseAll(now), refusal
}

// Delayed is why no endpoint is ready: the last error of a Seek, of a Wake or of a try to load; nil when there was none.
func (p *Pool) Delayed() error {
	if p.seek.why == nil && p.failing.try != nil {
		return p.loadError(p.failing.try, p.subject())
	}
	return p.seek.why
}

// loadError is the refusal when the model can't be loaded.
func (p *Pool) loadError(why *messages.Error, subject string) *messages.Error {
	if why == nil {
		why = messages.NewError(messages.ModelLoadError, subject, "the model failed to load")
	}
	if why.Code == messages.GPUUnavailable {
		return why
	}
	return messages.Errorf(messages.ModelLoadError, subject, "Failed to load model '%s': %s", p.name, why.Message).WithHint(why.Hint).WithRetry(why.Retry).WithLog(why.Log).WithLogFile(why.LogFile)
}

// wake asks an endpoint to wake once for each of its views, and again after a time.
func (p *Pool) wake(e *Endpoint, now time.Time) []Intent {
	if e.toldToWake == e.view && now.Sub(e.toldToWakeAt) < wakeAgain {
		return nil
	}
	e.toldToWake, e.toldToWakeAt = e.view, now
	return []Intent{Wake{e.id, p.waiting.n == 0}}
}

// oldest is since when the oldest request or want waits.
func (p *Pool) oldest(now time.Time) time.Time {
	since := now
	for _, l := range p.waiting.lines {
		if len(l.rs) > 0 && l.rs[0].Since.Before(since) {
			since = l.rs[0].Since
		}
	}
	for _, w := range p.wants {
		if w.Since.Before(since) {
			since = w.Since
		}
	}
	return since
}

// onItsWay tells whether an endpoint is ready or will be without a Seek.
func (p *Pool) onItsWay() bool {
	for _, e := range p.endpoints {
		if e.onItsWay() {
			return true
		}
	}
	return false
}

// placing tells whether all that is on its way are actors that seek memory themselves: nothing becomes of them while pins hold it.
func (p *Pool) placing() bool {
	found := false
	for _, e := range p.endpoints {
		if e.onItsWay() && e.view.GetPhase() != messages.ModelView_placing || e.asleep() {
			return false
		}
		found = found || e.onItsWay()
	}
	return found
}

// onItsWay tells whether the endpoint is ready, becomes ready, or comes back after its drain. Nothing becomes of one whose actor stays down.
func (e *Endpoint) onItsWay() bool {
	switch {
	case e.out():
		return false
	case e.down:
		return e.ready
	}
	switch e.view.GetPhase() {
	case messages.ModelView_placing, messages.ModelView_loading, messages.ModelView_waiting, messages.ModelView_waking:
		return true
	case messages.ModelView_ready: // in a drained attempt too: the view of its drain is due
		return true
	}
	return e.view.GetWanted() && !e.asleep() && e.view.GetPhase() != messages.ModelView_failed
}

// asleep tells whether the engine sleeps or is about to.
func (e *Endpoint) asleep() bool {
	p := e.view.GetPhase()
	return !e.down && !e.out() && (p == messages.ModelView_asleep || p == messages.ModelView_falling_asleep)
}

// wakes is the endpoint to wake: the first whose breaker will let requests in, else the first. There must be one that sleeps.
func (p *Pool) wakes(now time.Time) *Endpoint {
	for _, e := range p.endpoints {
		if e.asleep() && e.breaker.state(now) != Opened {
			return e
		}
	}
	return p.sleeper()
}

// shut tells whether there are ready endpoints and the breakers of all of them keep requests out.
func (p *Pool) shut(now time.Time) bool {
	shut := false
	for _, e := range p.endpoints {
		if e.ready && e.breaker.state(now) != Opened {
			return false
		}
		shut = shut || e.ready
	}
	return shut
}

// spare is an endpoint that can take requests soon while the breakers of those that are ready keep them out: one on its way before one to wake.
func (p *Pool) spare(now time.Time) (best *Endpoint) {
	for _, e := range p.endpoints {
		switch {
		case e.ready || e.breaker.state(now) == Opened:
		case e.asleep():
			if best == nil {
				best = e
			}
		case e.view.GetPhase() == messages.ModelView_ready: // drained: it is on its way out
		case e.onItsWay():
			return e
		}
	}
	return best
}

// sleeper is the first endpoint that can be woken; nil when there is none.
func (p *Pool) sleeper() *Endpoint {
	for _, e := range p.endpoints {
		if e.asleep() {
			return e
		}
	}
	return nil
}
