package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/actors/explain"
	"modelops/messages"
)

// Explain answers a question from the journals as they are now.
type Explain func(ctx context.Context, q explain.Question) (*messages.Explanation, error)

// Why explains a model, a job, a lease, a placement or a request. Of another host's model that host knows most; while it can't be reached, the copy of
// its journal answers.
func (c *Control) Why(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, error) {
	if r.GetSubject() == "" {
		return nil, invalid("subject", "it is empty", "name a model, a request, a lease or a placement")
	}
	if err := c.isKnownHost(ctx, r.Host); err != nil {
		return nil, err
	}
	named := func(name string) (messages.ActorID, bool) { return c.modelAt(ctx, name, r.Host) }
	remembered := func(id string) (explain.Request, bool) { return c.requestNamed(id, named) }
	if r.Host != "" && r.Host != c.o.Host {
		remembered = nil // requests are remembered where they came in
	}
	subject := r.GetSubject()
	if kind, _, _ := strings.Cut(subject, "/"); kind == messages.KindJob || kind == messages.KindGoal { // job/ID and goal/NAME are of the asked host
		if id, err := messages.ActorNamed(subject, cmp.Or(r.Host, c.o.Host), c.knows); err == nil {
			subject = id.String()
		}
	}
	q, err := explain.Subject(subject, named, remembered)
	if err != nil {
		return nil, err
	}
	q.Host = r.Host
	if at := cmp.Or(r.Host, q.Home()); q.Request == nil && c.isElsewhere(ctx, at) && c.o.Hosts.Reached(at) {
		x, err := there[*messages.Explanation](ctx, c, at, "Why", &messages.WhyRequest{Subject: subjectAt(r.Subject, q), Host: at})
		if !unanswered(err) {
			return x, err
		}
	}
	x, err := c.o.Explain(ctx, q)
	if e := (*messages.Error)(nil); errors.As(err, &e) && e.Code == messages.NotFound {
		if x, found := c.remembersElsewhere(ctx, r); found {
			return x, nil
		}
		return nil, e.WithHint(c.didYouMean(ctx, r.GetSubject()) + e.Hint)
	}
	if err == nil {
		c.sayCopy(x)
		c.differing(x, q)
	}
	return x, err
}

// differing adds that a model is another file on another host, which keeps its requests from being served there.
func (c *Control) differing(x *messages.Explanation, q explain.Question) {
	if c.o.Differences == nil || q.Model.Kind == messages.KindJob {
		return
	}
	for _, e := range c.o.Differences() {
		if e.Subject == q.Model.Name() {
			x.Reasons = append(x.Reasons, &messages.Reason{At: c.o.Now().UTC().Format(time.RFC3339Nano), Text: e.Message})
			x.WouldChange = append(x.WouldChange, e.Hint)
		}
	}
}

func unanswered(err error) bool {
	code := messages.CodeOf(err)
	return code == messages.Unavailable || code == messages.DeadlineExceeded
}

// subjectAt is what the host of a model is asked: its own name for it.
func subjectAt(subject string, q explain.Question) string {
	switch q.Model.Kind {
	case messages.KindJob:
		return q.Model.String()
	case messages.KindModel:
		return q.Model.Name()
	}
	if q.Home() != "" { // a goal
		return q.ID
	}
	return subject
}

// isKnownHost refuses the name of a host that is no member and of whose journal there is no copy.
func (c *Control) isKnownHost(ctx context.Context, host string) error {
	if host == "" || host == c.o.Host || c.isElsewhere(ctx, host) {
		return nil
	}
	if c.o.Copies != nil {
		if _, err := c.o.Copies(ctx, host, ""); err == nil {
			return nil
		}
	}
	return messages.NoMember(host)
}

// modelAt finds a declared model by name, alias or HOST/NAME: of a host, else the one that is loaded, here before elsewhere, else the one that this
// host declares, else the first.
func (c *Control) modelAt(ctx context.Context, name, host string) (messages.ActorID, bool) {
	if c.o.Hosts == nil || messages.PeerFrom(ctx) != "" {
		return c.modelNamed(name)
	}
	if at, rest, ok := strings.Cut(name, "/"); ok && host == "" && (at == c.o.Host || c.o.Hosts.Has(at)) {
		host, name = at, rest
	}
	var found messages.ActorID
	best := 0
	for _, v := range c.o.View.Models() {
		id, err := messages.ParseActorID(v.Id)
		if err != nil || v.Spec == nil || host != "" && id.Host() != host || v.Name != name && !slices.Contains(v.Spec.Aliases, name) {
			continue
		}
		rank := 1
		if resident(v) && (id.Host() == c.o.Host || c.o.Hosts.Reached(id.Host())) {
			rank = 3
		}
		if id.Host() == c.o.Host {
			rank++
		}
		if rank > best {
			found, best = id, rank
		}
	}
	return found, best > 0
}

// modelNamed finds a declared model of this host by name or alias.
func (c *Control) modelNamed(name string) (messages.ActorID, bool) {
	id, v := c.find(name)
	return id, v.GetSpec() != nil
}

// remembersElsewhere asks the other hosts, which remember the requests that came in there.
func (c *Control) remembersElsewhere(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, bool) {
	if r.Host != "" {
		return nil, false
	}
	said, _ := c.others(ctx)
	for _, h := range said {
		if h.Stale {
			continue
		}
		if x, err := there[*messages.Explanation](ctx, c, h.Host, "Why", &messages.WhyRequest{Subject: r.Subject, Host: h.Host}); err == nil {
			return x, true
		}
	}
	return nil, false
}

// sayCopy says in words that the host which an explanation is about couldn't be asked.
func (c *Control) sayCopy(x *messages.Explanation) {
	x.Host = cmp.Or(x.Host, c.o.Host)
	x.SaidBy = c.o.Host
	if x.Host == c.o.Host || c.o.Hosts != nil && c.o.Hosts.Reached(x.Host) {
		return
	}
	why := "can't be reached"
	if c.o.Hosts != nil && !c.o.Hosts.Has(x.Host) {
		why = "is no member of this cluster any more"
	}
	for _, k := range x.Copies {
		if k.Host == x.Host {
			x.Summary = fmt.Sprintf("%s %s. By its journal, which %s has up to decision %d as of %s ago: %s", x.Host, why, x.SaidBy, k.Copied,
				(time.Duration(k.AgeMs) * time.Millisecond).Round(time.Second), x.Summary)
			return
		}
	}
	x.Summary = fmt.Sprintf("%s %s, and %s has no copy of its journal. By other journals: %s", x.Host, why, x.SaidBy, x.Summary)
}

func (c *Control) requestNamed(id string, named func(string) (messages.ActorID, bool)) (explain.Request, bool) {
	r, model, ok := c.o.Requests.find(id)
	if model == "" {
		model = r.Asked
	}
	if actor, known := named(model); known {
		r.Model = actor
	}
	return r, ok
}
