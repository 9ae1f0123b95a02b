package natsapi

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/micro"

	"modelops/messages"
)

// endpoint is one subject and what it does.
type endpoint struct {
	name      string // as stats show it; may hold no dot
	subject   string // under the root; ends in > when a name follows
	asks      string // name of the body's message, for `nats micro info`
	operation messages.Operation
	bulk      chan struct{}
	serve     func(ctx context.Context, c *call) error
	tally     *tally
}

// endpoints are inference, cancellation, and every operation of the table that has a subject. An operation whose subject may end in a name is
// there twice: NATS doesn't match "models.load.>" with "models.load".
func (a *API) endpoints() []*endpoint {
	inference, control := make(chan struct{}, a.MaxInference), make(chan struct{}, a.MaxControl)
	out := []*endpoint{{name: "cancel", subject: "cancel.>"}}
	for _, o := range messages.OperationTable() {
		if o.NATS == "" {
			continue
		}
		e := endpoint{name: strings.ReplaceAll(o.NATS, ".", "-"), subject: o.NATS, operation: o, bulk: control,
			asks: string(o.Request().ProtoReflect().Descriptor().FullName()), serve: a.operation(o)}
		switch {
		case o.Call == nil:
			e.bulk, e.serve = inference, a.infer
		case o.Name == journalOperation.Name: // it may wait for the next decision, in nobody's way
			e.bulk = make(chan struct{}, a.MaxControl)
		}
		out = append(out, &e)
		if o.NATSName != "" {
			named := e
			named.name, named.subject = e.name+"-"+strings.TrimSuffix(strings.TrimSuffix(o.NATSName, "_name"), "_id"), o.NATS+".>"
			out = append(out, &named)
		}
	}
	return out
}

func (e *endpoint) add(in *entry, group micro.Group) error {
	opts := []micro.EndpointOpt{micro.WithEndpointSubject(e.subject)}
	if e.asks != "" {
		opts = append(opts, micro.WithEndpointMetadata(map[string]string{"body": e.asks}))
	}
	if e.serve == nil {
		// Only one host runs the request, and each must get the cancellation.
		return group.AddEndpoint(e.name, micro.HandlerFunc(in.cancel), append(opts, micro.WithEndpointQueueGroupDisabled())...)
	}
	return group.AddEndpoint(e.name, micro.HandlerFunc(func(r micro.Request) { in.accept(e, r) }), opts...)
}

// accept starts a request in a goroutine of its own, because the framework calls the endpoints' functions one after another. The
// framework reads from r when accept returns, so only accept may answer through r; later answers are published past it.
func (in *entry) accept(e *endpoint, r micro.Request) {
	a := in.api
	if r.Reply() == "" {
		a.Log.Debug("a NATS request without a reply subject was dropped", "endpoint", e.name)
		return
	}
	refuse := func(err *messages.Error) {
		e.tally.end(err.Code.String(), 0)
		a.Observe(e.name, err.Code.String(), 0)
		respondError(r, err)
	}
	if !a.enter() {
		refuse(messages.NewError(messages.Unavailable, "", "the server is stopping").WithRetry(time.Second))
		return
	}
	select {
	case e.bulk <- struct{}{}:
	default:
		a.work.Done()
		refuse(messages.Errorf(messages.BulkheadRejection, "endpoint "+e.name, "%d requests are running, the most this door takes", cap(e.bulk)).
			WithRetry(100 * time.Millisecond))
		return
	}
	e.tally.running.Add(1)
	c := &call{
		api: a, in: in, endpoint: e, data: r.Data(), header: r.Headers(), to: r.Reply(),
		rest: strings.TrimPrefix(strings.TrimPrefix(r.Subject(), root+"."+strings.TrimSuffix(e.subject, ".>")), "."),
	}
	go func() {
		defer a.work.Done()
		defer func() { e.tally.running.Add(-1); <-e.bulk }()
		c.run()
	}()
}

// tally counts what really happened: the framework's own figures end when accept returns, so its times mean nothing and it sees no
// later error. They appear as "data" in the stats.
type tally struct {
	requests, errors, nanos atomic.Int64
	running                 atomic.Int64
	last                    atomic.Pointer[string]
}

func (t *tally) end(code string, took time.Duration) {
	t.requests.Add(1)
	t.nanos.Add(int64(took))
	if code != "OK" {
		t.errors.Add(1)
		t.last.Store(&code)
	}
}

// Tally is an endpoint's true figures in the service's stats.
type Tally struct {
	Requests  int64   `json:"requests"`
	Errors    int64   `json:"errors"`
	Running   int64   `json:"running"`
	AverageMS float64 `json:"average_ms"`
	LastError string  `json:"last_error,omitempty"`
}

func (a *API) stats(e *micro.Endpoint) any {
	t := a.tallies[e.Name]
	if t == nil {
		return nil
	}
	out := Tally{Requests: t.requests.Load(), Errors: t.errors.Load(), Running: t.running.Load()}
	if out.Requests > 0 {
		out.AverageMS = float64(t.nanos.Load()) / float64(out.Requests) / 1e6
	}
	if last := t.last.Load(); last != nil {
		out.LastError = *last
	}
	return out
}
