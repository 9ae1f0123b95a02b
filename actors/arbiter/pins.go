package arbiter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// itsClaim is what is said to pin a holder whose claim can't be preempted. It is no pin: the holder leaves by itself.
const itsClaim = "its claim"

// itsDeclaration is what pins a model for good.
const itsDeclaration = "its declaration"

// HeldByPins is the refusal that a request for a name would get now, because pins alone keep it from a place; nil when there is none. A need
// that isn't known counts as none.
func HeldByPins(c *messages.RequestPlacement, seen *messages.SchedulerReadings, now int64) *messages.Error {
	return questionOf(State{}, c, seen, now).heldByPins()
}

// heldByPins refuses a claim that gets no place while pins last, whatever else leaves. The refusal's time to try again is the end of the last pin
// that is in its way; 0 when that one has no end. It is nil when the claim would fit beside the pinned holders, or fits no empty device either.
func (q question) heldByPins() *messages.Error {
	pins := q.pinned()
	if len(pins) == 0 || q.fitsBeside(pins) {
		return nil
	}
	words, hints := q.inTheWay(pins)
	e := messages.NewError(messages.FailedPrecondition, q.holder, "pinned models leave it no place: "+strings.Join(words, "; ")).WithHint(strings.Join(hints, ", "))
	if end := q.pinsEnd(pins); end > 0 {
		return e.WithRetry(ms(end - q.now))
	}
	return e
}

// pinned are the pinned holders that stay. One that changes now may be leaving: it counts when it has settled.
func (q question) pinned() (out []*messages.Allocation) {
	for _, r := range q.allocations {
		if r.Pinned && r.PinnedBy != itsClaim && r.State != messages.Allocation_changing && q.stays(r) && !slices.Contains(q.kin, r) {
			out = append(out, r)
		}
	}
	return out
}

// pinsEnd is when the claim would fit beside the pins that are left, in milliseconds since 1970; 0 = never.
func (q question) pinsEnd(pins []*messages.Allocation) int64 {
	var ends []int64
	for _, r := range pins {
		if r.PinnedUntilMs > 0 {
			ends = append(ends, r.PinnedUntilMs)
		}
	}
	slices.Sort(ends)
	for _, end := range ends {
		left := slices.DeleteFunc(slices.Clone(pins), func(r *messages.Allocation) bool { return r.PinnedUntilMs > 0 && r.PinnedUntilMs <= end })
		if q.fitsBeside(left) {
			return end
		}
	}
	return 0
}

// fitsBeside tells whether the claim would fit if only some holders stayed.
func (q question) fitsBeside(stay []*messages.Allocation) bool {
	return !slices.ContainsFunc(stay, func(r *messages.Allocation) bool { return q.groupOf(r) != "" }) && q.roomBeside(stay)
}

// roomBeside tells whether one host has as many devices with room as are needed there, of the kind that the holder waits for. It is true for a
// claim that fits no empty device: that is another refusal.
func (q question) roomBeside(stay []*messages.Allocation) bool {
	hosts, best, _ := q.roomyHosts()
	if len(hosts) == 0 {
		return true
	}
	room := map[string]int{} // devices with room, by host
	for _, l := range q.ledgers {
		need := q.needOn(l.Host)
		if q.kindRank(l) > best || need.bytes+heldOn(l, stay) > l.LimitBytes {
			continue
		}
		if room[l.Host]++; room[l.Host] >= max(need.shards, 1) {
			return true
		}
	}
	return false
}

func heldOn(l *messages.GpuView, holders []*messages.Allocation) (sum uint64) {
	for _, r := range holders {
		sum += leaves(l, r)
	}
	return sum
}

// groupOf is a group that a holder shares with the one that asks; empty when they share none.
func (q question) groupOf(r *messages.Allocation) string {
	if i := slices.IndexFunc(r.Groups, func(g string) bool { return slices.Contains(q.groups, g) }); i >= 0 {
		return r.Groups[i]
	}
	return ""
}

// inTheWay says which pins keep the claim from a place, and how they could be ended.
func (q question) inTheWay(pins []*messages.Allocation) (words, hints []string) {
	full := !q.roomBeside(pins)
	for _, r := range slices.SortedFunc(slices.Values(pins), func(a, b *messages.Allocation) int { return strings.Compare(a.Holder, b.Holder) }) {
		var why []string
		if g := q.groupOf(r); g != "" {
			why = append(why, "of its group "+g)
		}
		for _, l := range q.ledgers {
			if bytes := leaves(l, r); full && bytes > 0 {
				why = append(why, fmt.Sprintf("with %s of the %s of %s, where it needs %s", messages.FormatBytes(bytes), messages.FormatBytes(l.LimitBytes), l.Id, messages.FormatBytes(q.needOn(l.Host).bytes)))
			}
		}
		if len(why) == 0 {
			continue
		}
		words = append(words, pin(allocated{Allocation: r})+", "+strings.Join(why, ", "))
		_, _, name := parts(r.Holder)
		if r.PinnedBy == itsDeclaration {
			hints = append(hints, "take `pinned` out of the declaration of "+name)
		} else {
			hints = append(hints, "modelops unpin "+name+" ends its pin")
		}
	}
	return words, hints
}

// until is a time in milliseconds since 1970 in words.
func until(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05 MST") }
