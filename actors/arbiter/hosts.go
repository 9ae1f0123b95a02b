package arbiter

import (
	"cmp"
	"slices"

	"modelops/messages"
)

// closed are the hosts on which nothing is placed now, and why: they can't be reached, are being emptied, or have reported too long ago. apart are the first
// of these.
func closed(seen []*messages.HostReading) (out map[string]string, apart []string) {
	for _, h := range seen {
		if h.Unreachable {
			apart = append(apart, h.Host)
		}
		if h.Refusal != "" {
			out = with(out, h.Host, h.Refusal)
		}
	}
	return out, apart
}

// cutOff tells whether a holder is on a host that can't be reached: it may live there, but nobody here can use it.
func (q question) cutOff(holder string) bool {
	if len(q.apart) == 0 {
		return false
	}
	_, host, _ := parts(holder)
	return slices.Contains(q.apart, host)
}

// hostOrder is what a claim says of the choice between hosts. Without it only costs decide.
type hostOrder struct {
	hosts  []string // those where it may run, the preferred first; empty = each host of its needs
	prefer string   // fastest, idle or first
	loads  map[string]int64
	busy   map[string]uint32
}

func hostOrderOf(c *messages.Claim, seen []*messages.HostReading) hostOrder {
	o := hostOrder{hosts: c.GetHosts(), prefer: c.GetPrefer()}
	switch o.prefer {
	case "fastest":
		o.loads = map[string]int64{}
		for _, n := range c.GetNeeds() {
			o.loads[n.Host] = n.LoadMs
		}
	case "idle":
		o.busy = map[string]uint32{}
		for _, h := range seen {
			o.busy[h.Host] = h.Busy
		}
	case "first":
		if len(o.hosts) == 0 {
			for _, n := range c.GetNeeds() {
				o.hosts = append(o.hosts, n.Host)
			}
			slices.Sort(o.hosts)
		}
	}
	return o
}

// lists tells whether the holder may run on a host.
func (o hostOrder) lists(host string) bool {
	return host == "" || len(o.hosts) == 0 || slices.Contains(o.hosts, host)
}

// fill writes into candidates what the order between their hosts goes by.
func (o hostOrder) fill(out []*messages.Candidate, ledgers []*messages.GpuView) {
	if len(o.hosts) == 0 && o.prefer == "" { // this is the hot part of a decision
		return
	}
	for i, c := range out {
		host := ledgers[i].Host
		c.HostRank, c.LoadMs, c.Busy = uint32(slices.Index(o.hosts, host)+1), o.loads[host], o.busy[host]
	}
}

// byHostOrder compares the hosts of two candidates: where it loads sooner (a host where it never loaded is last), where less waits, and which is listed
// first. What a claim's preference doesn't look at is 0 in all candidates.
func byHostOrder(a, b *messages.Candidate) int {
	return cmp.Or(cmp.Compare(uint64(a.LoadMs)-1, uint64(b.LoadMs)-1), cmp.Compare(a.Busy, b.Busy), cmp.Compare(a.HostRank, b.HostRank))
}
