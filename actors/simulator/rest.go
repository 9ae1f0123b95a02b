package simulator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"modelops/actors/model"
)

// turn is the most that one model's way to a place may take when nothing goes wrong: a drain, a stop, a driver that is slow, two loads.
func (w *World) turn() time.Duration {
	longest := time.Duration(0)
	for _, m := range w.o.Models {
		longest = max(longest, m.Load)
	}
	return w.o.DrainTimeout + stopLongest + driverLongest + 2*(longest*6/5) + time.Second
}

// Bound is the longest that a request may wait for its model when nothing goes wrong: until busy models must end their turn, then behind every
// model that has waited longer, and once more for an estimate that was too small.
func (w *World) Bound() time.Duration {
	n := 0
	for _, m := range w.o.Models {
		if n++; m.MaxReplicas > 1 { // its replicas seek places of their own, and so does a replacement
			n += m.MaxReplicas
		}
	}
	jobs := time.Duration(0) // those that aren't asked to leave, one after the other
	if w.o.Jobs.Fixed > 0 {
		jobs = time.Duration(w.o.Jobs.Most) * (time.Duration(max(w.o.Jobs.Steps, mostSteps+3))*stepTakes + jobGrace)
	}
	return w.o.MaxWait + 2*time.Duration(n*w.o.Hosts*len(w.worlds))*w.turn() + jobs
}

// recovery is what is left of former mishaps when calm begins: a hung load, pauses between tries, a request at a dead engine.
const recovery = loadTimeout + runLongest + 2*time.Minute

// Calm ends all mishaps and arrivals and runs on without another command until everything is at rest. Then it asks every model for something,
// all at once: those that fit must answer. Then it unloads everything: nothing may be held. Its error is a *Violation, or the context's.
func (w *World) Calm(ctx context.Context) error {
	if err := w.serveAgain(ctx); err != nil {
		return err
	}
	w.unloadAll()
	if err := w.toRest(ctx, w.Bound()+recovery); err != nil {
		return err
	}
	if w.tally.pending > 0 {
		w.violated("%d requests never ended", w.tally.pending)
	}
	if why := w.left(); why != "" {
		w.violated("nothing is wanted, but %s", why)
	}
	return w.err()
}

// serveAgain is Calm up to the answers of all models.
func (w *World) serveAgain(ctx context.Context) error {
	w.settleDown()
	if err := w.toRest(ctx, w.Bound()+recovery+w.jobsTake()); err != nil {
		return err
	}
	w.restart() // a coordinator that is down comes back by itself
	var probes []*request
	for _, m := range w.o.Models {
		probes = append(probes, w.call(m.Name, 10*time.Millisecond))
	}
	if err := w.toRest(ctx, w.Bound()+recovery); err != nil {
		return err
	}
	for _, r := range probes {
		if m := w.o.Models[r.model]; r.code != 0 && w.fits(m) {
			w.violated("%s fits and nothing goes wrong, but it answers %s", m.Name, r.code)
		}
	}
	return w.err()
}

func (w *World) restart() {
	if w.down {
		w.wake()
	}
}

// fits tells whether a model fits empty devices of one host, as many as it is split over.
func (w *World) fits(m Model) bool {
	fit := make([]int, w.o.Hosts)
	for i, capacity := range w.o.Devices {
		if max(m.Estimate, m.Truth)/uint64(max(m.Shards, 1))*11/10 <= capacity-margin {
			fit[i%w.o.Hosts]++
		}
	}
	return slices.Max(fit) >= max(m.Shards, 1)
}

// toRest runs until nothing is under way. Polls and sweeps go on.
func (w *World) toRest(ctx context.Context, within time.Duration) error {
	deadline := w.elapsed + within
	for {
		why := w.unrest()
		switch {
		case why == "":
			return w.err()
		case w.elapsed > deadline:
			w.violated("not at rest %s after calm began: %s", within, why)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if !w.step() {
			return w.err()
		}
	}
}

// unrest says what is still under way.
func (w *World) unrest() string {
	if w.down {
		return "the coordinator is down"
	}
	for i, f := range w.fronts {
		if len(f.running) > 0 || f.pool.Interested() {
			return fmt.Sprintf("%d requests run and %d wait at %s, which is %s", len(f.running), f.pool.Waiting(), w.models[i].id, w.models[i].state.Phase)
		}
		if f.shut() {
			return fmt.Sprintf("the breakers of %s are open", w.models[i].id)
		}
		if why := f.pool.Refuses(f.now()); why != nil {
			return fmt.Sprintf("%s is refused by its last error: %s", w.models[i].id, why)
		}
	}
	for _, m := range w.models {
		switch s := &m.state; {
		case len(s.Returning) > 0:
			return fmt.Sprintf("%s returns a lease", m.id)
		case s.Unsettled:
			return fmt.Sprintf("%s hasn't told its measured memory", m.id)
		case s.Phase != model.Absent && s.Phase != model.Ready && s.Phase != model.Asleep && s.Phase != model.Failed:
			return fmt.Sprintf("%s is %s", m.id, s.Phase)
		}
		if why := w.replicaUnrest(m); why != "" {
			return why
		}
	}
	if why := w.jobUnrest(); why != "" {
		return why
	}
	for _, id := range slices.Sorted(maps.Keys(w.arbiter.state.Open)) {
		o := w.arbiter.state.Open[id]
		return fmt.Sprintf("placement %s of %q is %s", id, o.Placement.Holder, o.Step)
	}
	for _, id := range slices.Sorted(maps.Keys(w.arbiter.state.Away)) {
		return fmt.Sprintf("%v left for %s and come back", w.arbiter.state.Away[id].Victims, w.arbiter.state.Away[id].Job)
	}
	if m := w.arbiter.state.Moving; m != nil {
		return fmt.Sprintf("plan %s is at move %d of %d", m.Plan.Id, m.Next+1, len(m.Plan.Moves))
	}
	if len(w.mail) > 0 {
		return "mail for " + w.mail[0].to.String()
	}
	return w.strays()
}

// strays are leases and workers that outlive their purpose.
func (w *World) strays() string {
	for i, l := range w.ledgers {
		for _, id := range slices.Sorted(maps.Keys(l.state.Leases)) {
			if l.state.Leases[id].TTL > 0 {
				return fmt.Sprintf("lease %s on gpu%d has time to live", id, i)
			}
		}
	}
	for _, k := range w.workers {
		if m := w.models[k.model]; m.state.Worker.GetNonce() != k.nonce {
			return fmt.Sprintf("worker %d of %s belongs to no attempt", k.pid, m.id)
		}
	}
	return ""
}
