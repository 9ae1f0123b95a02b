package cli

import (
	"time"

	"golang.org/x/sys/unix"
)

// tenure is how long the holder of a lease may use its memory without a new renewal. Its owner counts the time to live from the moment when a renewal
// arrives, which is never before it was sent, so what counts here from the sending ends first. The margins cover clocks that run at different
// rates and the time in which a command ends.
type tenure struct {
	sent time.Duration // when the last renewal that was granted was sent, by upTime
	ttl  time.Duration
}

// Parts of the time to live: renewals are sent in every third of it, a command is asked to end when a third is left, and killed when a tenth is.
const (
	renewPart = 3
	askPart   = 3
	killPart  = 10
)

// renewAt is when the next renewal is sent.
func (t tenure) renewAt() time.Duration { return t.sent + t.ttl/renewPart }

// askAt is when the command is asked to end.
func (t tenure) askAt() time.Duration { return t.sent + t.ttl - t.ttl/askPart }

// killAt is when the command is killed: before the owner grants its memory to another.
func (t tenure) killAt() time.Duration { return t.sent + t.ttl - t.ttl/killPart }

// upTime is the time since this machine started, in which it slept too: no clock that is set moves it, and a lease ends on another host while this
// one sleeps.
func upTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
