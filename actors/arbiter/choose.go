package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"modelops/messages"
)

// A model that is split needs several devices of one host, all of them with its share: engines that split by tensors want equal parts.

// share is what each of n devices holds.
func share(need uint64, n int) uint64 {
	return need/uint64(n) + min(need%uint64(n), 1)
}

// choose takes the devices with the fewest costs, in order of their names: no victim beats any, then the policy's cost, then the name.
// It is nil when no host has as many that will do.
func choose(candidates []*messages.Candidate, n int) []*messages.Candidate {
	var best []*messages.Candidate
	for _, host := range byHost(candidates, n) {
		will := make([]*messages.Candidate, 0, n+1)
		for _, c := range host { // the n cheapest, without sorting all
			if c.Refusal != "" {
				continue
			}
			i := len(will)
			for i > 0 && cheaper(c, will[i-1]) < 0 {
				i--
			}
			if i < n {
				will = slices.Insert(will, i, c)
				will = will[:min(len(will), n)]
			}
		}
		if len(will) == n && (best == nil || cheaperSet(will, best) < 0) {
			best = will
		}
	}
	slices.SortFunc(best, func(a, b *messages.Candidate) int { return strings.Compare(a.Gpu, b.Gpu) })
	for _, c := range best {
		c.Chosen = true
	}
	return best
}

// byHost sorts candidates to their hosts, in order of the hosts' names. On one device it doesn't matter which host has it.
func byHost(candidates []*messages.Candidate, n int) [][]*messages.Candidate {
	if n == 1 {
		return [][]*messages.Candidate{candidates}
	}
	var out [][]*messages.Candidate
	at := map[string]int{}
	for _, c := range candidates {
		host := hostOf(c.Gpu)
		i, ok := at[host]
		if !ok {
			i, at[host] = len(out), len(out)
			out = append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	return out
}

func hostOf(gpu string) string {
	id, err := messages.ParseActorID(gpu)
	if err != nil {
		return gpu
	}
	return id.Host()
}

func cheaper(a, b *messages.Candidate) int {
	return cmp.Or(cmp.Compare(min(len(a.Victims), 1), min(len(b.Victims), 1)), cmp.Compare(standing(a), standing(b)), cmp.Compare(a.Cost, b.Cost), strings.Compare(a.Gpu, b.Gpu))
}

func cheaperSet(a, b []*messages.Candidate) int {
	if len(a) == 1 {
		return cheaper(a[0], b[0])
	}
	return cmp.Or(cmp.Compare(evicting(a), evicting(b)), cmp.Compare(costs(a), costs(b)), strings.Compare(a[0].Gpu, b[0].Gpu))
}

// evicting is 1 when somebody has to leave for a set.
func evicting(set []*messages.Candidate) int {
	if slices.ContainsFunc(set, func(c *messages.Candidate) bool { return len(c.Victims) > 0 }) {
		return 1
	}
	return 0
}

func costs(set []*messages.Candidate) (sum float64) {
	for _, c := range set {
		sum += c.Cost
	}
	return sum
}

// enough tells whether one host has n devices that will do.
func enough(candidates []*messages.Candidate, n int, do func(*messages.Candidate) bool) bool {
	for _, host := range byHost(candidates, n) {
		count := 0
		for _, c := range host {
			if c.Refusal == "" && do(c) {
				count++
			}
		}
		if count >= n {
			return true
		}
	}
	return false
}

// possible tells whether the model fits the devices, once they were empty and had come back.
func possible(candidates []*messages.Candidate, n int) bool {
	for _, host := range byHost(candidates, n) {
		if large(host) >= n {
			return true
		}
	}
	return false
}

func large(host []*messages.Candidate) (n int) {
	for _, c := range host {
		if c.NeedBytes <= c.LimitBytes {
			n++
		}
	}
	return n
}

// tooFew refuses the devices of hosts that haven't as many as a split model needs.
func (q question) tooFew(candidates []*messages.Candidate) {
	if q.shards == 1 {
		return
	}
	for _, host := range byHost(candidates, q.shards) {
		n := large(host)
		for _, c := range host {
			if n < q.shards && c.Refusal == "" {
				c.Refusal = fmt.Sprintf("split over %d devices, %s each: its host has %d of the kind that are large enough", q.shards, messages.FormatBytes(q.need), n)
			}
		}
	}
}

func elsewhere(shards int) string {
	if shards == 1 {
		return "full, and another device has room"
	}
	return "full, and other devices have room"
}

// victims are who leaves for the chosen devices, each once. A split model's leaving makes room on several devices, so that another one's
// may not be needed any more: the most valuable are let off first.
func (q question) victims(chosen []*messages.Candidate) []string {
	var out []string
	for _, c := range chosen {
		for _, v := range c.Victims {
			if !slices.Contains(out, v.Model) {
				out = append(out, v.Model)
			}
		}
	}
	for i := len(out) - 1; len(chosen) > 1 && i >= 0; i-- {
		if without := slices.Delete(slices.Clone(out), i, i+1); !q.rival(out[i]) && q.roomWithout(chosen, without) {
			out = without
		}
	}
	return out
}

// rival tells whether a model shares a group with the one that asks.
func (q question) rival(model string) bool {
	return slices.ContainsFunc(q.residents, func(r *messages.Resident) bool {
		return r.Model == model && slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(q.groups, g) })
	})
}

// roomWithout tells whether all the chosen devices have room once the leavers are gone.
func (q question) roomWithout(chosen []*messages.Candidate, leavers []string) bool {
	for _, c := range chosen {
		i := slices.IndexFunc(q.ledgers, func(l *messages.GpuView) bool { return l.Id == c.Gpu })
		room := c.LimitBytes
		for _, r := range q.residents {
			if _, here := r.On(c.Gpu); here && q.settled(r) && slices.Contains(leavers, r.Model) {
				room += leaves(q.ledgers[i], r)
			}
		}
		if c.ReservedBytes+c.ForeignBytes+c.NeedBytes > room {
			return false
		}
	}
	return true
}

// placementOn is the placement on the chosen devices. A share's lease is told from the others by its number.
func (q question) placementOn(chosen []*messages.Candidate, c *messages.PlaceModel, id string) *messages.Placement {
	p := &messages.Placement{Id: id, Model: c.Model, Attempt: c.Attempt, Host: hostOf(chosen[0].Gpu), Gpu: chosen[0].Gpu, Bytes: c.NeedBytes,
		Lease: id, DeviceKind: kindOf(q, chosen[0].Gpu), Victims: q.victims(chosen)}
	if len(chosen) == 1 {
		return p
	}
	p.Bytes = 0
	for i, x := range chosen {
		s := &messages.Share{Gpu: x.Gpu, Bytes: q.need, Lease: id}
		if i > 0 {
			s.Lease = fmt.Sprintf("%s.%d", id, i)
		}
		p.Shares = append(p.Shares, s)
		p.Bytes += s.Bytes
	}
	return p
}

func kindOf(q question, gpu string) string {
	for _, l := range q.ledgers {
		if l.Id == gpu {
			return l.Kind
		}
	}
	return ""
}
