package gpu

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	// firstHold is how long a device that was lost twice has to work before it counts again; each further loss doubles it.
	firstHold = 10 * time.Second
	lastHold  = 10 * time.Minute
	// calm is how long a device has to work for its former losses to be forgotten.
	calm = time.Hour
)

// hold is how long what has changed for the nth time stays as it is. The first change is believed at once.
func hold(n int) time.Duration {
	if n < 2 {
		return 0
	}
	return min(firstHold<<min(n-2, 16), lastHold)
}

// flap is the recent past of a device that comes and goes.
type flap struct {
	losses int
	lost   bool
	since  time.Time // the first of the good readings since the loss; zero without one
	back   time.Time // it counted again
}

// see gives the reading that counts. A loss counts at once. A device that was lost before has to work for some time before it counts again:
// otherwise a device that flaps would be an event, and a placement, with each reading.
func (f *flap) see(r *messages.DeviceReading, now time.Time) *messages.DeviceReading {
	if r.Lost {
		f.lose(now)
		return f.tell(r, r.LostReason)
	}
	if !f.lost {
		return r
	}
	if f.since.IsZero() {
		f.since = now
	}
	if now.Sub(f.since) < hold(f.losses) {
		return f.tell(r, "it comes and goes")
	}
	f.lost, f.back = false, now
	return r
}

func (f *flap) lose(now time.Time) {
	f.since = time.Time{}
	if f.lost {
		return
	}
	if now.Sub(f.back) >= calm {
		f.losses = 0
	}
	f.losses++
	f.lost = true
}

func (f *flap) tell(r *messages.DeviceReading, why string) *messages.DeviceReading {
	if f.losses < 2 {
		return r
	}
	r = proto.CloneOf(r)
	r.Lost, r.LostReason = true, fmt.Sprintf("%s; it was lost %d times, and counts again when it has worked for %s", why, f.losses, hold(f.losses))
	return r
}

// pause spaces what repeats itself.
type pause struct {
	times int
	last  time.Time
}

// due tells whether it may happen now, and counts it.
func (p *pause) due(now time.Time) bool {
	if now.Sub(p.last) >= calm {
		p.times = 0
	}
	if p.times > 0 && now.Sub(p.last) < hold(p.times+1) {
		return false
	}
	p.times++
	p.last = now
	return true
}
