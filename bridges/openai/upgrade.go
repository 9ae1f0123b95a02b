package openai

import (
	"context"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"modelops/messages"
)

// upgrades tells whether a request asks for another protocol on its connection, such as WebSocket, at an engine's own address.
func (x *exchange) upgrades() bool {
	return strings.HasPrefix(x.rt.pattern, upstreamRoot) && x.r.Header.Get("Upgrade") != ""
}

// recheckEvery is how often a tunnel's caller is looked at again: a tunnel may stay open for days, and its key end meanwhile.
const recheckEvery = 5 * time.Second

// recheck ends a tunnel whose caller may no longer have it. While nobody can know that, it stays.
func (x *exchange) recheck(ctx context.Context, end context.CancelCauseFunc) {
	look := time.NewTicker(x.api.recheck)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		caller, bad := x.api.callerOf(x.r, x.rt)
		if bad == nil {
			if err := caller.AllowsInference(messages.ModelNamed(x.model, messages.Resolver(x.api.gateway.Models()))); err != nil {
				bad = refusalOf(err)
			}
		}
		if bad != nil && (bad.err.Code == messages.Unauthenticated || bad.err.Code == messages.PermissionDenied || bad.err.Code == messages.BulkheadRejection) {
			x.api.log.Info("a tunnel ends: its caller may no longer have it", "model", x.model, "caller", x.caller.Fingerprint)
			end(bad.err)
			return
		}
	}
}

// tunnel connects the client and the engine until one of them ends it, the request's context does, or the caller's key.
func (x *exchange) tunnel(engine *worker, grant *messages.Grant) messages.Outcome {
	outcome := messages.Outcome{}
	x.status = http.StatusSwitchingProtocols
	ctx, end := context.WithCancelCause(x.ctx)
	defer end(nil)
	go x.recheck(ctx, end)
	p := &httputil.ReverseProxy{
		Transport: engine.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			upgrade := p.Out.Header["Upgrade"]
			p.Out.Header = requestHeader(p.In.Header, x.id, grant, x)
			p.Out.Header["Upgrade"], p.Out.Header["Connection"] = upgrade, []string{"Upgrade"}
			p.Out.URL, p.Out.Host = engine.target(x.target(grant.Upstream)), ""
		},
		ModifyResponse: func(resp *http.Response) error {
			x.status = resp.StatusCode
			for name := range resp.Header {
				if !ofEngine(name) {
					delete(resp.Header, name)
				}
			}
			x.confine(resp.Header)
			x.redirect(resp.Header, engine, grant.Upstream)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if ctx.Err() == nil {
				outcome = messages.Outcome{Failed: true, Err: err}
			}
			x.refuse(refusalOf(messages.NotAnswered(grant.Model, false, err)))
		},
	}
	p.ServeHTTP(x.w, x.r.WithContext(ctx))
	return outcome
}
