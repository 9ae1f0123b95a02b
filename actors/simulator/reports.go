package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// What hosts report to each other, and what an arbiter sees of it. The daemon's part is actors/view, which waits for changes on a clock.

// report is what a host tells another one of its actors.
type report struct {
	sequence    uint64
	at          time.Duration // when it came
	models      []*messages.ModelView
	live        []*messages.ModelView // the same with what runs and waits
	gpus        []*messages.GpuView
	allocations []*messages.Allocation
	loads       map[messages.ActorID]int
}

// report tells the others what has changed here, and once a second that nothing has.
func (x *far) report() {
	w := x.w
	if x.turns%int(loadLooks/lookEvery) == 0 {
		if now := x.activities(); now != x.activity {
			x.activity, x.changed = now, true
		}
	}
	if !x.changed && w.elapsed < x.reported+reportEvery {
		return
	}
	x.changed, x.reported = false, w.elapsed
	x.sequence++
	r := report{sequence: x.sequence, models: slices.Clone(w.views), live: view{w}.live(), gpus: slices.Clone(w.accounts), allocations: view{w}.own(), loads: map[messages.ActorID]int{}}
	for i, m := range w.models {
		r.loads[m.id] = w.runningAt(i)
	}
	x.net.reports++
	boot := w.boot
	x.broadcast(func(other *World) { other.far.take(w, boot, r) })
}

// activities is what runs and waits, in words.
func (x *far) activities() string {
	var b strings.Builder
	for _, f := range x.w.fronts {
		_, seeks := f.pool.Seeking(f.now())
		fmt.Fprint(&b, f.pool.Waiting(), len(f.running), seeks, " ")
	}
	return b.String()
}

// take keeps what another host reported.
func (x *far) take(of *World, boot int, r report) {
	host, w := of.host(0), x.w
	if state, _ := x.table.State(host, w.wall()); state != messages.MemberView_alive || boot != of.boot { // a former start's came late
		return
	}
	before := x.said[host]
	if before != nil && before.sequence > r.sequence {
		return
	}
	r.at = w.elapsed
	x.said[host] = &r
	for i, v := range r.models {
		if before == nil || i >= len(before.models) || before.models[i] != v {
			w.fronts[of.modelOf[i]].update(v)
		}
	}
	for _, v := range r.models {
		id, _ := messages.ParseActorID(v.Id)
		f := w.fronts[of.modelOf[of.byID[id]]]
		f.pool.Load(id, r.loads[id], f.now())
		f.dispatch()
	}
}

// clustered shows the arbiter of one host what the daemon's view shows in a cluster.
type clustered struct{ view }

var _ arbiter.Cluster = clustered{}

// Hosts implements arbiter.Cluster.
func (c clustered) Hosts() (out []*messages.HostReading) {
	x := c.w.far
	for _, other := range x.net.worlds {
		host := other.host(0)
		h := &messages.HostReading{Host: host}
		if said := x.said[host]; said != nil {
			for _, n := range said.loads {
				h.Busy += uint32(n)
			}
		}
		if h.Refusal = x.closed(host); h.Refusal == "" && other != c.w && !x.fresh(host) {
			h.Refusal = "reported too long ago"
		}
		h.Unreachable = h.Refusal != ""
		if h.Refusal != "" || h.Busy > 0 {
			out = append(out, h)
		}
	}
	return out
}

// Seat implements arbiter.Cluster.
func (c clustered) Seat() string {
	if seat := c.w.far.table.Seat(); seat != c.w.host(0) {
		return seat
	}
	return ""
}

// fresh tells whether decisions may stand on what a host reported.
func (x *far) fresh(host string) bool {
	said := x.said[host]
	return said != nil && x.w.elapsed-said.at < freshLimit && x.closed(host) == ""
}

// reports are what the other hosts reported last, in the hosts' order.
func (x *far) reports(freshOnly bool) (out []*report) {
	if x == nil {
		return nil
	}
	for _, other := range x.net.worlds {
		if r := x.said[other.host(0)]; r != nil && (!freshOnly || x.fresh(other.host(0))) {
			out = append(out, r)
		}
	}
	return out
}

// allocations are those of other hosts whose reports are fresh, as of now.
func (x *far) allocations() (out []*messages.Allocation) {
	for _, r := range x.reports(true) {
		age := (x.w.elapsed - r.at).Milliseconds()
		for _, a := range r.allocations {
			a = proto.CloneOf(a)
			if a.Active == 0 && a.Queued == 0 {
				a.IdleMs += age
			}
			if a.WaitedMs > 0 {
				a.WaitedMs += age
			}
			if a.HeldMs > 0 {
				a.HeldMs += age
			}
			out = append(out, a)
		}
	}
	return out
}
