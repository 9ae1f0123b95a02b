package main

import (
	"context"
	"time"

	"modelops/actors/control"
	reasons "modelops/actors/explain"
	"modelops/journal"
	"modelops/messages"
)

func (d *daemon) newRequests() *control.Requests {
	return &control.Requests{Now: time.Now, PID: func(model string) int64 {
		return d.view.Model(messages.ModelActor(d.host, model)).GetWorker().GetPid()
	}}
}

// Why explains a model, a lease, a placement or a request, from the journal as it is now and from what is remembered of requests.
func (c operations) Why(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	q, err := reasons.Subject(r.GetSubject(), c.modelNamed, c.requestNamed)
	if err != nil {
		return nil, err
	}
	reading := reasons.Open(q)
	err = c.d.journal.Replay(ctx, journal.Query{Unknown: true}, func(rec messages.Recorded) error {
		reading.Take(rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reading.Explain(reasons.Present{Now: time.Now(), Tries: c.d.cfg.Load.Retries + 1})
}

// modelNamed finds a model by name or alias.
func (c operations) modelNamed(name string) (messages.ActorID, bool) {
	id := messages.ModelActor(c.d.host, c.canonical(name))
	return id, c.d.view.Model(id).GetSpec() != nil
}

func (c operations) requestNamed(id string) (reasons.Request, bool) {
	r, model, ok := c.d.requests.Find(id)
	if model == "" {
		model = r.Asked
	}
	if actor, known := c.modelNamed(model); known {
		r.Model = actor
	}
	return r, ok
}
