package gateway

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// When a model gets one worker more or less.
const (
	rateWindow  = 10 * time.Second // over which arrivals are counted
	scaleUp     = time.Second      // requests wait so long: more workers
	scaleDown   = time.Minute      // fewer would do for so long: fewer workers
	scaleAgain  = 10 * time.Second // a number that isn't reached is asked for again
	comfortable = 0.7              // share of the places that fewer workers may have to use
)

// demand is what the number of a model's workers follows: how many requests come, and since when too many or few workers are there.
type demand struct {
	rate    float64 // requests a second, decaying
	at      time.Time
	pressed time.Time // since when requests wait at workers that are ready; zero while none does
	slack   time.Time // since when fewer workers would do
	asked   time.Time
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

// busyPlaces is how many requests want to run at the same time: those that are there, or by Little's law (rate times duration) those that
// come, whichever are more.
func (l *lane) busyPlaces(now time.Time) float64 {
	return max(float64(len(l.running)+l.waiting.n), l.demand.now(now)*time.Duration(l.recent).Seconds())
}

// scale says how many workers should serve the model and why; ok is false while that is how it is.
func (l *lane) scale(now time.Time) (replicas uint32, reason string, ok bool) {
	spec, d := l.view.GetSpec(), &l.demand
	least := max(spec.GetMinReplicas(), 1)
	most := max(spec.GetMaxReplicas(), least)
	if spec == nil || most < 2 || !l.view.GetWanted() || !l.ready() {
		d.pressed, d.slack = time.Time{}, time.Time{}
		return 0, "", false
	}
	have := max(l.view.GetReplicas(), 1)
	busy := l.busyPlaces(now)
	needed := uint32(math.Ceil(busy / float64(l.places())))
	fewer := uint32(math.Ceil(busy / (comfortable * float64(l.places()))))
	since(&d.pressed, l.waiting.n > 0, now)
	since(&d.slack, max(fewer, least) < have, now)
	said := fmt.Sprintf("%d run and %d wait, %.1f requests/s take %s", len(l.running), l.waiting.n, d.now(now), time.Duration(l.recent).Round(time.Millisecond))
	pressed := !d.pressed.IsZero() && now.Sub(d.pressed) >= scaleUp
	switch {
	case have < least || have > most:
		return min(max(have, least), most), "the declaration wants it", l.ask(now)
	case pressed && l.asleep():
		return have, "a replica sleeps while " + said, l.ask(now)
	case pressed && have < most && l.settled(have):
		return min(max(needed, have+1), most), said, l.ask(now)
	case have > least && !d.slack.IsZero() && now.Sub(d.slack) >= scaleDown:
		return have - 1, said, l.ask(now)
	case l.present() < have:
		return have, "a replica is gone", l.ask(now)
	}
	return 0, "", false
}

// settled tells whether as many workers are ready as shall be.
func (l *lane) settled(replicas uint32) bool { return uint32(l.limit()/l.places()) >= replicas }

// asleep tells whether a worker sleeps.
func (l *lane) asleep() bool {
	return slices.ContainsFunc(l.seats, func(s *seat) bool { return s.view.GetPhase() == "asleep" })
}

// present is how many workers are ready, asleep, or on their way.
func (l *lane) present() (n uint32) {
	for _, s := range l.seats {
		if p := s.view.GetPhase(); p != "absent" && p != "failed" {
			n++
		}
	}
	return n
}

// ask keeps from asking at every look.
func (l *lane) ask(now time.Time) bool {
	d := &l.demand
	if !d.asked.IsZero() && now.Sub(d.asked) < scaleAgain {
		return false
	}
	d.asked, d.pressed, d.slack = now, time.Time{}, time.Time{}
	return true
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
