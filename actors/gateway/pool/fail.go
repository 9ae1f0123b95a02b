package pool

import (
	"cmp"
	"time"

	"modelops/messages"
)

// What fails to load is tried again for requests after a pause that doubles with each failure in a row. A try writes about ten events, so that a
// caller in a loop would fill the journal. A load by hand, by a person who may have mended it, waits for the least pause only.
const (
	firstFailure   = 2 * time.Second
	longestFailure = time.Minute
	leastFailure   = time.Second
)

// failing is the latest failure to load, until an endpoint is ready or the declaration changes.
type failing struct {
	why   *messages.Error
	at    time.Time
	pause time.Duration
	// try is the error of the latest try to load, while a load makes further ones.
	try *messages.Error
}

// add notes a failure, and gives the refusal that follows from it. One within the pause of the last is the same one, told by another way, or of a
// load by hand.
func (f *failing) add(why *messages.Error, now time.Time) (refusal error) {
	if f.why == nil || now.Sub(f.at) >= f.pause {
		longest := longestFailure
		if why.Code == messages.GPUUnavailable { // others may leave at any time, and a try starts no worker
			longest = firstFailure
		}
		f.at, f.pause = now, min(max(2*f.pause, firstFailure), longest)
	}
	f.why = why
	return f.refusal(f.pause, now)
}

// refusal is the last error while the pause lasts; nil afterwards.
func (f *failing) refusal(pause time.Duration, now time.Time) error {
	left := f.at.Add(pause).Sub(now)
	switch {
	case f.why == nil || left <= 0:
		return nil
	case f.why.Code == messages.GPUUnavailable && f.why.Retry == 0: // it fits no device: waiting doesn't help
		return f.why
	}
	return f.why.WithRetry(left)
}

// Refuses says why no request may wait now, without a ready endpoint: the actor that would load the model stays down, or the model failed to load
// and the pause until the next try lasts.
func (p *Pool) Refuses(now time.Time) error {
	if err := cmp.Or(p.differing(), p.staysDown()); err != nil {
		return err
	}
	if p.onItsWay() || p.sleeper() != nil {
		return nil
	}
	return p.failing.refusal(p.failing.pause, now)
}

// RefusesLoad is Refuses for a load by hand.
func (p *Pool) RefusesLoad(now time.Time) error {
	if err := cmp.Or(p.differing(), p.staysDown()); err != nil {
		return err
	}
	if p.onItsWay() || p.sleeper() != nil {
		return nil
	}
	return p.failing.refusal(min(p.failing.pause, leastFailure), now)
}

// GaveUp takes which actors crashed too often and stay down. A refusal says that none is left that could load the model: the caller must refuse every
// waiting request with it.
func (p *Pool) GaveUp(down func(messages.ActorID) bool) (refusal error) {
	for _, e := range p.endpoints {
		e.down = down(e.id)
	}
	if p.Ready() || !p.Interested() {
		return nil
	}
	return p.staysDown()
}

// staysDown is the refusal when no actor of the model's own is left that could load it.
func (p *Pool) staysDown() error {
	var down *Endpoint
	for _, e := range p.endpoints {
		switch {
		case !e.base || e.view.GetSpec() == nil:
		case !e.down:
			return nil
		case down == nil:
			down = e
		}
	}
	if down == nil {
		return nil
	}
	return messages.NewError(messages.Unavailable, down.id.String(), "the actor crashed too often and stays down").
		WithHint("modelops send host/" + down.id.Host() + " RestartActor '{\"actor\":\"" + down.id.String() + "\"}'")
}
