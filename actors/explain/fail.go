package explain

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"

	"modelops/actors/model"
	"modelops/messages"
)

// required reads the need out of the error of a model that fits nowhere: its refusal is journaled as an error, without candidates. The
// words are those of the legacy contract and don't change.
var required = regexp.MustCompile(`required (\d+)MB`)

// neverFits tells whether the last load failed because the model fits no device, and what it needs.
func (r *reading) neverFits() (need uint64, ok bool) {
	if r.failed == nil {
		return 0, false
	}
	e := r.failed.event.(*messages.LoadFailed).GetError()
	if e.GetCode() != messages.GPUUnavailable.String() || r.placed != nil && r.placed.after(r.failed) {
		return 0, false
	}
	found := required.FindStringSubmatch(e.GetMessage())
	if found == nil {
		return 0, false
	}
	mb, err := strconv.ParseUint(found[1], 10, 40)
	return mb * messages.MiB, err == nil
}

// tooLarge tells whether a model without a place fits no device, and what it needs: a request for it is refused at once. Nothing of that is
// journaled, it follows from the declaration, what was measured, and the ledgers.
func (r *reading) tooLarge() (need uint64, ok bool) {
	m := r.latest.model(r.model)
	need = cmp.Or(model.View(m).(*messages.ModelView).RememberedBytes, m.Spec.GetVramBytes())
	shares := max(uint64(model.ShardsOf(m.Spec)), 1)
	if need == 0 || resident(m) || m.Retired || m.Phase == model.Waiting || m.Phase == model.Failed {
		return 0, false
	}
	var fits, seen uint64
	for _, kind := range model.RunsOn(m.Spec) {
		for _, device := range r.latest.devices(r.host()) {
			if s := r.latest.ledger(device); s.Kind == kind {
				seen++
				if (need+shares-1)/shares <= s.Limit() {
					fits++
				}
			}
		}
		if seen > 0 {
			break // only devices of the first kind that the host has are weighed
		}
	}
	return need, seen > 0 && fits < shares
}

// tooSmall lists the devices of a host that a need doesn't fit, from their ledgers.
func (l *latest) tooSmall(host string, need uint64) []*messages.Weighed {
	var out []*messages.Weighed
	for _, device := range l.devices(host) {
		s := l.ledger(device)
		text := fmt.Sprintf("rejected: needs %s, limit %s (capacity %s, margin %s", mib(need), mib(s.Limit()), mib(s.Capacity), mib(s.Margin))
		if s.SoftLimit > 0 {
			text += ", soft limit " + mib(s.SoftLimit)
		}
		out = append(out, &messages.Weighed{Gpu: device, Text: text + ")"})
	}
	return out
}

// toFit is what would let a need that fits no device of a host fit one.
func (l *latest) toFit(host string, need uint64) []string {
	var out []string
	var best uint64
	for _, device := range l.devices(host) {
		out = append(out, l.raise(device, short(device), need))
		best = max(best, l.ledger(device).Limit())
	}
	if best > 0 {
		out = append(out, "a need of at most "+mib(best)+": a smaller quantisation, a shorter context, or fewer parallel slots")
	}
	return out
}

// toLoad is what would let a failed model load.
func (r *reading) toLoad(m model.State, p Present) []string {
	var out []string
	if need, ok := r.neverFits(); ok {
		out = r.latest.toFit(r.host(), need)
	} else if r.failed != nil {
		logs := "modelops logs " + short(r.model)
		if hint := r.failed.event.(*messages.LoadFailed).GetError().GetHint(); hint != logs {
			out = append(out, hint)
		}
		out = append(out, logs+" shows what its worker said, and what to mend")
	}
	if m.Phase == model.Waiting {
		return append(out, "nothing else for the next try: it comes by itself at "+moment(r.retryAt()))
	}
	return append(out, "ask for it again: a request or modelops load "+short(r.model)+" begins new tries")
}
