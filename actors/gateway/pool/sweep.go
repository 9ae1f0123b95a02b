package pool

import (
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// SweepEvery is how often Sweep should be called.
const SweepEvery = 250 * time.Millisecond

// Hint is a command for a model actor that follows from the pool's requests. It may be lost: the next sweeps repeat it.
type Hint struct {
	To      messages.ActorID
	Command proto.Message
}

// reviveEvery is how often a model whose own worker failed, and whose other workers serve, is asked to try again.
const reviveEvery = time.Minute

// Sweep gives the hints that follow from the passing of time: workers whose idle time is over are unloaded or put to sleep, the number of
// replicas changes, and degraded workers are replaced. stay keeps the model however idle it is.
func (p *Pool) Sweep(now time.Time, stay bool) (out []Hint) {
	p.found(now)
	if !stay {
		for _, e := range p.endpoints {
			if e.base && !e.far && p.expired(e, now) {
				out = append(out, Hint{e.id, &messages.UnloadModel{Reason: "its idle time is over"}})
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	for _, e := range p.endpoints {
		if !e.far && p.sleepy(e, now) {
			e.toldToSleep = true
			out = append(out, Hint{e.id, &messages.SleepModel{Reason: "it is idle"}})
		}
	}
	if e, why := p.eject(now); e != nil {
		out = append(out, Hint{e.baseID(), &messages.ReplaceWorker{Replica: e.id.Name(), Attempt: e.view.GetAttempt(), Reason: why}})
	}
	grows := true
	for _, e := range p.endpoints {
		if !e.base || e.far {
			continue
		}
		if p.revives(e, now) {
			out = append(out, Hint{e.id, &messages.EnsureModel{Reason: "only its other workers serve it", OnDemand: true}})
		}
		if at, why := p.spread(e, now); at != nil {
			out = append(out, Hint{at.id, &messages.EnsureModel{Reason: why}})
		}
		if n, why, ok := p.scale(e, grows, now); ok {
			out = append(out, Hint{e.id, &messages.ScaleModel{Replicas: n, Reason: why}})
		}
		grows = grows && !e.view.GetWanted() // the first host that wants the model has the replicas that requests need
	}
	return out
}

// baseID is the model actor that decides over the endpoint's worker: its own, or for a replica its base's on the same host.
func (e *Endpoint) baseID() messages.ActorID {
	return messages.ModelActor(e.id.Host(), messages.BaseOf(e.id.Name()))
}

// idleLimit is the idle time after which a host's model is unloaded; ends is false when it stays.
func (p *Pool) idleLimit(spec *messages.ModelSpec) (limit time.Duration, ends bool) {
	switch {
	case spec == nil || spec.Pinned:
		return 0, false
	case p.keep != nil:
		return *p.keep, *p.keep >= 0
	case spec.IdleMs == nil:
		return 0, false
	}
	return time.Duration(*spec.IdleMs) * time.Millisecond, *spec.IdleMs >= 0
}

// expired tells whether the idle time of a base endpoint's model is over: it should be unloaded. A limit of 0 unloads after the first
// request, not before it. A worker that sleeps is unloaded like one that is awake.
func (p *Pool) expired(base *Endpoint, now time.Time) bool {
	limit, ends := p.idleLimit(base.view.GetSpec())
	if !ends || p.idleSince.IsZero() || len(p.running)+p.waiting.n > 0 || p.countAt(base.id.Host()).ready == 0 && base.view.GetPhase() != messages.ModelView_asleep {
		return false
	}
	if limit == 0 && !p.served {
		return false
	}
	if spreads(base.view.GetSpec()) && now.Sub(p.busyElsewhere) < limit { // its workers stay and go together
		return false
	}
	return p.Idle(now) >= limit
}

// sleepy tells whether an endpoint's engine should be put to sleep. It is told once for an idle time.
func (p *Pool) sleepy(e *Endpoint, now time.Time) bool {
	spec := p.declared.GetSpec()
	return e.ready && !e.toldToSleep && spec != nil && spec.SleepMs != nil && *spec.SleepMs > 0 &&
		p.Idle(now) >= time.Duration(*spec.SleepMs)*time.Millisecond
}

// revives tells whether a failed model should start its own worker again. Requests don't ask for it while other endpoints serve them.
func (p *Pool) revives(base *Endpoint, now time.Time) bool {
	if base.view.GetPhase() != messages.ModelView_failed || !p.Ready() {
		base.revived = now
		return false
	}
	if now.Sub(base.revived) < reviveEvery {
		return false
	}
	base.revived = now
	return true
}
