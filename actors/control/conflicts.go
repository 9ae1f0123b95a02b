package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// pinOf is the owner of a model's pin and how long it still lasts; empty without a pin.
func pinOf(m *messages.ModelView, now time.Time) string {
	by, until := m.PinAt(now.UnixMilli())
	switch {
	case by == "":
		return ""
	case until == 0:
		return "by " + by
	}
	return fmt.Sprintf("by %s for %s", by, max(time.Second, time.UnixMilli(until).Sub(now).Round(time.Second)))
}

// conflicts lists why a pinned model can't be loaded together with other pinned models of its host, with the owners of their pins. Models that
// shows doesn't name, because the caller's key isn't for them, count without name and owner.
func conflicts(m *messages.ModelView, others []*messages.ModelView, gpus []*messages.GpuView, now time.Time, shows func(name string) bool) []string {
	if pinOf(m, now) == "" {
		return nil
	}
	var out []string
	var held []string // pins that hold memory
	holding := map[string]uint64{}
	for _, o := range others {
		name, pin := o.Name, pinOf(o, now)
		if o.Name == m.GetName() || pin == "" {
			continue
		}
		if !shows(name) {
			name, pin = "another model", ""
		}
		for _, group := range o.GetSpec().GetGroups() {
			if slices.Contains(m.GetSpec().GetGroups(), group) {
				out = append(out, fmt.Sprintf("%s, and group %s allows only one of the two to be loaded", strings.TrimSpace(name+" is pinned "+pin), group))
				break
			}
		}
		if p := o.GetPlacement(); p != nil {
			holding[p.Gpu()] += p.Bytes()
			held = append(held, fmt.Sprintf("%s (%s)", strings.TrimSpace(name+" "+pin), messages.FormatBytes(p.Bytes())))
		}
	}
	need := max(m.GetSpec().GetVramBytes(), m.GetMeasuredBytes())
	if m.GetPlacement() != nil || len(held) == 0 || need == 0 {
		return out // it is loaded already, or its need is unknown
	}
	var most *messages.GpuView
	free := func(g *messages.GpuView) uint64 {
		return g.GetLimitBytes() - min(g.GetLimitBytes(), holding[g.GetId()])
	}
	if len(gpus) > 0 {
		most = slices.MaxFunc(gpus, func(a, b *messages.GpuView) int { return cmp.Compare(free(a), free(b)) })
	}
	if need > free(most) {
		out = append(out, fmt.Sprintf("it needs %s, and at most %s can be free on one device while these models are pinned: %s",
			messages.FormatBytes(need), messages.FormatBytes(free(most)), strings.Join(held, ", ")))
	}
	return out
}
