package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// retryPlacement is when a device that is merely full is worth asking again.
const retryPlacement = 500 * time.Millisecond

// question is what a model wants and what was seen when it asked.
type question struct {
	model     string
	need      uint64
	groups    []string
	ledgers   []*messages.GpuView // in order of their names
	residents []resident
	waited    time.Duration
	overdue   bool // has waited so long that busy models must end their turn
	elders    []elder
}

// leaves is what a resident's leaving gives back: what the ledger counts for it, which hears of a measured footprint later than the model.
func leaves(ledgers []*messages.GpuView, r resident) uint64 {
	for _, l := range ledgers {
		for _, lease := range l.Reservations {
			if l.Id == r.GPU && lease.Holder == r.Model {
				return holds(lease)
			}
		}
	}
	return r.Bytes
}

// elder is another model that has waited longer for a place.
type elder struct {
	model  string
	waited time.Duration
}

func questionOf(s State, c *messages.PlaceModel) question {
	q := question{model: c.Model, need: c.NeedBytes, groups: c.Groups, ledgers: preferred(c.Kinds, c.Ledgers)}
	slices.SortFunc(q.ledgers, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	for _, r := range residentsOf(s, c.Residents) {
		if r.Model != c.Model {
			r.Bytes = leaves(q.ledgers, r)
			q.residents = append(q.residents, r)
		}
	}
	for _, r := range c.Residents {
		if r.Model == c.Model && r.Gpu == "" {
			q.waited = ms(r.WaitedMs)
		}
	}
	for _, r := range c.Residents {
		if r.Gpu == "" && r.Model != c.Model && ms(r.WaitedMs) > q.waited && !s.placed(r.Model) {
			q.elders = append(q.elders, elder{r.Model, ms(r.WaitedMs)})
		}
	}
	return q
}

// preferred are the devices of the first kind that there is; of all kinds when none is asked for.
func preferred(kinds []string, ledgers []*messages.GpuView) []*messages.GpuView {
	for _, kind := range kinds {
		of := slices.DeleteFunc(slices.Clone(ledgers), func(l *messages.GpuView) bool { return l.Kind != kind })
		if len(of) > 0 {
			return of
		}
	}
	if len(kinds) > 0 {
		return nil
	}
	return slices.Clone(ledgers)
}

// placed tells whether a placement for the model is on its way.
func (s State) placed(model string) bool {
	for _, o := range s.Open {
		if o.Placement.Model == model {
			return true
		}
	}
	return false
}

// behind says whose turn comes before this one's: nobody evicts for itself while another waits longer, and nobody takes free memory
// past one who is overdue, or small models would starve a big one for ever.
func (q question) behind(c *messages.Candidate, maxWait time.Duration) string {
	for _, e := range q.elders {
		if len(c.Victims) > 0 || e.waited > maxWait {
			return fmt.Sprintf("%s has waited longer, for %s", e.model, e.waited.Round(time.Millisecond))
		}
	}
	return ""
}

// residentsOf reads what holds memory. Whoever is on its way out for another placement is nobody's victim a second time.
func residentsOf(s State, seen []*messages.Resident) []resident {
	leaving := s.leaving()
	var out []resident
	for _, r := range seen {
		if leaving[r.Model] || r.Gpu == "" {
			continue
		}
		out = append(out, resident{Model: r.Model, GPU: r.Gpu, Bytes: r.Bytes, Busy: r.Phase != "ready" || r.Active > 0 || r.Queued > 0,
			Pinned: r.Pinned, Young: r.Young, Idle: ms(r.IdleMs), Held: ms(r.HeldMs), Load: ms(r.LoadMs), Groups: r.Groups,
			Ready: r.Phase == "ready"})
	}
	return out
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// leaving are the victims of open placements that still hold their memory.
func (s State) leaving() map[string]bool {
	out := map[string]bool{}
	for _, o := range s.Open {
		for _, v := range o.leaving() {
			out[v] = true
		}
	}
	return out
}

// promised is what was decided for a device and its ledger doesn't show yet.
func (s State) promised(gpu string) uint64 {
	var sum uint64
	for _, o := range s.Open {
		if o.Placement.Gpu == gpu && (o.Step == Decided || o.Step == Evicting) {
			sum += o.Placement.Bytes
		}
	}
	return sum
}

// holds is what a ledger counts for a lease: the measured footprint once there is one.
func holds(r *messages.Reservation) uint64 {
	if r.MeasuredBytes > 0 {
		return r.MeasuredBytes
	}
	return r.Bytes
}

// freed is what those who are on their way out will leave on a device.
func freed(l *messages.GpuView, leaving map[string]bool) uint64 {
	var sum uint64
	for _, r := range l.Reservations {
		if leaving[r.Holder] {
			sum += holds(r)
		}
	}
	return min(sum, l.ReservedBytes)
}

// weigh looks at every device and says what speaks against it, or who would have to leave.
func (s State) weigh(p policy, q question) []*messages.Candidate {
	leaving := s.leaving()
	out := make([]*messages.Candidate, 0, len(q.ledgers))
	for _, l := range q.ledgers {
		c := &messages.Candidate{Gpu: l.Id, LimitBytes: l.LimitBytes, ReservedBytes: l.ReservedBytes - freed(l, leaving) + s.promised(l.Id),
			ForeignBytes: l.ForeignBytes, NeedBytes: q.need}
		consider(p, q, l, c)
		out = append(out, c)
	}
	return out
}

// consider fills in a candidate's victims and cost, or its refusal.
func consider(p policy, q question, l *messages.GpuView, c *messages.Candidate) {
	used := c.ReservedBytes + c.ForeignBytes
	free := c.LimitBytes - min(used, c.LimitBytes)
	debt := used - min(used, c.LimitBytes) // strangers took what was reserved: who leaves pays this first
	switch {
	case l.Lost:
		c.Refusal = "the device is lost: " + l.LostReason
		return
	case q.need > c.LimitBytes:
		c.Refusal = fmt.Sprintf("never fits: needs %s, limit %s", messages.FormatBytes(q.need), messages.FormatBytes(c.LimitBytes))
		return
	}
	rivals, stuck := exclusive(q)
	if stuck != "" {
		c.Refusal = stuck
		return
	}
	for _, r := range rivals {
		if r.GPU == l.Id {
			free += r.Bytes
		}
	}
	here := slices.DeleteFunc(slices.Clone(q.residents), func(r resident) bool {
		return r.GPU != l.Id || slices.ContainsFunc(rivals, func(v resident) bool { return v.Model == r.Model })
	})
	victims, ok := chooseVictims(p, q.need+debt, free, here, q.overdue)
	if !ok {
		c.Refusal = fmt.Sprintf("full: needs %s; limit %s - reserved %s - used by others %s = %s free; %s", messages.FormatBytes(q.need),
			messages.FormatBytes(c.LimitBytes), messages.FormatBytes(c.ReservedBytes), messages.FormatBytes(c.ForeignBytes),
			messages.FormatBytes(free), immovable(here))
		return
	}
	for _, r := range rivals {
		c.Victims = append(c.Victims, r.victim("shares a group with it"))
	}
	for _, v := range victims {
		c.Victims = append(c.Victims, v.victim("first to go by "+p.name))
		c.Cost += v.worth()
	}
}

// exclusive finds the residents that may not be there beside the model; stuck says which of them can't leave now.
func exclusive(q question) (rivals []resident, stuck string) {
	for _, r := range q.residents {
		if !slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(q.groups, g) }) {
			continue
		}
		if r.Pinned || r.Busy && !(q.overdue && r.Ready) {
			return nil, r.Model + " shares a group with it and is " + r.bound()
		}
		rivals = append(rivals, r)
	}
	return rivals, ""
}

// choose takes the device with the fewest costs: no victim beats any, then the policy's cost, then the name.
func choose(candidates []*messages.Candidate) *messages.Candidate {
	var best *messages.Candidate
	for _, c := range candidates {
		if c.Refusal == "" && (best == nil || cheaper(c, best) < 0) {
			best = c
		}
	}
	if best != nil {
		best.Chosen = true
	}
	return best
}

func cheaper(a, b *messages.Candidate) int {
	return cmp.Or(cmp.Compare(min(len(a.Victims), 1), min(len(b.Victims), 1)), cmp.Compare(a.Cost, b.Cost), strings.Compare(a.Gpu, b.Gpu))
}

// possible tells whether the model fits any device that stands, once it were empty.
func possible(candidates []*messages.Candidate) bool {
	return slices.ContainsFunc(candidates, func(c *messages.Candidate) bool { return c.NeedBytes <= c.LimitBytes })
}

// sums are the refusals of all devices, for people.
func sums(candidates []*messages.Candidate) string {
	var out []string
	for _, c := range candidates {
		out = append(out, c.Gpu+" "+c.Refusal)
	}
	return strings.Join(out, "; ")
}

// never is the refusal of a model that fits no device, whoever leaves.
func never(q question, candidates []*messages.Candidate) *messages.Error {
	if len(candidates) == 0 {
		return messages.NewError(messages.GPUUnavailable, q.model, "no device is registered yet").WithRetry(retryPlacement)
	}
	var best uint64
	for _, c := range candidates {
		best = max(best, c.LimitBytes-min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes))
	}
	return messages.Errorf(messages.GPUUnavailable, q.model, "Insufficient GPU memory: required %dMB, available %dMB; %s",
		(q.need+messages.MiB-1)/messages.MiB, best/messages.MiB, sums(candidates)).
		WithHint("it fits no device here: take a smaller quantisation or context, or raise resources.vram_soft_limit_mb")
}
