package arbiter

import (
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
	need      uint64 // on one device: its share, when it is split
	shards    int    // devices of one host that it needs, each with its share
	groups    []string
	ledgers   []*messages.GpuView  // in order of their names
	residents []*messages.Resident // who was seen; only those who are settled count
	leaving   map[string]bool
	moving    string // the model that a plan moves now
	now       int64  // ms since 1970
	waited    time.Duration
	overdue   bool  // has waited so long that busy models must end their turn
	collation int64 // a resident whose last request ended so many ms ago still counts as busy
	elders    []elder
}

// leaves is what a resident's leaving gives back: what the ledger counts for it, which hears of a measured footprint later than the model.
func leaves(l *messages.GpuView, r *messages.Resident) uint64 {
	for _, lease := range l.Reservations {
		if lease.Holder == r.Model {
			return holds(lease)
		}
	}
	bytes, _ := r.On(l.Id)
	return bytes
}

// elder is another model that has waited longer for a place.
type elder struct {
	model  string
	waited time.Duration
}

func questionOf(s State, c *messages.PlaceModel, now int64) question {
	n := max(int(c.Shards), 1)
	q := question{model: c.Model, need: share(c.NeedBytes, n), shards: n, groups: c.Groups, ledgers: preferred(c.Kinds, c.Ledgers)}
	slices.SortFunc(q.ledgers, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	q.residents, q.leaving, q.moving, q.now = c.Residents, s.leaving(), s.Moving.now().GetModel(), now
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
func (q question) behind(evicts bool, maxWait time.Duration) string {
	for _, e := range q.elders {
		if evicts || e.waited > maxWait {
			return fmt.Sprintf("%s has waited longer, for %s", e.model, e.waited.Round(time.Millisecond))
		}
	}
	return ""
}

// settled tells whether a resident holds memory and isn't on its way out for another placement: nobody is a victim a second time.
func (q question) settled(r *messages.Resident) bool {
	return r.Gpu != "" && r.Model != q.moving && !q.leaving[r.Model]
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
		if bytes, ok := o.Placement.On(gpu); ok && (o.Step == Decided || o.Step == Evicting) {
			sum += bytes
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

// weigh looks at every device and says what speaks against it, or who would have to leave. Victims are only looked for when no device
// has room as it is.
func (s State) weigh(p policy, q question) []*messages.Candidate {
	rivals, stuck := exclusive(q)
	all := make([]messages.Candidate, len(q.ledgers))
	out := make([]*messages.Candidate, len(q.ledgers))
	for i, l := range q.ledgers {
		c := &all[i]
		c.Gpu, c.LimitBytes, c.ForeignBytes, c.NeedBytes = l.Id, l.LimitBytes, l.ForeignBytes, q.need
		c.ReservedBytes = l.ReservedBytes - freed(l, q.leaving) + s.promised(l.Id)
		out[i] = c
		switch {
		case l.Lost:
			c.Refusal = "the device is lost: " + l.LostReason
		case q.need > c.LimitBytes:
			c.Refusal = fmt.Sprintf("never fits: needs %s, limit %s", messages.FormatBytes(q.need), messages.FormatBytes(c.LimitBytes))
		case stuck != "":
			c.Refusal = stuck
		}
	}
	if wanted := s.wants(q.model, q.now); wanted != "" || len(s.Hints) > 0 {
		for _, c := range out {
			c.Preferred, c.KeptFor = c.Gpu == wanted, s.keptFor(c, q.model, q.now)
		}
	}
	q.tooFew(out)
	if len(rivals) == 0 && enough(out, q.shards, fits) {
		for _, c := range out {
			switch {
			case c.Refusal != "":
			case !fits(c):
				c.Refusal = elsewhere(q.shards)
			case p.name != "first_fit": // the emptier device, so that one isn't driven over its threshold beside an empty one
				c.Cost = float64(c.ReservedBytes+c.ForeignBytes) / float64(c.LimitBytes)
			}
		}
		return out
	}
	q.makeRoom(p, out, q.byDevice(rivals), rivals)
	return out
}

// described is for how many devices it is written down who would have to leave: the cheapest ones. A decision over many devices would
// otherwise be mostly a list of models that stay.
const described = 3

const dearer = "others have to leave, and it is dearer than the devices that are described"

// makeRoom fills in, for each device that may still be chosen, what room would cost, and the victims of the cheapest ones.
func (q question) makeRoom(p policy, cs []*messages.Candidate, here [][]resident, rivals []*messages.Resident) {
	var scratch []resident
	var cheapest []int
	for i, c := range cs {
		if c.Refusal != "" {
			continue
		}
		victims, ok := q.leavers(p, i, c, here[i], rivals, scratch)
		if !ok {
			c.Refusal = full(c) + "; " + immovable(here[i])
			continue
		}
		for _, v := range victims {
			c.Cost += worth(v.Resident)
		}
		if len(victims)+len(rivals) == 0 {
			continue
		}
		scratch = victims
		at, _ := slices.BinarySearchFunc(cheapest, c, func(j int, c *messages.Candidate) int { return cheaper(cs[j], c) })
		cheapest = slices.Insert(cheapest, at, i)
		if last := len(cheapest) - 1; q.shards == 1 && last >= described {
			cs[cheapest[last]].Refusal, cheapest = dearer, cheapest[:last]
		}
	}
	for _, i := range cheapest {
		victims, _ := q.leavers(p, i, cs[i], here[i], rivals, scratch)
		cs[i].Victims = slices.Grow(cs[i].Victims, len(victims)+len(rivals))
		for _, r := range rivals {
			cs[i].Victims = append(cs[i].Victims, q.rivalOn(i, r).victim("shares a group with it"))
		}
		block := make([]messages.Victim, len(victims)) // one piece of memory: this is the hot part of a decision
		for n, v := range victims {
			v.describe(&block[n], p.said)
			cs[i].Victims = append(cs[i].Victims, &block[n])
		}
		scratch = victims
	}
}

// leavers are who makes room on the i-th device, beside the rivals.
func (q question) leavers(p policy, i int, c *messages.Candidate, here []resident, rivals []*messages.Resident, scratch []resident) ([]resident, bool) {
	used := c.ReservedBytes + c.ForeignBytes
	free := c.LimitBytes - min(used, c.LimitBytes)
	debt := used - min(used, c.LimitBytes) // strangers took what was reserved: who leaves pays this first
	for _, r := range rivals {
		if _, on := r.On(c.Gpu); on {
			free += q.rivalOn(i, r).bytes
		}
	}
	return chooseVictims(p, q.need+debt, free, here, q.overdue, scratch)
}

// rivalOn is a rival and what its leaving gives back: of the i-th device, when it is there.
func (q question) rivalOn(i int, r *messages.Resident) resident {
	if _, on := r.On(q.ledgers[i].Id); on {
		return resident{Resident: r, bytes: leaves(q.ledgers[i], r)}
	}
	return resident{Resident: r, bytes: r.Bytes}
}

// fits tells whether a candidate has room without anybody leaving.
func fits(c *messages.Candidate) bool {
	return c.ReservedBytes+c.ForeignBytes+c.NeedBytes <= c.LimitBytes
}

// full says the sums of a device that hasn't the room.
func full(c *messages.Candidate) string {
	free := c.LimitBytes - min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes)
	return fmt.Sprintf("full: needs %s; limit %s - reserved %s - used by others %s = %s free", messages.FormatBytes(c.NeedBytes),
		messages.FormatBytes(c.LimitBytes), messages.FormatBytes(c.ReservedBytes), messages.FormatBytes(c.ForeignBytes), messages.FormatBytes(free))
}

// byDevice sorts the residents to their devices, without those who leave anyway. A split one is on each of its devices.
func (q question) byDevice(rivals []*messages.Resident) [][]resident {
	at := make(map[string]int, len(q.ledgers))
	for i, l := range q.ledgers {
		at[l.Id] = i
	}
	own := messages.BaseOf(q.model) // nobody leaves for another worker of its own model
	count := make([]int, len(q.ledgers))
	total := 0
	each := func(do func(device int, r *messages.Resident)) {
		for _, r := range q.residents {
			if !q.settled(r) || messages.BaseOf(r.Model) == own || slices.Contains(rivals, r) {
				continue
			}
			if len(r.Shares) == 0 {
				if d, ok := at[r.Gpu]; ok {
					do(d, r)
				}
			}
			for _, s := range r.Shares {
				if d, ok := at[s.Gpu]; ok {
					do(d, r)
				}
			}
		}
	}
	each(func(d int, _ *messages.Resident) { count[d]++; total++ })
	all := make([]resident, total) // one array for all devices: this is the hot part of a decision
	out := make([][]resident, len(q.ledgers))
	for i, n := range count {
		out[i], all = all[:0:n], all[n:]
	}
	each(func(d int, r *messages.Resident) {
		out[d] = append(out[d], resident{Resident: r, bytes: leaves(q.ledgers[d], r), use: useOf(r, q.collation)})
	})
	return out
}

// exclusive finds the residents that may not be there beside the model; stuck says which of them can't leave now. Workers of one model
// are no rivals of each other.
func exclusive(q question) (rivals []*messages.Resident, stuck string) {
	if len(q.groups) == 0 {
		return nil, ""
	}
	for _, r := range q.residents {
		if !q.settled(r) || messages.BaseOf(r.Model) == messages.BaseOf(q.model) || !slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(q.groups, g) }) {
			continue
		}
		if u := useOf(r, q.collation); !movable(r, u, q.overdue) {
			return nil, "a model of its group doesn't leave: " + immovable([]resident{{Resident: r, use: u}})
		}
		rivals = append(rivals, r)
	}
	return rivals, ""
}

// sums are the refusals of all devices, for people.
func sums(candidates []*messages.Candidate) string {
	var out []string
	for _, c := range candidates {
		why := c.Refusal
		if why == "" {
			why = "would do, but not enough others of its host"
		}
		out = append(out, c.Gpu+" "+why)
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
	split := ""
	if q.shards > 1 {
		split = fmt.Sprintf(" on each of %d devices of one host", q.shards)
	}
	return messages.Errorf(messages.GPUUnavailable, q.model, "Insufficient GPU memory: required %dMB%s, available %dMB; %s",
		(q.need+messages.MiB-1)/messages.MiB, split, best/messages.MiB, sums(candidates)).
		WithHint("it fits no device here: take a smaller quantisation or context, or raise resources.vram_soft_limit_mb")
}
