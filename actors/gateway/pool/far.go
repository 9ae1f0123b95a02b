package pool

import (
	"time"

	"modelops/messages"
)

// Far endpoints: workers of other hosts, which rule over them. They get requests as long as their host is reached.

// lostFor is how long an endpoint gets no request after one that didn't reach it. Mostly it is known by then whether its host is gone.
const lostFor = time.Second

// Far tells whether another host rules over the endpoint.
func (e *Endpoint) Far() bool { return e.far }

// serves tells whether a request may run at the endpoint.
func (e *Endpoint) serves(only messages.Only) bool {
	return (only.Host == "" || only.Host == e.id.Host()) && (only.Worker == "" || only.Worker == e.id.Name())
}

// judge finds out again whether an endpoint may be given requests.
func (p *Pool) judge(e *Endpoint, now time.Time) {
	e.ready = e.view.GetPhase() == messages.ModelView_ready && e.view.GetAttempt() > e.closed && !e.out() && !now.Before(e.lost)
}

// lose notes that a request didn't reach a far endpoint: others go elsewhere at once, rather than each finding out by itself.
func (p *Pool) lose(e *Endpoint, o messages.Outcome, now time.Time) {
	if e.far && o.Unreachable {
		e.lost = now.Add(lostFor)
		p.rejudge(e, now)
	}
}

// found gives endpoints that were lost requests again.
func (p *Pool) found(now time.Time) {
	for _, e := range p.endpoints {
		if !e.lost.IsZero() && !now.Before(e.lost) {
			e.lost = time.Time{}
			p.rejudge(e, now)
		}
	}
}

// Reach takes whether a host is reached. Its endpoints vanish and come back with it.
func (p *Pool) Reach(host string, up bool, now time.Time) {
	for _, e := range p.endpoints {
		if e.far && e.id.Host() == host && e.away == up {
			e.away, e.lost, e.others = !up, time.Time{}, 0
			p.rejudge(e, now)
		}
	}
}

// out tells whether nothing is sent to the endpoint, whatever its worker does.
func (e *Endpoint) out() bool { return e.away || e.differs != nil }

// Differs is why nothing is sent to the endpoint, when its host serves another file under the model's name.
func (e *Endpoint) Differs() error { return e.differs }

// Compare takes which hosts serve another file under the model's name than this one. A refusal says that all of them differ, and that this one has none: the
// caller must refuse every waiting request with it.
func (p *Pool) Compare(differs func(host string) error, now time.Time) (refusal error) {
	for _, e := range p.endpoints {
		if !e.far {
			continue
		}
		was := e.out()
		if e.differs = differs(e.id.Host()); e.out() != was {
			p.rejudge(e, now)
		}
	}
	return p.differing()
}

// differing is the refusal when no host is left whose file may serve here.
func (p *Pool) differing() (why error) {
	for _, e := range p.endpoints {
		switch {
		case !e.base || e.view.GetSpec() == nil:
		case e.differs == nil:
			return nil
		case why == nil:
			why = e.differs
		}
	}
	return why
}

// rejudge is judge with what follows for the pool.
func (p *Pool) rejudge(e *Endpoint, now time.Time) {
	was := p.Ready()
	p.judge(e, now)
	switch is := p.Ready(); {
	case is && !was:
		p.warmed(e.view, now)
	case was && !is:
		p.seek.next, p.seek.pause = time.Time{}, 0
		if p.waiting.n > 0 && p.coldSince.IsZero() {
			p.coldSince = now
		}
	}
}

// Load takes how many requests run at an endpoint of another host, as that host says anew. Those of this one are among them, or were until a moment
// ago: that so many of others run is believed only beyond the most that ran from here.
func (p *Pool) Load(id messages.ActorID, active int, now time.Time) {
	if e := p.Endpoint(id); e != nil && e.far {
		if active > 0 {
			p.busyElsewhere = now
		}
		e.others, e.peak = max(active-max(e.running, e.peak), 0), e.running
	}
}

// Homes are the hosts that a waiting request waits for: those that declare the model, may serve the request and can be asked now. There are none once a worker
// serves it, sleeps or loads.
func (p *Pool) Homes(only messages.Only) (hosts []string) {
	if p.readyFor(only) || p.Loads() || p.sleeper() != nil {
		return nil
	}
	for _, e := range p.endpoints {
		if e.base && e.view.GetSpec() != nil && !e.out() && e.serves(only) {
			hosts = append(hosts, e.id.Host())
		}
	}
	return hosts
}

// readyFor is Ready for a request that may be bound to a place.
func (p *Pool) readyFor(only messages.Only) bool {
	for _, e := range p.endpoints {
		if e.ready && e.serves(only) {
			return true
		}
	}
	return false
}

// missing is the refusal of a request that is bound to a place where it will never run, or to a worker that isn't there now.
func (p *Pool) missing(only messages.Only, ready bool) error {
	switch {
	case ready || only.Anywhere():
		return nil
	case only.Worker != "":
		return noWorker(only)
	}
	for _, e := range p.endpoints {
		if !e.serves(only) || e.view.GetSpec() == nil {
			continue
		}
		switch {
		case e.differs != nil:
			return e.differs
		case e.away:
			return messages.Errorf(messages.Unavailable, "host "+only.Host, "host %s can't be reached", only.Host).WithRetry(lostFor)
		}
		return nil
	}
	return messages.Errorf(messages.ModelNotFound, messages.ModelActor(only.Host, p.name).String(), "Model '%s' not found on host %s", p.name, only.Host).
		WithHint("modelops cluster lists the hosts, and modelops models what each of them has")
}

// noWorker is the refusal of what was passed on to a worker of this host.
func noWorker(only messages.Only) error {
	return messages.NewError(messages.Unavailable, messages.ModelActor(only.Host, only.Worker).String(), "the worker isn't ready any more").WithRetry(lostFor)
}

// stranded takes requests out that were passed on to a worker which isn't ready any more: the host that passed them on may have another one.
func (p *Pool) stranded(now time.Time) (out []uint64, why error) {
	for i := range p.waiting.lines {
		l := &p.waiting.lines[i]
		if len(l.rs) == 0 || l.only.Worker == "" || p.readyFor(l.only) {
			continue
		}
		out, why = append(out, l.tickets()...), noWorker(l.only)
		p.host.Unqueue(len(l.rs))
		p.waiting.n -= len(l.rs)
		l.rs = nil
	}
	if out != nil {
		p.rest(now)
	}
	return out, why
}

// summon asks the models of hosts to which waiting requests are bound to be loaded there.
func (p *Pool) summon(now time.Time) (out []Intent) {
	for _, l := range p.waiting.lines {
		if len(l.rs) == 0 || l.only.Host == "" || l.only.Worker != "" || p.readyFor(l.only) {
			continue
		}
		for _, e := range p.endpoints {
			if e.base && e.serves(l.only) && (e.asleep() || !e.onItsWay()) {
				out = append(out, p.wake(e, now)...)
			}
		}
	}
	return out
}
