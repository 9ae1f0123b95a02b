package explain

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"modelops/messages"
)

// required reads the need out of the error of a model that fits nowhere: its refusal is journaled as an error, without candidates. The
// words are those of the legacy contract and don't change.
var required = regexp.MustCompile(`required (\d+)MB`)

// neverFits tells whether the last load failed because the model fits no device, and what it needs.
func (r *Reading) neverFits() (need uint64, ok bool) {
	if r.failed == nil {
		return 0, false
	}
	e := r.failed.event.(*messages.LoadFailed).GetError()
	if e.GetCode() != messages.GPUUnavailable.String() || r.placed != nil && r.placed.sequence > r.failed.sequence {
		return 0, false
	}
	found := required.FindStringSubmatch(e.GetMessage())
	if found == nil {
		return 0, false
	}
	mb, err := strconv.ParseUint(found[1], 10, 40)
	return mb * messages.MiB, err == nil
}

// tooSmall lists the devices that a need doesn't fit, from their ledgers.
func (h house) tooSmall(need uint64) []*messages.Weighed {
	var out []*messages.Weighed
	for _, gpu := range slices.Sorted(maps.Keys(h.ledgers)) {
		l := h.ledgers[gpu]
		text := fmt.Sprintf("rejected: needs %s, limit %s (capacity %s, margin %s", mib(need), mib(l.limit()), mib(l.capacity), mib(l.margin))
		if l.soft > 0 {
			text += ", soft limit " + mib(l.soft)
		}
		out = append(out, &messages.Weighed{Gpu: gpu, Text: text + ")"})
	}
	return out
}

// toLoad is what would let a failed model load.
func (r *Reading) toLoad(m *residency, p Present) []string {
	var out []string
	if need, ok := r.neverFits(); ok {
		var best uint64
		for _, gpu := range slices.Sorted(maps.Keys(r.house.ledgers)) {
			out = append(out, r.house.raise(gpu, need))
			best = max(best, r.house.ledgers[gpu].limit())
		}
		if best > 0 {
			out = append(out, "a need of at most "+mib(best)+": a smaller quantisation, a shorter context, or fewer parallel slots")
		}
	} else if r.failed != nil {
		logs := "modelops logs " + short(r.model)
		if hint := r.failed.event.(*messages.LoadFailed).GetError().GetHint(); hint != logs {
			out = append(out, hint)
		}
		out = append(out, logs+" shows what its worker said, and what to mend")
	}
	if m.phase == messages.ModelView_waiting {
		return append(out, "nothing else for the next try: it comes by itself at "+moment(m.retryAt))
	}
	return append(out, "ask for it again: a request or modelops load "+short(r.model)+" begins new tries")
}
