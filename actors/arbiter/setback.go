package arbiter

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// A placement that is decided and then comes to nothing (its holder doesn't take it, a device refuses, a victim stays) is decided again at once for the
// first time. After that the pause doubles each time: the same readings would lead to the same end, with some ten events.
const (
	firstSetback   = 250 * time.Millisecond
	longestSetback = 30 * time.Second
	// setbackFades is when a setback says nothing about the next placement any more.
	setbackFades = 10 * time.Minute
)

// Setback is how often in a row placements of a holder came to nothing.
type Setback struct {
	Times  int
	AtMS   int64 // when the last one did, in ms since 1970
	Reason string
}

// pause is how long after the last one no placement is decided.
func (b Setback) pause() time.Duration {
	if b.Times < 2 {
		return 0
	}
	return min(firstSetback<<min(b.Times-2, 20), longestSetback)
}

// setback notes that a placement came to nothing. Programs ask with a claim of their own each time, and a relief has no holder.
func (s State) setback(o Open, reason string, at *timestamppb.Timestamp) map[string]Setback {
	if o.relief() || IsProgram(o.Placement.Holder) {
		return s.Setbacks
	}
	now := at.AsTime().UnixMilli()
	next := map[string]Setback{}
	for holder, b := range s.Setbacks {
		if now-b.AtMS < setbackFades.Milliseconds() {
			next[holder] = b
		}
	}
	next[o.Placement.Holder] = Setback{next[o.Placement.Holder].Times + 1, now, reason}
	return next
}

// waitsOut says why no placement is decided for a holder now; empty when one may be. A holder whose host isn't chosen shares the setbacks of its name.
func (s State) waitsOut(holder string, now time.Time) string {
	for of, b := range s.Setbacks {
		if left := time.UnixMilli(b.AtMS).Add(b.pause()).Sub(now); left > 0 && left <= longestSetback && same(of, holder) {
			return "its last placements came to nothing, the next one is decided in " + left.Round(time.Millisecond).String() + ": " + b.Reason
		}
	}
	return ""
}

// placedWell drops the setbacks of a holder that took its placement.
func (s State) placedWell(p *messages.Placement) map[string]Setback {
	return without(s.Setbacks, p.GetHolder())
}
