package openai

import (
	"net/http"
	"net/http/httputil"
	"strings"

	"modelops/messages"
)

// upgrades tells whether a request asks for another protocol on its connection, such as WebSocket, at an engine's own address.
func (x *exchange) upgrades() bool {
	return strings.HasPrefix(x.rt.pattern, upstreamRoot) && x.r.Header.Get("Upgrade") != ""
}

// tunnel connects the client and the engine until one of them ends it, or the request's context does.
func (x *exchange) tunnel(engine *worker, grant *messages.Grant) messages.Outcome {
	outcome := messages.Outcome{}
	x.status = http.StatusSwitchingProtocols
	p := &httputil.ReverseProxy{
		Transport: engine.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			upgrade := p.Out.Header["Upgrade"]
			p.Out.Header = requestHeader(p.In.Header, x.id, grant, x)
			p.Out.Header["Upgrade"], p.Out.Header["Connection"] = upgrade, []string{"Upgrade"}
			p.Out.URL, p.Out.Host = engine.target(x.target(grant.Upstream)), ""
		},
		ModifyResponse: func(resp *http.Response) error { x.status = resp.StatusCode; return nil },
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if x.ctx.Err() == nil {
				outcome = messages.Outcome{Failed: true, Err: err}
			}
			x.refuse(refusalOf(messages.NotAnswered(grant.Model, false, err)))
		},
	}
	p.ServeHTTP(x.w, x.r.WithContext(x.ctx))
	return outcome
}
