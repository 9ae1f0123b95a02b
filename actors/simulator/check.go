package simulator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/gpu"
	"modelops/actors/model"
	"modelops/messages"
)

// proveEvery is how many checks of a coordinator lie between two comparisons of a state with its journal.
const proveEvery = 32

// check looks for what must never be, after each step that has touched this coordinator.
func (w *World) check() {
	w.looks++
	if !w.lenient {
		w.checkWorkers()
	}
	if !w.down && !w.lenient {
		w.checkModels()
		w.checkLeases()
	}
	if !w.lenient {
		w.checkJobs()
		w.checkInversions()
	}
	if w.looks%proveEvery == 0 && !w.down {
		all := 1 + len(w.ledgers) + len(w.models) + len(w.jobs)
		n := (w.looks / proveEvery) % all
		var c anyNode = w.arbiter
		switch {
		case n > len(w.ledgers)+len(w.models):
			c = w.jobs[n-len(w.ledgers)-len(w.models)-1]
		case n > len(w.ledgers):
			c = w.models[n-len(w.ledgers)-1]
		case n > 0:
			c = w.ledgers[n-1]
		}
		if err := c.proven(); err != nil {
			w.violated("replay differs from life: %v", err)
		}
	}
}

// checkWorkers: no worker runs on memory that isn't reserved for it.
func (w *World) checkWorkers() {
	for _, k := range w.workers {
		for _, p := range k.parts {
			if _, ok := w.ledgers[p.device].state.Leases[p.lease]; !ok {
				w.violated("worker %d of %s is alive without its lease %s", k.pid, w.models[k.model].id.Name(), p.lease)
			}
		}
	}
}

func (w *World) checkModels() {
	loading := 0
	for _, m := range w.models {
		s := &m.state
		if s.Phase == model.Loading {
			loading++
		}
		if s.Phase == model.Ready || s.Phase == model.Asleep {
			if s.Placement == nil {
				w.violated("%s is ready without a placement", m.id)
				continue
			}
			for _, part := range s.Placement.Shares {
				if _, ok := w.ledgers[w.deviceOf(part.Gpu)].state.Leases[part.Lease]; !ok {
					w.violated("%s is ready without a lease", m.id)
				}
			}
		}
	}
	if loading > w.o.MaxLoads && w.far == nil { // arbiters on two sides of a cut each count their own
		w.violated("%d models load, at most %d may", loading, w.o.MaxLoads)
	}
}

// checkLeases: each lease of a model belongs to a placement that is known at its model or at the arbiter, so that it will be given back. No model
// holds leases of two placements, except those that are being given back.
func (w *World) checkLeases() {
	holders := map[string]string{} // the placement that a model's leases are for
	for i, l := range w.ledgers {
		for id, lease := range l.state.Leases {
			who, err := messages.ParseActorID(lease.Holder)
			if err != nil {
				continue // a program's
			}
			owner, leaving := w.ownerOf(who, id)
			if owner == "" {
				w.violated("lease %s of %s on gpu%d is lost: neither its holder nor a placement knows it", id, who, i)
			}
			if other := holders[lease.Holder]; other != "" && other != owner && !leaving && w.far == nil { // two arbiters on two sides of a cut may both have reserved for it: it takes one
				w.violated("%s holds the leases of two placements: %s and %s", who, other, owner)
			}
			if !leaving {
				holders[lease.Holder] = owner
			}
		}
	}
}

func (w *World) ownerOf(holder messages.ActorID, lease string) (placement string, leaving bool) {
	if holder.Kind == messages.KindJob {
		return w.ownerOfJob(holder, lease)
	}
	return w.owner(w.models[w.byID[holder]], lease)
}

// owner finds the placement with which a lease will be returned: its model's, or an open one. leaving is set for one that is being given back.
func (w *World) owner(m *node[model.State], lease string) (placement string, leaving bool) {
	if has(m.state.Placement, lease) {
		return m.state.Placement.Id, false
	}
	for _, p := range m.state.Returning {
		if has(p, lease) {
			return p.Id, true
		}
	}
	for _, other := range w.worlds {
		for id, o := range other.arbiter.state.Open {
			if has(o.Placement, lease) {
				return id, o.Step == arbiter.Releasing || !awaits(&m.state, o.Placement.Claim)
			}
		}
	}
	return "", false
}

// awaits tells whether a model would take the placement of a claim.
func awaits(s *model.State, claim string) bool {
	if claim == messages.ByName {
		return s.Phase == model.Absent || s.Phase == model.Failed
	}
	return s.Phase == model.Placing && claim == strconv.FormatUint(s.Attempt, 10)
}

func has(p *messages.Placement, lease string) bool {
	return slices.ContainsFunc(p.GetShares(), func(s *messages.Share) bool { return s.Lease == lease })
}

func isJob(holder string) bool { return strings.HasPrefix(holder, messages.KindJob+"/") }

// grantKey names a lease: two devices may have one of the same name.
type grantKey struct {
	device messages.ActorID
	lease  string
}

// grant is what a lease was last granted to.
type grant struct {
	holder string
	epoch  uint64
}

// checkFenced: only the holder of a lease's present epoch changes it.
func (w *World) checkFenced(id messages.ActorID, command proto.Message) {
	c, ok := command.(interface {
		GetLease() string
		GetHolder() string
		GetEpoch() uint64
	})
	if !ok {
		return
	}
	if g := w.granted[grantKey{id, c.GetLease()}]; g != (grant{c.GetHolder(), c.GetEpoch()}) {
		w.violated("%s lets %s with epoch %d change lease %s, which %s holds with epoch %d", id, c.GetHolder(), c.GetEpoch(), c.GetLease(), g.holder, g.epoch)
	}
}

// decided looks at decisions as they are taken.
func (w *World) decided(id messages.ActorID, command proto.Message, events []proto.Message) {
	w.checkFenced(id, command)
	for _, e := range events {
		switch e := e.(type) {
		case *messages.VramReserved:
			w.checkGrant(id)
		case *messages.VramSettled:
			w.amounts[e.Lease] = e.MeasuredBytes
		case *messages.VramResized:
			if e.Bytes > w.amounts[e.Lease] { // it wakes up; one that isn't asleep yet holds that much already
				w.checkGrant(id)
			}
			w.amounts[e.Lease] = e.Bytes
		case *messages.VramReleased:
			w.leaseEnds(grantKey{id, e.Lease})
		case *messages.LeaseExpired:
			w.leaseEnds(grantKey{id, e.Lease})
		case *messages.LeaseReclaimed:
			w.leaseEnds(grantKey{id, e.Lease})
		case *messages.WorkerReplaced:
			w.checkReplaced(id, e)
		case *messages.PlacementDecided:
			if w.far == nil { // else it stands on reports that may be old: the owners decide
				w.checkPlacement(e)
			}
			w.checkMoves(e)
		case *messages.ModelUnwanted:
			if e.Placement != "" {
				w.tally.evictions++
			}
		}
	}
}

// limitOf is what a device may hold by the ledger's own facts, summed here once more.
func limitOf(s *gpu.State) (limit, reserved uint64) {
	for _, l := range s.Leases {
		if l.Measured > 0 {
			reserved += l.Measured
		} else {
			reserved += l.Bytes
		}
	}
	return s.Capacity - s.Margin, reserved
}

// checkGrant: at the moment of a grant no device is over its limit, foreign memory included.
func (w *World) checkGrant(id messages.ActorID) {
	s := &w.ledgers[w.deviceOf(id.String())].state
	if limit, reserved := limitOf(s); reserved+s.Foreign > limit {
		w.violated("%s granted memory over its limit: reserved %d + foreign %d > %d", id, reserved, s.Foreign, limit)
	}
}

// checkPlacement: a placement fits beside all that is promised, and each of its victims may be evicted.
func (w *World) checkPlacement(e *messages.PlacementDecided) {
	p := e.Placement
	leaving := map[string]bool{}
	for _, v := range p.Victims {
		leaving[v] = true
	}
	for id, o := range w.arbiter.state.Open {
		for _, v := range o.Placement.Victims {
			leaving[v] = leaving[v] || id != p.Id && o.Step == arbiter.Evicting && !slices.Contains(o.Gone, v)
		}
	}
	if arbiter.IsProgram(p.Holder) {
		w.checkPart(p, p.Shares[0], leaving)
		return
	}
	if isJob(p.Holder) {
		w.checkJobPlacement(p, leaving)
		w.checkVictims(p, w.deviceOf(p.Gpu()))
		return
	}
	if n := max(w.declared(w.indexOf(p.Holder)).Shards, 1); len(p.Shares) != n {
		w.violated("%s is split over %d devices, not %d", p.Holder, len(p.Shares), n)
	}
	for _, part := range p.Shares {
		if gpu := w.devices[w.deviceOf(part.Gpu)].id; gpu.Host() != p.Host || p.Host != w.models[w.indexOf(p.Holder)].id.Host() {
			w.violated("%s is placed on %s, which is another host's device", p.Holder, gpu)
		}
		w.checkPart(p, part, leaving)
	}
	if len(p.Shares) == 1 {
		w.checkVictims(p, w.deviceOf(p.Gpu()))
	}
}

// checkMoves: only victims move, to another host, none of them twice in ten minutes by one arbiter's decisions, and nobody leaves for one that moves.
func (w *World) checkMoves(e *messages.PlacementDecided) {
	if id, err := messages.ParseActorID(e.Placement.Holder); err == nil && id.Kind == messages.KindModel && len(e.Placement.Victims) > 0 && e.Placement.Claim != messages.ByName {
		if at := w.worldOf(id.Host()); at != nil {
			if s := &at.models[at.byID[id]].state; s.FreeOnly && e.Placement.Claim == fmt.Sprint(s.Attempt) {
				w.violated("%v have to leave for %s, which moves and takes free memory only", e.Placement.Victims, id)
			}
		}
	}
	for _, m := range e.Moves {
		who, _ := messages.ParseActorID(m.Holder)
		to, _ := messages.ParseActorID(m.To)
		key := fmt.Sprint(w.boot, "/", w.arbiter.state.Epoch, "/", who.Name())
		before, again := w.moved[key]
		switch {
		case !slices.Contains(e.Placement.Victims, m.Holder):
			w.violated("%s moves and isn't to leave for %s", m.Holder, e.Placement.Holder)
		case to.Host() == who.Host():
			w.violated("%s moves to %s of its own host", m.Holder, to)
		case again && w.elapsed-before < 10*time.Minute-time.Millisecond: // moves are dated in milliseconds
			w.violated("%s moves again after %s", m.Holder, w.elapsed-before)
		}
		w.moved[key] = w.elapsed
		w.tally.moves++
	}
}

// worldOf is the world of a host; nil = there is none.
func (w *World) worldOf(host string) *World {
	for _, x := range w.worlds {
		for n := range x.o.Hosts {
			if x.host(n) == host {
				return x
			}
		}
	}
	return nil
}

// checkPart: a device holds what is to be on it, with all that was promised.
func (w *World) checkPart(p *messages.Placement, part *messages.Share, leaving map[string]bool) {
	s := &w.ledgers[w.deviceOf(part.Gpu)].state
	limit, held := limitOf(s)
	held += s.Foreign + part.Bytes
	for id, o := range w.arbiter.state.Open {
		if bytes, on := o.Placement.On(part.Gpu); on && id != p.Id && o.Step != arbiter.Reserved && o.Step != arbiter.Releasing {
			held += bytes
		}
	}
	for _, l := range s.Leases {
		if leaving[l.Holder] {
			held -= min(held, cmp.Or(l.Measured, l.Bytes))
		}
	}
	if held > limit {
		w.violated("%s was placed on %s over its limit: %d with all that is promised, limit %d", p.Holder, part.Gpu, held, limit)
	}
}
