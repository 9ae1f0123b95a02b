package arbiter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// retryPlacement is the retry time when the claim only doesn't fit beside what is there now.
const retryPlacement = 500 * time.Millisecond

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

// promised is what was decided for a device and isn't in its ledger yet.
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

// freed is the memory of a device that holders on their way out will give back.
func freed(l *messages.GpuView, leaving map[string]bool) uint64 {
	var sum uint64
	for _, r := range l.Reservations {
		if leaving[r.Holder] {
			sum += holds(r)
		}
	}
	return min(sum, l.ReservedBytes)
}

// weigh gives every device as a candidate, with the reason against it or its victims. Victims are only looked for when no device has room as
// it is.
func (s State) weigh(p policy, q question) []*messages.Candidate {
	rivals, stuck := exclusive(q)
	if q.line != nil && q.line.leaves != nil {
		rivals = append(rivals, q.line.leaves)
	}
	all := make([]messages.Candidate, len(q.ledgers))
	out := make([]*messages.Candidate, len(q.ledgers))
	for i, l := range q.ledgers {
		c := &all[i]
		c.Gpu, c.LimitBytes, c.ForeignBytes, c.NeedBytes = l.Id, l.LimitBytes, l.ForeignBytes, q.needOn(l.Host).bytes
		c.ReservedBytes = l.ReservedBytes - freed(l, q.leaving) + s.promised(l.Id)
		out[i] = c
		switch {
		case q.closed[l.Host] != "":
			c.Refusal = "its host " + q.closed[l.Host]
		case l.Lost:
			c.Refusal = "the device is lost: " + l.LostReason
		case c.NeedBytes > c.LimitBytes:
			c.Refusal = fmt.Sprintf("never fits: needs %s, limit %s", messages.FormatBytes(c.NeedBytes), messages.FormatBytes(c.LimitBytes))
		case stuck != "":
			c.Refusal = stuck
		case q.line != nil:
			c.Refusal = q.notOn(s, l.Id)
		}
	}
	if wanted := s.wants(q.holder, q.now); wanted != "" || len(s.Hints) > 0 {
		for _, c := range out {
			c.Preferred, c.KeptFor = c.Gpu == wanted, s.keptFor(c, q.holder, q.now)
		}
	}
	q.order.fill(out, q.ledgers)
	q.tooFew(out)
	q.lesserKinds(out)
	if len(rivals) == 0 && q.enough(out, fits) {
		for _, c := range out {
			switch {
			case c.Refusal != "":
			case !fits(c):
				c.Refusal = elsewhere(q.split())
			case p.name != "first_fit": // the emptier device, so that one isn't driven over its threshold beside an empty one
				c.Cost = float64(c.ReservedBytes+c.ForeignBytes) / float64(c.LimitBytes)
			}
		}
		return out
	}
	q.makeRoom(p, out, q.byDevice(rivals), rivals)
	return out
}

// described is for how many devices a decision names the victims: the cheapest ones. A decision over many devices would otherwise be mostly a
// list of holders that stay.
const described = 3

const dearer = "others have to leave, and it is dearer than the devices that are described"

// makeRoom fills in, for each device that may still be chosen, what room would cost, and the victims of the cheapest ones.
func (q question) makeRoom(p policy, cs []*messages.Candidate, here [][]allocated, rivals []*messages.Allocation) {
	var scratch []allocated
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
			c.Cost += worth(v.Allocation)
		}
		if len(victims)+len(rivals) == 0 {
			continue
		}
		scratch = victims
		at, _ := slices.BinarySearchFunc(cheapest, c, func(j int, c *messages.Candidate) int { return cheaper(cs[j], c) })
		cheapest = slices.Insert(cheapest, at, i)
		if last := len(cheapest) - 1; !q.split() && last >= described {
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

// leavers are the holders that make room on the i-th device, beside the rivals.
func (q question) leavers(p policy, i int, c *messages.Candidate, here []allocated, rivals []*messages.Allocation, scratch []allocated) ([]allocated, bool) {
	used := c.ReservedBytes + c.ForeignBytes
	free := c.LimitBytes - min(used, c.LimitBytes)
	debt := used - min(used, c.LimitBytes) // foreign use took reserved memory: the victims' memory makes up for this first
	for _, r := range rivals {
		if _, on := r.On(c.Gpu); on {
			free += q.rivalOn(i, r).bytes
		}
	}
	return chooseVictims(p, c.NeedBytes+debt, free, here, q.terms, scratch)
}

// rivalOn is a rival and what its leaving gives back: of the i-th device, when it is there.
func (q question) rivalOn(i int, r *messages.Allocation) allocated {
	if _, on := r.On(q.ledgers[i].Id); on {
		return allocated{Allocation: r, bytes: leaves(q.ledgers[i], r)}
	}
	return allocated{Allocation: r, bytes: r.Bytes()}
}

// fits tells whether a candidate has room without victims.
func fits(c *messages.Candidate) bool {
	return c.ReservedBytes+c.ForeignBytes+c.NeedBytes <= c.LimitBytes
}

// full says the sums of a device that hasn't the room.
func full(c *messages.Candidate) string {
	free := c.LimitBytes - min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes)
	return fmt.Sprintf("full: needs %s; limit %s - reserved %s - used by others %s = %s free", messages.FormatBytes(c.NeedBytes),
		messages.FormatBytes(c.LimitBytes), messages.FormatBytes(c.ReservedBytes), messages.FormatBytes(c.ForeignBytes), messages.FormatBytes(free))
}

// byDevice sorts the allocations to their devices, without those that leave anyway. A split one is on each of its devices.
func (q question) byDevice(rivals []*messages.Allocation) [][]allocated {
	at := make(map[string]int, len(q.ledgers))
	for i, l := range q.ledgers {
		at[l.Id] = i
	}
	type place struct {
		device, share int16
		allocation    int32
	}
	found := make([]place, 0, len(q.allocations)) // a share's device is looked up once: this is the hot part of a decision
	count := make([]int, len(q.ledgers))
	for i, r := range q.allocations {
		if !q.stays(r) || slices.Contains(q.kin, r) || slices.Contains(rivals, r) {
			continue
		}
		for n, s := range r.Shares {
			if d, ok := at[s.Gpu]; ok {
				found = append(found, place{int16(d), int16(n), int32(i)})
				count[d]++
			}
		}
	}
	all := make([]allocated, len(found)) // one array for all devices
	out := make([][]allocated, len(q.ledgers))
	for i, n := range count {
		out[i], all = all[:0:n], all[n:]
	}
	for _, f := range found {
		r := q.allocations[f.allocation]
		out[f.device] = append(out[f.device], allocated{Allocation: r, bytes: counted(q.ledgers[f.device], r.Holder, r.Shares[f.share].Bytes), use: useOf(r, q.collation)})
	}
	return out
}

// exclusive finds the allocations that share a group with the holder; stuck says which of them can't leave now. Workers of one model aren't
// rivals of each other.
func exclusive(q question) (rivals []*messages.Allocation, stuck string) {
	if len(q.groups) == 0 {
		return nil, ""
	}
	for _, r := range q.allocations {
		if !q.stays(r) || slices.Contains(q.kin, r) || !slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(q.groups, g) }) {
			continue
		}
		if u := useOf(r, q.collation); !q.terms.moves(r, u) {
			return nil, "a model of its group doesn't leave: " + immovable([]allocated{{Allocation: r, use: u}})
		}
		rivals = append(rivals, r)
	}
	if len(q.placing) > 0 {
		return nil, "a model of its group is being placed: " + strings.Join(q.placing, ", ")
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

// never is the refusal of a holder that fits no device, even an empty one.
func never(q question, candidates []*messages.Candidate) *messages.Error {
	if len(candidates) == 0 {
		for _, n := range q.needs {
			if len(n.names) > 0 {
				return messages.Errorf(messages.GPUUnavailable, q.holder, "its declaration names the devices %s, and none of them is here", strings.Join(n.names, ", ")).
					WithHint("modelops gpus lists the devices; correct the model's env or arguments, or the daemon's CUDA_VISIBLE_DEVICES")
			}
		}
		return messages.NewError(messages.GPUUnavailable, q.holder, "no device is registered yet").WithRetry(retryPlacement)
	}
	var best, least uint64
	shards := 1
	for _, c := range candidates {
		best = max(best, c.LimitBytes-min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes))
		if least == 0 || c.NeedBytes < least {
			least, shards = c.NeedBytes, q.needOn(hostOf(c.Gpu)).shards
		}
	}
	split := ""
	if shards > 1 {
		split = fmt.Sprintf(" on each of %d devices of one host", shards)
	}
	return messages.Errorf(messages.GPUUnavailable, q.holder, "Insufficient GPU memory: required %dMB%s, available %dMB; %s",
		least/messages.MiB+min(least%messages.MiB, 1), split, best/messages.MiB, sums(candidates)).
		WithHint("it fits no device here: take a smaller quantisation or context, or raise resources.vram_soft_limit_mb")
}
