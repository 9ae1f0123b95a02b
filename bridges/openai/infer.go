package openai

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"modelops/messages"
)

// statusClientGone is counted for a caller that left. It is never sent.
const statusClientGone = 499

// anyClass is the class in the metrics where no keys are configured.
const anyClass = "default"

// exchange is one request on its way. Its context is the client's, with the deadline it asked for: when it ends, the
// request ends in the queue, in loading and at the engine.
type exchange struct {
	api *API
	// observe is the API's, or the part of it that a batch uses.
	observe Observer
	w       http.ResponseWriter
	r       *http.Request
	rt      route
	id      string
	ctx     context.Context
	began   time.Time
	caller  messages.Caller
	q       *question
	pulse   *pulse
	sending messages.Sending
	room    messages.Body   // what the body takes of the memory for all bodies
	shared  bool            // it carries the requests of several callers, which are sent alone after a refusal that may be one's
	served  *messages.Grant // of the worker that answered
	// model is the name for logs and metrics: as asked for until a grant resolves it.
	model string
	// status is what is counted.
	status   int
	answered int64 // bytes of the answer
	// abort: the answer is cut, and only closing the connection can still tell the client.
	abort bool
	cause error
}

func (a *API) infer(w http.ResponseWriter, r *http.Request, rt route, id string, caller messages.Principal) {
	x := &exchange{api: a, observe: a.observe, w: w, r: r, rt: rt, id: id, ctx: r.Context(), began: time.Now()}
	defer x.report()
	x.admit(caller)
	timeout, bad := timeoutOf(r.Header)
	if bad != nil {
		x.refuse(bad)
		return
	}
	if timeout > 0 {
		ctx, cancel := context.WithTimeout(x.ctx, timeout)
		defer cancel()
		x.ctx = ctx
	}
	x.room = a.bodies.Body()
	defer x.over()
	body, bad := readBody(x.ctx, w, r, a.maxBody, &x.room)
	if bad != nil {
		x.refuse(bad)
		return
	}
	if body, bad = x.unpacked(body); bad == nil {
		x.q, bad = x.ask(body)
	}
	if bad != nil {
		x.refuse(bad)
		return
	}
	x.model = x.q.model
	if x.q.stream && a.heartbeat > 0 {
		x.pulse = startPulse(w, a.heartbeat, a.queuePatience)
		defer x.pulse.stop()
		x.caller.OnQueued = x.pulse.told
	}
	x.caller.KeepAlive = x.q.keepAlive
	x.caller.Asked = time.Now()
	x.ctx = messages.WithCaller(x.ctx, x.caller)
	if m := a.memberOf(x); m != nil {
		x.together(m)
	} else {
		x.forward()
	}
	if x.abort {
		panic(http.ErrAbortHandler) // net/http closes the connection without the end mark of the body
	}
}

// turnAway refuses a caller, and counts it where its route is an engine's.
func (a *API) turnAway(w http.ResponseWriter, r *http.Request, rt route, id string, bad *refusal) {
	if r.Pattern == "" {
		bad.write(w, rt)
		return
	}
	x := &exchange{api: a, observe: a.observe, w: w, r: r, rt: rt, id: id, ctx: r.Context(), began: time.Now()}
	defer x.report()
	x.refuse(bad)
}

// admit puts the caller into the exchange.
func (x *exchange) admit(caller messages.Principal) {
	x.caller = messages.Caller{Principal: caller, RequestID: x.id, Only: messages.Only{Host: x.r.Header.Get(messages.HostHeader)}}
	x.ctx = messages.WithMeta(x.ctx, messages.Meta{Correlation: x.id, Caller: caller.Fingerprint})
}

func (a *API) callerOf(r *http.Request, rt route) (messages.Principal, *refusal) {
	authorize := a.authenticate.AuthorizeInference
	if rt.readers {
		authorize = a.authenticate.AuthorizeEngine
	}
	caller, err := authorize(r.Context(), messages.CredentialsIn(r.Header, r.RemoteAddr))
	if err != nil {
		return caller, refusalOf(err)
	}
	return caller, nil
}

// forward sends the request, and again as messages.Sending allows.
func (x *exchange) forward() {
	x.sending = messages.Sending{Pause: x.api.retryDelay}
	for !x.attempt() {
		if err := x.sending.Wait(x.ctx); err != nil {
			x.refuse(refusalOf(err))
			return
		}
	}
}

// attempt waits for a place and sends the request to the worker there. It is over when the client has an answer or an
// error.
func (x *exchange) attempt() (over bool) {
	grant, err := x.api.gateway.Admit(x.ctx, x.q.model)
	if err != nil {
		x.refuse(refusalOf(err))
		return true
	}
	var outcome messages.Outcome
	asked := int64(len(x.q.body))
	defer func() {
		outcome.Path, outcome.Bytes = x.rt.path, asked+x.answered
		grant.Release(outcome)
	}()
	x.model = grant.Model
	x.pulse.placed()
	if x.sending.First() {
		x.observe.ObserveQueueWait(grant.Model, grant.Queued)
	}
	engine, err := x.api.workers.at(grant.URL)
	if err != nil {
		outcome = messages.Outcome{Failed: true, Err: err}
		x.refuse(refusalOf(messages.NewError(messages.Internal, grant.Model, "the worker's address can't be read").WithCause(err)))
		return true
	}
	defer engine.leave()
	defer x.while(grant)()
	if x.upgrades() {
		if grant.Host != "" {
			x.refuse(refusalOf(messages.Errorf(messages.Unsupported, grant.Model, "a connection can't be handed over to a worker of host %s", grant.Host).WithHint("ask that host itself")))
			return true
		}
		outcome = x.tunnel(engine, grant)
		return true
	}
	resp, err := x.send(engine, grant)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		grant.QueuedThere(resp.Header)
		x.letGo(resp)
		x.served = grant
		outcome = x.sending.Outcome(grant, x.relay(resp, grant, engine))
		return true
	}
	engine.transport.CloseIdleConnections()
	var again bool
	outcome, again = x.sending.Failed(x.ctx, grant, err)
	switch {
	case x.ctx.Err() != nil:
		x.refuse(refusalOf(context.Cause(x.ctx)))
	case again:
		x.api.log.Debug("sending a request again", "model", x.model, "correlation", x.id, "error", errors.Unwrap(messages.AsError(err)))
		return false
	default:
		x.refuse(refusalOf(err))
	}
	return true
}

// letGo gives up a body that isn't sent again: the answer may take long.
func (x *exchange) letGo(resp *http.Response) {
	if len(x.q.body) > batchBytes { // else it may be part of a batch
		x.q.body, resp.Request = nil, nil // the request holds it too
		x.room.Free()
	}
}

// over gives up the body of a request that has ended.
func (x *exchange) over() {
	if x.q != nil {
		x.q.body = nil
	}
	x.room.Free()
}

// while ends the exchange's context when the grant is revoked; done restores the former one.
func (x *exchange) while(grant *messages.Grant) (done func()) {
	if grant.Ended == nil {
		return func() {}
	}
	before := x.ctx
	ctx, cancel := context.WithCancelCause(before)
	stop := context.AfterFunc(grant.Ended, func() { cancel(context.Cause(grant.Ended)) })
	x.ctx = ctx
	return func() {
		stop()
		cancel(nil)
		x.ctx = before
	}
}

// refuse answers with an error in the form that is still possible.
func (x *exchange) refuse(bad *refusal) {
	begun := x.pulse.stop()
	bad = x.endOf(bad)
	x.status, x.cause = bad.err.Code.Wire().HTTP, bad.err
	switch {
	case x.r.Context().Err() != nil && !bad.anyway:
		x.status, x.abort = statusClientGone, true
	case begun:
		_, _ = x.w.Write(append(bad.event(x.rt), x.rt.end()...))
	default:
		bad.write(x.w, x.rt)
	}
}

// endOf tells a deadline that passed from a client that left, whatever the error underneath says.
func (x *exchange) endOf(bad *refusal) *refusal {
	if bad.err.Code == messages.Cancelled && errors.Is(x.ctx.Err(), context.DeadlineExceeded) {
		return refusalOf(x.ctx.Err())
	}
	return bad
}

// report counts the request and writes the one line that the log has on it.
func (x *exchange) report() {
	took := time.Since(x.began)
	if x.status == 0 {
		x.status = http.StatusInternalServerError // a panic passes by
	}
	x.observe.ObserveRequest(x.model, strconv.Itoa(x.status), cmp.Or(x.caller.Class, anyClass), took)
	if x.cause == nil || x.status < 500 {
		return
	}
	x.api.log.Warn("request failed", "model", x.model, "correlation", x.id, "path", x.r.URL.Path, "status", x.status, "took", took, "error", x.cause)
}
