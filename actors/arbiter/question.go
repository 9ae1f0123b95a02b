package arbiter

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
)

// question is a claim with the readings of the time when it was asked.
type question struct {
	holder      string
	needs       []need
	groups      []string
	priority    int32
	ledgers     []*messages.GpuView    // those that may be taken, in order of their names
	allocations []*messages.Allocation // only those that stay count
	kin         []*messages.Allocation // those of the holder's model: its own, its replicas', and those of that name on other hosts
	leaving     map[string]bool
	moving      string // the holder that a plan moves now
	now         int64  // ms since 1970
	waited      time.Duration
	terms       terms      // who may be asked to leave for it
	line        *admission // of a job
	cause       string     // why a job waits, as a word
	collation   int64      // an allocation whose last request ended so many ms ago still counts as busy
	earlier     []waiter
	closed      map[string]string // hosts on which nothing is placed now, and why
	apart       []string          // hosts that can't be reached
	order       hostOrder
	placing     []string // holders of its groups that are being placed, and hold nothing yet by the readings
}

// need is what the holder needs on a host.
type need struct {
	host   string // empty = any
	bytes  uint64 // on one device: its share, when it is split
	shards int    // devices of the host, each with its share
	kinds  []string
	names  []string // the devices that the operator named; empty = any
}

// named tells whether a device is one of those that the operator named. A simulated device stands for any.
func (n need) named(l *messages.GpuView) bool {
	return len(n.names) == 0 || l.Kind == "simulated" || l.Kind == "cpu" || slices.ContainsFunc(n.names, func(name string) bool { return isNamed(l, name) })
}

func isNamed(l *messages.GpuView, name string) bool {
	if _, err := strconv.Atoi(name); err == nil {
		return strings.TrimLeft(l.Device, "abcdefghijklmnopqrstuvwxyz") == name
	}
	return l.Device == name || strings.HasPrefix(l.Device, name+"-mig") || len(name) > len("GPU-") && len(l.Uuid) >= len(name) && strings.EqualFold(l.Uuid[:len(name)], name)
}

// needOn is what is needed on a host; its shards are 0 where the holder can't run.
func (q question) needOn(host string) need {
	for _, n := range q.needs {
		if n.host == host || n.host == "" {
			return n
		}
	}
	return need{}
}

// split tells whether the holder needs several devices on any host.
func (q question) split() bool {
	return slices.ContainsFunc(q.needs, func(n need) bool { return n.shards > 1 })
}

// leaves is what the end of an allocation gives back of a device.
func leaves(l *messages.GpuView, r *messages.Allocation) uint64 {
	bytes, _ := r.On(l.Id)
	return counted(l, r.Holder, bytes)
}

// counted is what a ledger counts for a holder, else what the holder says. The ledger learns a measured footprint later than the holder.
func counted(l *messages.GpuView, holder string, said uint64) uint64 {
	for _, lease := range l.Reservations {
		if lease.Holder == holder {
			return holds(lease)
		}
	}
	return said
}

// waiter is another holder that goes before this one: it has a higher priority, or has waited longer.
type waiter struct {
	holder   string
	waited   time.Duration
	priority bool     // it goes first by its priority
	hosts    []string // where it could be placed; empty = not known
	bytes    uint64   // of one device; 0 = not known
	job      bool
	why      string // a job goes before another one
}

// jobPatience is how long a job waits before later ones leave it the memory that is free: they run for hours.
const jobPatience = 10 * time.Minute

func questionOf(s State, c *messages.RequestPlacement, seen *messages.SchedulerReadings, now int64) question {
	q := question{holder: c.Holder, groups: c.Claim.GetGroups(), priority: c.Priority, allocations: seen.GetAllocations(), leaving: s.leaving(),
		moving: s.Moving.now().GetHolder(), now: now, needs: make([]need, 0, len(c.Claim.GetNeeds()))}
	q.closed, q.apart = closed(seen.GetHosts())
	q.order = hostOrderOf(c.Claim, seen.GetHosts())
	for _, n := range c.Claim.GetNeeds() {
		if !q.order.lists(n.Host) {
			continue
		}
		shards := max(int(n.Shards), 1)
		q.needs = append(q.needs, need{n.Host, share(n.Bytes, shards), shards, n.Kinds, n.Devices})
	}
	q.ledgers = q.usable(seen.GetLedgers())
	slices.SortFunc(q.ledgers, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	if len(q.groups) > 0 {
		q.placing = s.placingOf(q)
	}
	var seeking []*messages.Allocation
	for kin, i := familyOf(c.Holder), 0; i < len(q.allocations); i++ { // one walk over all of them: this is the hot part of a decision
		r := q.allocations[i]
		if kin.has(r.Holder) {
			q.kin = append(q.kin, r)
		}
		if r.State == messages.Allocation_seeking && (!r.FreeOnly || r.Holder == c.Holder) {
			seeking = append(seeking, r)
		}
	}
	for _, r := range seeking {
		if r.Holder == c.Holder && asks(r, c) { // on several hosts requests may wait for one name: those that came first count, as they do for others
			q.waited = max(q.waited, ms(r.WaitedMs))
		}
	}
	for _, r := range seeking {
		if same(r.Holder, c.Holder) && asks(r, c) || s.served(r) || s.Postponed[r.Holder].Pinned {
			continue
		}
		hosts := s.Postponed[r.Holder].Hosts
		if r.WantsHost != "" {
			hosts = []string{r.WantsHost}
		}
		if higher := r.Priority > c.Priority; higher || r.Priority == c.Priority && ms(r.WaitedMs) > q.waited {
			q.earlier = append(q.earlier, waiter{holder: r.Holder, waited: ms(r.WaitedMs), priority: higher, hosts: hosts, bytes: r.WantsBytes, job: r.Job})
		}
	}
	return q
}

// asks tells whether an allocation that seeks memory is the want of a claim. Programs of one name have claims of their own.
func asks(r *messages.Allocation, c *messages.RequestPlacement) bool {
	return r.Claim == "" || r.Claim == c.GetClaim().GetId()
}

// served tells whether a placement for an allocation that seeks memory is on its way.
func (s State) served(r *messages.Allocation) bool {
	if r.Claim == "" {
		return s.placed(r.Holder)
	}
	for _, o := range s.Open {
		if o.Placement.Claim == r.Claim {
			return true
		}
	}
	return false
}

// usable are the devices of the hosts where the holder can run: on each host those of the first of its kinds that the host has. A holder that
// is bound to a host can't take another's.
func (q question) usable(ledgers []*messages.GpuView) []*messages.GpuView {
	if len(q.needs) == 0 {
		return slices.Clone(ledgers)
	}
	out := make([]*messages.GpuView, 0, len(ledgers))
	_, only, _ := parts(q.holder)
	for _, l := range ledgers {
		if only != "" && only != messages.AnyHost && only != l.Host {
			continue
		}
		n := q.needOn(l.Host)
		if n.shards > 0 && n.named(l) && (len(n.kinds) == 0 || l.Kind == preferred(n, l.Host, ledgers)) {
			out = append(out, l)
		}
	}
	return out
}

// preferred is the first of the kinds that a host has devices of, of those that the operator named; empty when it has none.
func preferred(n need, host string, ledgers []*messages.GpuView) string {
	for _, kind := range n.kinds {
		for _, l := range ledgers {
			if l.Host == host && l.Kind == kind && n.named(l) {
				return kind
			}
		}
	}
	return ""
}

// placingOf are the holders of other models of the claim's groups whose placement is on its way.
func (s State) placingOf(q question) (out []string) {
	kin := familyOf(q.holder)
	for _, id := range slices.Sorted(maps.Keys(s.Open)) {
		p := s.Open[id].Placement
		if s.Open[id].Step != Releasing && !kin.has(p.Holder) && slices.ContainsFunc(p.Groups, func(g string) bool { return slices.Contains(q.groups, g) }) {
			out = append(out, p.Holder)
		}
	}
	return out
}

// seeksAlready tells whether an actor of the asked name seeks memory by itself.
func (q question) seeksAlready() bool {
	return slices.ContainsFunc(q.kin, func(r *messages.Allocation) bool {
		return r.State == messages.Allocation_seeking && same(r.Holder, q.holder)
	})
}

// placed tells whether a placement for the holder is on its way.
func (s State) placed(holder string) bool {
	for _, o := range s.Open {
		if same(o.Placement.Holder, holder) {
			return true
		}
	}
	return false
}

// behind names the holder whose turn is first on a host: none evicts while another goes before it, none takes the free memory that another could
// have now, and none takes free memory past one that is overdue, because small holders would starve a big one. One that can only be placed on other
// hosts seeks nothing here.
func (q question) behind(host string, candidates []*messages.Candidate, evicts bool, maxWait time.Duration) string {
	for _, e := range q.earlier {
		takes := evicts || e.loses(candidates) || q.line != nil && e.bytes == 0 && !e.job // a job leaves a model what it may need
		_, only, _ := parts(e.holder)
		switch {
		case only != "" && only != host && only != messages.AnyHost, len(e.hosts) > 0 && !slices.Contains(e.hosts, host):
		case e.why != "" && (takes || e.waited > jobPatience):
			return fmt.Sprintf("%s goes first: %s", e.holder, e.why)
		case e.why != "", e.job && !takes && e.waited <= jobPatience:
		case e.priority && takes:
			return fmt.Sprintf("%s has a higher priority and waits for %s", e.holder, e.waited.Round(time.Millisecond))
		case takes || e.waited > maxWait:
			return fmt.Sprintf("%s has waited longer, for %s", e.holder, e.waited.Round(time.Millisecond))
		}
	}
	return ""
}

// loses tells whether a waiter fits what is free now, and not what the chosen devices would leave of it.
func (e waiter) loses(candidates []*messages.Candidate) (lost bool) {
	for _, c := range candidates {
		free := c.LimitBytes - min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes)
		switch {
		case e.bytes == 0 || free < e.bytes || len(e.hosts) > 0 && !slices.Contains(e.hosts, hostOf(c.Gpu)):
		case !c.Chosen || free-min(c.NeedBytes, free) >= e.bytes:
			return false
		default:
			lost = true
		}
	}
	return lost
}

// stays tells whether an allocation holds memory and isn't on its way out for another placement: no holder is a victim twice.
func (q question) stays(r *messages.Allocation) bool {
	return len(r.Shares) > 0 && r.Holder != q.moving && !q.leaving[r.Holder]
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
