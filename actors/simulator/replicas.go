package simulator

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/model"
	"modelops/messages"
)

// Replicas are actors that exist from the first command to them. They are never removed: their names are used again.

// condition is what a worker that says it is well does to requests.
type condition int

const (
	well condition = iota
	slow
	failing
	silent
)

// answers is how long a worker takes for a request, and with which code it answers. No worker answers nothing.
func (k *worker) answers(takes time.Duration) (time.Duration, messages.Code) {
	switch {
	case k == nil || k.hung || k.condition == silent:
		return runLongest, messages.DeadlineExceeded
	case k.condition == failing:
		return min(takes, 50*time.Millisecond), messages.Internal
	case k.condition == slow:
		return min(10*takes, runLongest/2), 0
	}
	return takes, 0
}

// declared is what the world knows about the model of an actor, or about that whose replica it is.
func (w *World) declared(i int) Model { return w.o.Models[w.modelOf[i]] }

// declaredActors are the actors of the models themselves, on all hosts.
func (w *World) declaredActors() []*node[model.State] { return w.models[:w.o.Hosts*len(w.o.Models)] }

// modelNamed is what the world knows about a model by its name, or by that of a replica.
func (w *World) modelNamed(name string) Model {
	return w.o.Models[slices.IndexFunc(w.o.Models, func(m Model) bool { return m.Name == messages.BaseOf(name) })]
}

// indexOf finds a model's actor; -1 when there is none.
func (w *World) indexOf(id string) int {
	if a, err := messages.ParseActorID(id); err == nil {
		if i, ok := w.byID[a]; ok {
			return i
		}
	}
	return -1
}

// join brings a model's actor into being; of is the index of the model, its own or that whose replica it is.
func (w *World) join(id messages.ActorID, of int) {
	i := len(w.models)
	m := newNode(w, w.modelKind, id)
	m.changed = func(events []proto.Message) {
		w.views[i] = model.View(m.state).(*messages.ModelView)
		w.fronts[of].update(w.views[i])
		w.viewed()
	}
	w.byID[id] = i
	w.modelOf = append(w.modelOf, of)
	w.models, w.views = append(w.models, m), append(w.views, model.View(m.state).(*messages.ModelView))
	w.nodes[m.id] = m
}

// found is an actor; a replica of a model that there is comes into being when it is spoken to.
func (w *World) found(id messages.ActorID) anyNode {
	if base, replica := messages.ReplicaOf(id.Name()); replica && w.nodes[id] == nil && id.Kind == messages.KindModel {
		if of, ok := w.byID[messages.ModelActor(id.Host(), base)]; ok {
			w.join(id, w.modelOf[of])
			w.nodes[id].rebuild()
		}
	}
	if c := w.nodes[id]; c != nil {
		return c
	}
	return nil
}

// replicated tells whether any model may have replicas. Other worlds draw no random numbers for them.
func (w *World) replicated() bool {
	for _, m := range w.o.Models {
		if m.MaxReplicas > 1 {
			return true
		}
	}
	return false
}

// rescale changes the number of a model's workers at random, or has one replaced.
func (w *World) rescale(i int) {
	most := w.o.Models[i].MaxReplicas
	if most < 2 || w.down {
		return
	}
	base := messages.ModelActor(w.host(0), w.o.Models[i].Name)
	if w.o.Hosts > 1 {
		base = messages.ModelActor(w.host(w.rng.IntN(w.o.Hosts)), base.Name())
	}
	switch w.rng.IntN(40) {
	case 0, 1:
		door{w}.Tell(&try{}, base, &messages.ScaleModel{Replicas: uint32(1 + w.rng.IntN(most)), Reason: "by chance"})
	case 2:
		all := w.fronts[i].pool.Endpoints()
		if e := all[w.rng.IntN(len(all))]; e.Ready() {
			door{w}.Tell(&try{}, messages.ModelActor(e.ID().Host(), base.Name()), &messages.ReplaceWorker{Replica: e.ID().Name(), Attempt: e.View().GetAttempt(), Reason: "by chance"})
		}
	}
}

// degradeOne lets a worker do its work badly from now on.
func (w *World) degradeOne() {
	if k := w.anyWorker(); k != nil && k.ready {
		k.condition = condition(1 + w.rng.IntN(3))
		w.say("worker %d of %s is degraded (%d)", k.pid, w.models[k.model].id, k.condition)
	}
}

// stored notes what later checks need, also when the coordinator dies on the stored decision.
func (w *World) stored(id messages.ActorID, events []proto.Message) {
	for _, e := range events {
		w.jobEvents(id, e)
		switch e := e.(type) {
		case *messages.VramReserved:
			w.noteGrant(grantKey{id, e.Lease}, grant{e.Holder, w.sequence})
			w.obeys(id, e.Arbiter, e.ArbiterEpoch)
			w.due[grantKey{id, e.Lease}] = w.elapsed + time.Duration(e.TtlSeconds)*time.Second
		case *messages.ModelLoadStarted:
			w.obeys(id, e.Placement.GetArbiter(), e.Placement.GetArbiterEpoch())
		case *messages.ModelUnwanted:
			w.obeys(id, "", e.ArbiterEpoch)
			if isSpare(e) && w.far != nil {
				w.checkSpare(id)
			}
		case *messages.ModelReady:
			w.readied[id] = e.At.AsTime().UnixMilli()
		case *messages.WorkerDegraded:
			w.degraded[id] = e.At.AsTime().UnixMilli()
		}
	}
}

// checkReplaced: a replacement is ready before the degraded worker has to go.
func (w *World) checkReplaced(base messages.ActorID, e *messages.WorkerReplaced) {
	if w.readied[messages.ModelActor(base.Host(), e.Replacement)] < w.degraded[base] {
		w.violated("%s lets its worker go, but %s was never ready since", base, e.Replacement)
	}
}

// replicaUnrest says what is still under way among a model's workers.
func (w *World) replicaUnrest(m *node[model.State]) string {
	s := &m.state
	if base, replica := messages.ReplicaOf(m.id.Name()); replica {
		r, known := w.models[w.byID[messages.ModelActor(m.id.Host(), base)]].state.Replicas[m.id.Name()]
		if !known && (s.Phase != model.Absent || s.Wanted) {
			return fmt.Sprintf("%s is %s, and %s doesn't know it", m.id, s.Phase, base)
		}
		if known && !r.Wanted {
			return fmt.Sprintf("%s wasn't removed", m.id)
		}
		return ""
	}
	for name, r := range s.Replicas {
		if !r.Settled {
			return fmt.Sprintf("%s hasn't heard of %s", name, m.id)
		}
	}
	if s.Replacement != nil && (s.Phase != model.Failed || w.frontOf(w.byID[m.id]).pool.Ready()) { // where no endpoint is ready, the next request lets a failed model try again
		return fmt.Sprintf("%s replaces the worker of %s", m.id, s.Replacement.Replica)
	}
	return ""
}

// unloadAll unloads everything: then nothing is held.
func (w *World) unloadAll() {
	for _, m := range w.declaredActors() {
		door{w}.Tell(&try{}, m.id, &messages.UnloadModel{Reason: "the day is over"})
	}
}

// left says what is left when nothing is wanted.
func (w *World) left() string {
	for _, l := range w.ledgers {
		for id, lease := range l.state.Leases {
			return fmt.Sprintf("%s holds lease %s of %s", l.id, id, lease.Holder)
		}
	}
	for _, k := range w.workers {
		return fmt.Sprintf("worker %d of %s is alive", k.pid, w.models[k.model].id)
	}
	return ""
}
