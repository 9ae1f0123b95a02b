package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"modelops/messages"
)

// A holder that is split needs several devices of one host, all of them with its share: engines that split by tensors want equal parts.

// share is what each of n devices holds.
func share(need uint64, n int) uint64 {
	return need/uint64(n) + min(need%uint64(n), 1)
}

// choose takes the devices with the fewest costs, in order of their names: no victim beats any, then the policy's cost, then the name.
// It is nil when no host has as many that will do.
func (q question) choose(candidates []*messages.Candidate) []*messages.Candidate {
	var best []*messages.Candidate
	for _, host := range q.byHost(candidates) {
		n := host.shards
		will := make([]*messages.Candidate, 0, n+1)
		for _, c := range host.devices { // the n cheapest, without sorting all
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

// siteDevices are the candidates of one host, and how many of them a split holder needs there.
type siteDevices struct {
	host    string
	shards  int
	devices []*messages.Candidate
}

// byHost sorts candidates to their hosts, in order of the hosts' names. On one device it doesn't matter which host has it.
func (q question) byHost(candidates []*messages.Candidate) []siteDevices {
	if !q.split() {
		return []siteDevices{{shards: 1, devices: candidates}}
	}
	var out []siteDevices
	at := map[string]int{}
	for _, c := range candidates {
		host := hostOf(c.Gpu)
		i, ok := at[host]
		if !ok {
			i, at[host] = len(out), len(out)
			out = append(out, siteDevices{host: host, shards: q.needOn(host).shards})
		}
		out[i].devices = append(out[i].devices, c)
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
	return cmp.Or(cmp.Compare(min(len(a.Victims), 1), min(len(b.Victims), 1)), cmp.Compare(standing(a), standing(b)), byHostOrder(a, b), cmp.Compare(a.Cost, b.Cost), strings.Compare(a.Gpu, b.Gpu))
}

func cheaperSet(a, b []*messages.Candidate) int {
	if len(a) == 1 && len(b) == 1 {
		return cheaper(a[0], b[0])
	}
	return cmp.Or(cmp.Compare(evicting(a), evicting(b)), byHostOrder(a[0], b[0]), cmp.Compare(costs(a), costs(b)), strings.Compare(a[0].Gpu, b[0].Gpu))
}

// evicting is 1 when a set has victims.
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

// enough tells whether one host has as many devices that will do as are needed there.
func (q question) enough(candidates []*messages.Candidate, do func(*messages.Candidate) bool) bool {
	for _, host := range q.byHost(candidates) {
		count := 0
		for _, c := range host.devices {
			if c.Refusal == "" && do(c) {
				count++
			}
		}
		if count >= host.shards {
			return true
		}
	}
	return false
}

// possible tells whether the holder would fit if all devices were empty and none were lost.
func (q question) possible(candidates []*messages.Candidate) bool {
	for _, host := range q.byHost(candidates) {
		if large(host.devices) >= host.shards {
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

// tooFew refuses the devices of hosts that haven't as many as a split holder needs.
func (q question) tooFew(candidates []*messages.Candidate) {
	if !q.split() {
		return
	}
	for _, host := range q.byHost(candidates) {
		n := large(host.devices)
		for _, c := range host.devices {
			if n < host.shards && c.Refusal == "" {
				c.Refusal = fmt.Sprintf("split over %d devices, %s each: its host has %d of the kind that are large enough", host.shards, messages.FormatBytes(c.NeedBytes), n)
			}
		}
	}
}

// lesserKinds refuses devices of a kind that the holder prefers less than the kind of another host that could hold it, even when that one is
// full now: the holder would be slow here for as long as it stays. On each host only one kind is left (usable).
func (q question) lesserKinds(candidates []*messages.Candidate) {
	if !slices.ContainsFunc(q.ledgers, func(l *messages.GpuView) bool { return q.kindRank(l) > 0 }) {
		return
	}
	_, best, kind := q.roomyHosts()
	for i, c := range candidates {
		if l := q.ledgers[i]; kind != "" && c.Refusal == "" && q.kindRank(l) > best {
			c.Refusal = fmt.Sprintf("its host has no better kind than %s, and another host has %s", l.Kind, kind)
		}
	}
}

// kindRank is how far down a device's kind stands among those that the holder runs on.
func (q question) kindRank(l *messages.GpuView) int {
	return slices.Index(q.needOn(l.Host).kinds, l.Kind)
}

// roomyHosts are the hosts that could hold the holder if their devices were empty, and the kind that it prefers most of those that they have.
func (q question) roomyHosts() (hosts []string, best int, kind string) {
	large := map[string]int{} // devices that could hold it or its share, by host
	for _, l := range q.ledgers {
		if q.closed[l.Host] == "" && q.needOn(l.Host).bytes <= l.LimitBytes {
			large[l.Host]++
		}
	}
	for _, l := range q.ledgers {
		if large[l.Host] < max(q.needOn(l.Host).shards, 1) {
			continue
		}
		if r := q.kindRank(l); kind == "" || r < best {
			best, kind = r, l.Kind
		}
		if !slices.Contains(hosts, l.Host) {
			hosts = append(hosts, l.Host)
		}
	}
	return hosts, best, kind
}

// homes are the hosts where the holder could be placed if their devices were empty, in order of their names.
func (q question) homes() []string {
	hosts, best, _ := q.roomyHosts()
	return slices.DeleteFunc(hosts, func(host string) bool {
		return slices.ContainsFunc(q.ledgers, func(l *messages.GpuView) bool { return l.Host == host && q.kindRank(l) > best })
	})
}

func elsewhere(split bool) string {
	if !split {
		return "full, and another device has room"
	}
	return "full, and other devices have room"
}

// victims are the holders that leave for the chosen devices, each once. A split victim makes room on several devices, so that others may not
// be needed any more: the most valuable of those are spared first.
func (q question) victims(chosen []*messages.Candidate) []string {
	var out []string
	for _, c := range chosen {
		for _, v := range c.Victims {
			if !slices.Contains(out, v.Holder) {
				out = append(out, v.Holder)
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

// rival tells whether a holder shares a group with the one that asks.
func (q question) rival(holder string) bool {
	if q.line != nil && q.line.leaves != nil && q.line.leaves.Holder == holder {
		return true
	}
	return slices.ContainsFunc(q.allocations, func(r *messages.Allocation) bool {
		return r.Holder == holder && slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(q.groups, g) })
	})
}

// roomWithout tells whether all the chosen devices have room once the leavers are gone.
func (q question) roomWithout(chosen []*messages.Candidate, leavers []string) bool {
	for _, c := range chosen {
		i := slices.IndexFunc(q.ledgers, func(l *messages.GpuView) bool { return l.Id == c.Gpu })
		room := c.LimitBytes
		for _, r := range q.allocations {
			if _, here := r.On(c.Gpu); here && q.stays(r) && slices.Contains(leavers, r.Holder) {
				room += leaves(q.ledgers[i], r)
			}
		}
		if c.ReservedBytes+c.ForeignBytes+c.NeedBytes > room {
			return false
		}
	}
	return true
}

// placementOn is the placement on the chosen devices. Further shares' leases have the placement's id and a number.
// programTTL is the time to live of a program's memory, in seconds, when its claim says none.
const programTTL = 30

func (q question) placementOn(chosen []*messages.Candidate, c *messages.RequestPlacement, id string) *messages.Placement {
	host := hostOf(chosen[0].Gpu)
	p := &messages.Placement{Id: id, Holder: on(c.Holder, host), Claim: c.Claim.GetId(), Host: host, DeviceKind: q.kindOf(chosen[0].Gpu),
		Victims: q.victims(chosen), TtlSeconds: c.Claim.GetTtlSeconds(), Unpreemptible: !c.Preemptible, Source: sourceText(c.Claim, host), Groups: c.Claim.GetGroups(), Owner: c.Owner, Reason: c.Reason}
	if IsProgram(c.Holder) && p.TtlSeconds == 0 { // a program can't be asked whether it still needs its memory
		p.TtlSeconds = programTTL
	}
	for i, x := range chosen {
		s := &messages.Share{Gpu: x.Gpu, Bytes: x.NeedBytes, Lease: id}
		if i > 0 {
			s.Lease = fmt.Sprintf("%s.%d", id, i)
		}
		p.Shares = append(p.Shares, s)
	}
	return p
}

func (q question) kindOf(gpu string) string {
	for _, l := range q.ledgers {
		if l.Id == gpu {
			return l.Kind
		}
	}
	return ""
}
