package view

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// Ledgers gives the scheduler's readings; it implements arbiter.World.
type Ledgers struct {
	// Host is this one, whose actors feed the projection.
	Host string
	View *Projection
	// Live lists the models with what runs and waits at each, as the gateway knows it.
	Live func() []*messages.ModelView
	// Seeking lists the names for which requests wait and no model actor seeks memory yet, as the gateway knows them.
	Seeking func() []*messages.Allocation
	Now     func() time.Time
	// Other says why nothing is placed on another host now; empty = it takes placements. Seated is the host whose arbiter has the seat, when it is another
	// one's. Both may be nil: a host alone.
	Other  func(host string) string
	Seated func() string
	// Others are the reports of other hosts; nil = there are none.
	Others *Follower
	// Learning are the rules for jobs that are in force; Left is how long a job still runs as its trainer says, 0 = it doesn't. Both may be nil.
	Learning func() arbiter.Learning
	Left     func(job messages.ActorID) time.Duration
	// Apart tells whether another host has another file of a name than this one; nil = none has.
	Apart func(model, host string) bool
}

// Ledgers implements arbiter.World. Those of hosts on which nothing is placed now are among them, so that a decision can say so.
func (l Ledgers) Ledgers() []*messages.GpuView { return l.View.GPUs() }

// Allocations implements arbiter.World: the holders that have or seek memory now.
func (l Ledgers) Allocations() []*messages.Allocation {
	if l.Others == nil {
		out := l.own()
		l.bill(out)
		return out
	}
	out := append(l.own(), l.Others.Allocations()...)
	l.bill(out)
	if len(l.Others.Hosts()) > 0 {
		arbiter.Elsewhere(out, l.View.Present(), l.Apart)
	}
	return out
}

// own are the allocations of this host's actors and callers.
func (l Ledgers) own() []*messages.Allocation {
	now := l.Now().UnixMilli()
	out := arbiter.AllocationsOf(l.Models(), now)
	for _, j := range l.View.LiveJobsOf(l.Host) {
		if a := arbiter.AllocationOfJob(j, now); a != nil {
			out = append(out, a)
		}
	}
	return append(out, l.Seeking()...)
}

// Models are the latest views of this host's present models, with what runs and waits at each at the gateway. The gateway gets views a moment later: by
// its copies a load that has just begun would not count, and one too many could begin beside it.
func (l Ledgers) Models() []*messages.ModelView {
	live := map[string]*messages.ModelView{}
	for _, v := range l.ownLive() {
		live[v.Id] = v
	}
	out := l.View.PresentOf(l.Host)
	for i, v := range out {
		if at := live[v.Id]; at != nil {
			v = proto.CloneOf(v)
			v.Active, v.Queued, v.IdleMs, v.Breaker = at.Active, at.Queued, at.IdleMs, at.Breaker
			out[i] = v
		}
	}
	return out
}

// Busy says which requests run or wait on the models of a placement's devices; empty = none.
func (l Ledgers) Busy(p *messages.Placement) string {
	for _, m := range l.Models() {
		for _, share := range p.GetShares() {
			if _, here := m.GetPlacement().On(share.Gpu); here && m.Active+m.Queued > 0 {
				return fmt.Sprintf("%s has %d requests", m.Id, m.Active+m.Queued)
			}
		}
	}
	return ""
}

// ownLive are this host's models as the gateway knows them. It knows those of other hosts too, with what this host sends there: their own host counts that
// among all that runs there.
func (l Ledgers) ownLive() []*messages.ModelView {
	return slices.DeleteFunc(l.Live(), func(v *messages.ModelView) bool { return hostOf(v.Id) != l.Host })
}

// AllModels are Models with those of the other hosts, with what runs and waits at each as its host said last, and since when it wants a place by this host's
// clock. Those of a host that can't be reached stay among them.
func (l Ledgers) AllModels() []*messages.ModelView {
	out := l.Models()
	for _, host := range l.Others.Hosts() {
		said, loads := l.Others.Said(host), map[string]*messages.ModelLoad{}
		for _, m := range said.Report.Loads {
			loads[messages.ModelActor(host, m.Model).String()] = m
		}
		ahead := said.Report.AtMs - l.Now().Add(-said.Age).UnixMilli() // of its clock
		for _, v := range l.View.PresentOf(host) {
			v = proto.CloneOf(v)
			if m := loads[v.Id]; m != nil {
				v.Active, v.Queued, v.IdleMs, v.Breaker = m.Active, m.Queued, m.IdleMs, m.Breaker
			}
			if v.WantedMs > 0 {
				v.WantedMs -= ahead
			}
			out = append(out, v)
		}
	}
	return out
}

// Hosts implements arbiter.Cluster: those on which nothing is placed now, and what runs and waits at each.
func (l Ledgers) Hosts() (out []*messages.HostReading) {
	busy, hosts := map[string]uint32{}, l.View.HostViews()
	if len(hosts) > 1 { // a host alone is chosen whatever runs there
		for _, m := range l.ownLive() {
			busy[l.Host] += m.Active + m.Queued
		}
	}
	for _, host := range l.Others.Hosts() {
		for _, m := range l.Others.Said(host).Report.Loads {
			busy[host] += m.Active + m.Queued
		}
	}
	for _, v := range hosts {
		h := &messages.HostReading{Host: v.Host, Busy: busy[v.Host]}
		if l.Other != nil {
			h.Refusal = cmp.Or(l.Other(v.Host), l.outdated(v.Host))
			h.Unreachable = h.Refusal != ""
		}
		if v.Draining && !h.Unreachable {
			h.Refusal = "is being emptied (modelops drain " + v.Host + " --undo ends that)"
		}
		if v.Host != l.Host {
			h.MaxJobs = l.Others.Said(v.Host).Report.GetMaxJobs()
		}
		if h.Refusal != "" || h.Busy > 0 || h.MaxJobs > 0 {
			out = append(out, h)
		}
	}
	return out
}

// outdated says why decisions don't stand on what another host reported; empty = they may.
func (l Ledgers) outdated(host string) string {
	if l.Others == nil || host == l.Host || l.Others.Fresh(host) {
		return ""
	}
	return "reported last " + l.Others.Said(host).Age.Round(time.Millisecond).String() + " ago"
}

// Seat implements arbiter.Cluster.
func (l Ledgers) Seat() string {
	if l.Seated == nil {
		return ""
	}
	return l.Seated()
}
