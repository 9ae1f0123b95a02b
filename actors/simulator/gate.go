package simulator

import (
	"context"
	"slices"

	"modelops/messages"
)

// sweep brings what only time does.
func (w *World) sweep() {
	w.alive(sweepEvery, w.sweep)
	for _, f := range w.fronts {
		for _, h := range f.pool.Sweep(f.now(), false) {
			door{w}.Tell(&try{}, h.To, h.Command)
		}
		f.pursue()
	}
}

// gate is the model's port to its pool.
type gate struct{ w *World }

// Drain implements model.Gate.
func (g gate) Drain(ctx context.Context, id messages.ActorID, attempt uint64, force bool) error {
	w := g.w
	f := w.frontOf(w.byID[id])
	e := f.pool.Close(id, attempt, f.now())
	if e == nil || e.Running() == 0 {
		return nil
	}
	key := drainKey{id, attempt}
	if _, begun := f.drains[key]; !begun {
		f.drains[key] = w.elapsed
		w.alive(w.o.DrainTimeout, func() {
			delete(f.drains, key)
			if e.View().GetAttempt() == attempt && !e.Ready() {
				f.endAll(id)
			}
		})
	}
	if force {
		f.endAll(id)
		return nil
	}
	return notYet(ctx, "idle/"+id.String())
}

// endAll ends the requests at a worker.
func (f *front) endAll(id messages.ActorID) {
	for _, t := range f.at(id) {
		f.leave(t, messages.Outcome{Err: context.Canceled}, messages.Unavailable)
	}
}

// at are the requests that run at an actor's worker, in order.
func (f *front) at(id messages.ActorID) (out []uint64) {
	for t, r := range f.pool.Running() {
		if r.Endpoint.ID() == id {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}
