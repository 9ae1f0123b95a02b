package arbiter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// A model that has to leave a host moves to another one: once it has left, it is loaded there into memory that is free. A move costs a load, so only a model
// moves that is worth it, and it never has others leave: a move brings no further move or eviction about.

// movesAgain is how long a model that has moved isn't moved again. Claims that alternate between two hosts would else have it loaded for each of them.
const movesAgain = 10 * time.Minute

// moveWithin is how long a model on its way to another host waits for its turn to load.
const moveWithin = time.Minute

// moves says which victims of a placement move, and where to. Their memory there isn't promised to them: each asks for it when it has left.
func (r Rules) moves(s State, q question, p *messages.Placement, seen *messages.SchedulerReadings) (out []*messages.Move) {
	if r.KeepWarm <= 0 {
		return nil
	}
	for _, v := range p.Victims {
		i := slices.IndexFunc(q.allocations, func(a *messages.Allocation) bool { return a.Holder == v })
		if i < 0 || !r.staysWarm(q.allocations[i]) || s.movedLately(v, q.now) || s.livesElsewhere(v, q.allocations) {
			continue
		}
		if m := r.moveOf(s, q.allocations[i], q, seen, out); m != nil {
			out = append(out, m)
		}
	}
	return out
}

// staysWarm tells whether a victim is worth a load: it answered lately, or somebody wants it warm. One that has requests goes where they lead it.
func (r Rules) staysWarm(a *messages.Allocation) bool {
	_, replica := messages.ReplicaOf(a.Holder)
	return !replica && a.State == messages.Allocation_settled && a.Active+a.Queued == 0 && len(a.Shares) == 1 && (a.Kept || ms(a.IdleMs) < r.KeepWarm)
}

// livesElsewhere tells whether another host has a worker of the victim's model, or gets one.
func (s State) livesElsewhere(victim string, all []*messages.Allocation) bool {
	kin := familyOf(victim)
	_, here, _ := parts(victim)
	for _, a := range all {
		if _, host, _ := parts(a.Holder); host != here && kin.has(a.Holder) {
			return true
		}
	}
	for _, o := range s.Open {
		if !o.relief() && kin.has(o.Placement.Holder) {
			return true
		}
	}
	return false
}

// moveOf is a victim's move to the first of its other hosts that has as much free as it holds here; nil when none has.
func (r Rules) moveOf(s State, a *messages.Allocation, q question, seen *messages.SchedulerReadings, before []*messages.Move) *messages.Move {
	bytes := a.Shares[0].Bytes
	for _, l := range seen.Ledgers {
		if l.Id == a.Shares[0].Gpu {
			bytes = leaves(l, a)
		}
	}
	for _, host := range a.Elsewhere {
		var to *messages.GpuView
		var most uint64
		for _, l := range seen.Ledgers {
			if l.Host != host || l.Lost || q.closed[host] != "" {
				continue
			}
			if free := s.freeOn(l, q, before); free >= bytes && !r.crowds(l.LimitBytes-free, bytes, l.LimitBytes) && (to == nil || free > most) {
				to, most = l, free
			}
		}
		if to != nil {
			return &messages.Move{Holder: a.Holder, From: a.Shares[0].Gpu, To: to.Id, Bytes: bytes, IdleMs: a.IdleMs, LoadMs: a.LoadMs, Cost: worth(a), FreeBytes: most}
		}
	}
	return nil
}

// crowds tells whether a device that is in use would be over its threshold with a model that moves there: others would leave because of it.
func (r Rules) crowds(used, need, limit uint64) bool {
	return r.ThresholdPct > 0 && used > 0 && used+need > limit/100*uint64(r.ThresholdPct)
}

// freeOn is what a device has free beside all that is promised, to earlier moves of the same decision too.
func (s State) freeOn(l *messages.GpuView, q question, before []*messages.Move) uint64 {
	used := l.ReservedBytes - freed(l, q.leaving) + l.ForeignBytes + s.promised(l.Id)
	for _, m := range before {
		if m.To == l.Id {
			used += m.Bytes
		}
	}
	return l.LimitBytes - min(used, l.LimitBytes)
}

// movedLately tells whether a model, on whatever host, has moved so lately that it isn't moved again.
func (s State) movedLately(holder string, now int64) bool {
	at, ok := s.Moved[nameOf(holder)]
	return ok && now-at < movesAgain.Milliseconds()
}

func nameOf(holder string) string {
	_, _, name := parts(holder)
	return name
}

// moved notes the moves of a decision, and forgets those that are long ago.
func (s State) moved(moves []*messages.Move, at *timestamppb.Timestamp) map[string]int64 {
	if len(moves) == 0 {
		return s.Moved
	}
	now, out := at.AsTime().UnixMilli(), map[string]int64{}
	for name, was := range s.Moved {
		if now-was < movesAgain.Milliseconds() {
			out[name] = was
		}
	}
	for _, m := range moves {
		out[nameOf(m.Holder)] = now
	}
	return out
}

// moveFor is the move of a victim; nil when it just leaves.
func (o Open) moveFor(victim string) *messages.Move {
	if i := slices.IndexFunc(o.Moves, func(m *messages.Move) bool { return m.Holder == victim }); i >= 0 {
		return o.Moves[i]
	}
	return nil
}

// requestFree decides a claim that takes free memory only. It waits for its turn to load, and for nothing else: everybody else goes first.
func (r Rules) requestFree(s State, c *messages.RequestPlacement, q question, seen *messages.SchedulerReadings, at entity.Stamp) (entity.Verdict, error) {
	no := func(why string) (entity.Verdict, error) {
		return entity.Verdict{}, messages.NewError(messages.GPUUnavailable, c.Holder, why)
	}
	for _, a := range q.kin {
		switch {
		case a.Holder == c.Holder:
		case a.State == messages.Allocation_changing && q.waited <= moveWithin: // a report of its leaving may be on its way
			return waits(a.Holder + " is on its way out"), nil
		default:
			return no(a.Holder + " has its memory, or is about to")
		}
	}
	if s.livesElsewhere(c.Holder, nil) {
		return no("its name is being placed")
	}
	if waits := s.waitsFor(hostOf(c.Holder), q); waits != "" {
		return no(waits + " waits for memory there")
	}
	if n := starting(s, seen.Allocations); r.MaxLoads > 0 && n >= r.MaxLoads {
		if q.waited > moveWithin {
			return no(fmt.Sprintf("%d models load, at most %d at a time, and it has waited for %s", n, r.MaxLoads, q.waited.Round(time.Second)))
		}
		return waits(fmt.Sprintf("%d models load already, at most %d at a time", n, r.MaxLoads)), nil
	}
	p := r.policy()
	candidates := s.weigh(p, q)
	chosen := q.choose(candidates)
	switch {
	case chosen == nil:
		return no(sums(candidates))
	case evicting(chosen) > 0:
		return no("others would have to leave: " + strings.TrimPrefix(full(chosen[0]), "full: "))
	case slices.ContainsFunc(chosen, func(x *messages.Candidate) bool {
		return r.crowds(x.ReservedBytes+x.ForeignBytes, x.NeedBytes, x.LimitBytes)
	}):
		return no("its device would be over the threshold above which idle models leave: " + strings.TrimPrefix(full(chosen[0]), "full: "))
	case slices.ContainsFunc(chosen, func(x *messages.Candidate) bool { return x.KeptFor != "" }):
		return no("the free memory is kept for " + chosen[0].KeptFor)
	}
	return s.place(q, c, p, chosen, candidates, "", at), nil
}

// waitsFor is a holder that seeks memory which it could get on a host; empty when none does.
func (s State) waitsFor(host string, q question) string {
	for _, a := range q.allocations {
		_, only, _ := parts(a.Holder)
		hosts := s.Postponed[a.Holder].Hosts
		if a.State == messages.Allocation_seeking && !a.FreeOnly && !same(a.Holder, q.holder) && !s.placed(a.Holder) && !(a.Job && a.Priority < q.priority) &&
			(only == "" || only == host || only == messages.AnyHost) && (len(hosts) == 0 || slices.Contains(hosts, host)) {
			return a.Holder
		}
	}
	return ""
}

// moveIn has the model's actor on the other host load it there.
func moveIn(m *messages.Move, holder string) *messages.EnsureModel {
	return &messages.EnsureModel{OnDemand: true, FreeOnly: true, Reason: fmt.Sprintf("it moves from %s, where %s needs the memory; it held %s there, and %s had %s free here",
		hostOf(m.From), nameOf(holder), messages.FormatBytes(m.Bytes), nameOf(m.To), messages.FormatBytes(m.FreeBytes))}
}
