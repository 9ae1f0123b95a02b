package pool

import (
	"fmt"
	"math"
	"time"

	"modelops/messages"
)

// When a model gets one replica more or less.
const (
	rateWindow  = 10 * time.Second // over which arrivals are counted
	scaleUp     = time.Second      // requests wait for so long: more replicas
	scaleDown   = time.Minute      // fewer would do for so long: fewer replicas
	scaleAgain  = 10 * time.Second // a number that isn't reached is asked for again
	comfortable = 0.7              // share of the places that fewer replicas may have to use
)

// demand is the rate of arrivals, in requests a second, decaying.
type demand struct {
	rate float64
	at   time.Time
}

// came counts a request.
func (d *demand) came(now time.Time) {
	d.rate = d.now(now) + 1/rateWindow.Seconds()
	d.at = now
}

// now is the rate at a time.
func (d *demand) now(now time.Time) float64 {
	if d.at.IsZero() {
		return 0
	}
	return d.rate * math.Exp(-now.Sub(d.at).Seconds()/rateWindow.Seconds())
}

// scaling is since when a host has too few or too many replicas; kept at its base endpoint.
type scaling struct {
	pressed time.Time // since when requests wait at endpoints that are ready; zero while none does
	slack   time.Time // since when fewer replicas would do
	asked   time.Time
}

// ask keeps the pool from asking for replicas at every sweep.
func (s *scaling) ask(now time.Time) bool {
	if !s.asked.IsZero() && now.Sub(s.asked) < scaleAgain {
		return false
	}
	*s = scaling{asked: now}
	return true
}

// busyPlaces is how many requests want to run at the same time: those present, or by Little's law (rate times duration) those that arrive,
// whichever are more.
func (p *Pool) busyPlaces(now time.Time) float64 {
	return max(float64(len(p.running)+p.waiting.n), p.demand.now(now)*time.Duration(p.recent).Seconds())
}

// scale says how many workers should serve the model on a base endpoint's host, and why; ok is false while the number is right. grows tells
// that more workers, when they are needed, are started on this host.
func (p *Pool) scale(base *Endpoint, grows bool, now time.Time) (replicas uint32, reason string, ok bool) {
	spec, s := base.view.GetSpec(), &base.scaling
	least := max(spec.GetMinReplicas(), 1)
	most := max(spec.GetMaxReplicas(), least)
	if spec == nil || most < 2 || !base.view.GetWanted() || !p.Ready() {
		s.pressed, s.slack = time.Time{}, time.Time{}
		return 0, "", false
	}
	here, wanted := p.countAt(base.id.Host()), grows
	have := max(base.view.GetReplicas(), 1)
	if spreads(spec) {
		n := uint32(here.upElsewhere)
		least, most = max(least, n+1)-n, max(most, n+1)-n
		grows = grows && p.vacantHost(base) == nil
		if !grows {
			least = min(least, have) // the other host's comes first
		}
	}
	busy := p.busyPlaces(now) - float64(here.elsewhere*p.places()) // what endpoints of other hosts can't take
	needed := uint32(math.Ceil(max(busy, 0) / float64(p.places())))
	fewer := uint32(math.Ceil(max(busy, 0) / (comfortable * float64(p.places()))))
	since(&s.pressed, wanted && p.waiting.n > 0, now)
	since(&s.slack, max(fewer, least) < have, now)
	said := fmt.Sprintf("%d run and %d wait, %.1f requests/s take %s", len(p.running), p.waiting.n, p.demand.now(now), time.Duration(p.recent).Round(time.Millisecond))
	pressed := grows && !s.pressed.IsZero() && now.Sub(s.pressed) >= scaleUp
	switch {
	case have < least || have > most:
		return min(max(have, least), most), "the declaration wants it", s.ask(now)
	case pressed && here.asleep > 0:
		return have, "a replica sleeps while " + said, s.ask(now)
	case pressed && have < most && uint32(here.ready) >= have:
		return min(max(needed, have+1), most), said, s.ask(now)
	case have > least && !s.slack.IsZero() && now.Sub(s.slack) >= scaleDown:
		return have - 1, said, s.ask(now)
	case uint32(here.present) < have:
		return have, "a replica is gone", s.ask(now)
	}
	return 0, "", false
}

// spreads tells whether a model's workers are counted over several hosts.
func spreads(spec *messages.ModelSpec) bool { return len(spec.GetHosts()) > 1 }

// spread is the host's model that is to be loaded beside a base endpoint's, and why: another worker is wanted, and that host has none. nil = none is.
func (p *Pool) spread(base *Endpoint, now time.Time) (at *Endpoint, reason string) {
	spec := base.view.GetSpec()
	if !spreads(spec) || !base.view.GetWanted() || !p.Ready() {
		return nil, ""
	}
	c := p.countAt(base.id.Host())
	have, least := uint32(c.present+c.upElsewhere), max(spec.GetMinReplicas(), 1)
	pressed := !base.scaling.pressed.IsZero() && now.Sub(base.scaling.pressed) >= scaleUp
	switch at = p.vacantHost(base); {
	case at == nil:
		return nil, ""
	case have < least:
		reason = fmt.Sprintf("the declaration wants %d workers on its hosts", least)
	case pressed && have < spec.GetMaxReplicas():
		reason = fmt.Sprintf("%d requests wait at the workers of other hosts", p.waiting.n)
	default:
		return nil, ""
	}
	if !at.scaling.ask(now) {
		return nil, ""
	}
	return at, reason
}

// vacantHost is the model on the first of its other hosts that is reached and has no worker of it; nil = there is none.
func (p *Pool) vacantHost(base *Endpoint) *Endpoint {
	for _, host := range base.view.GetSpec().GetHosts() {
		for _, e := range p.endpoints {
			if e.id.Host() == host && e.far && e.base && !e.away && e.view.GetSpec() != nil && !e.onItsWay() && !e.asleep() && e.view.GetPhase() != messages.ModelView_failed {
				return e
			}
		}
	}
	return nil
}

// count of endpoints by what they do.
type count struct {
	ready, asleep int
	present       int // ready, asleep, or on their way
	elsewhere     int // ready on other hosts
	upElsewhere   int // ready, asleep or loading on other hosts that are reached
}

func (p *Pool) countAt(host string) (c count) {
	for _, e := range p.endpoints {
		phase := e.view.GetPhase()
		switch {
		case e.id.Host() != host:
			c.elsewhere += bit(e.ready)
			c.upElsewhere += bit(!e.away && (e.asleep() || e.onItsWay() && phase != messages.ModelView_placing))
			continue
		case phase == messages.ModelView_asleep:
			c.asleep++
		}
		c.ready += bit(e.ready)
		c.present += bit(phase != messages.ModelView_absent && phase != messages.ModelView_failed)
	}
	return c
}

// since notes when a condition began to hold.
func since(t *time.Time, holds bool, now time.Time) {
	switch {
	case !holds:
		*t = time.Time{}
	case t.IsZero():
		*t = now
	}
}
