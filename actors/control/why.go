package control

import (
	"context"
	"errors"

	"modelops/actors/explain"
	"modelops/messages"
)

// Explain answers a question from the journal as it is now.
type Explain func(ctx context.Context, q explain.Question) (*messages.Explanation, error)

// Why explains a model, a lease, a placement or a request, from the journal and from the remembered requests.
func (c *Control) Why(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	if r.GetSubject() == "" {
		return nil, invalid("subject", "it is empty", "name a model, a request, a lease or a placement")
	}
	q, err := explain.Subject(r.GetSubject(), c.modelNamed, c.requestNamed)
	if err != nil {
		return nil, err
	}
	x, err := c.o.Explain(ctx, q)
	if e := (*messages.Error)(nil); errors.As(err, &e) && e.Code == messages.NotFound {
		return nil, e.WithHint(c.didYouMean(ctx, r.GetSubject()) + e.Hint)
	}
	return x, err
}

// modelNamed finds a declared model by name or alias.
func (c *Control) modelNamed(name string) (messages.ActorID, bool) {
	id, v := c.find(name)
	return id, v.GetSpec() != nil
}

func (c *Control) requestNamed(id string) (explain.Request, bool) {
	r, model, ok := c.o.Requests.find(id)
	if model == "" {
		model = r.Asked
	}
	if actor, known := c.modelNamed(model); known {
		r.Model = actor
	}
	return r, ok
}
