package openai

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// An engine may answer with a page, such as llama-server's own. A browser takes it for one of this host's, because it comes from the same origin: its scripts
// could ask for the token of our pages, read what this host shows, and change it, with what the browser's user may do here (where nobody needs a key, or
// behind a proxy that signs users in). So a page under /upstream/MODEL/ is confined to the addresses under it, and keeps its own storage and scripts; what an
// engine answers elsewhere is no page. A path in a policy doesn't count after a redirect, so redirects are kept under it too, and a service worker, which could
// make pages without a policy, isn't let in. It opens no windows: a window of this host would be one without the policy.

// unpaged are the policies of answers that aren't pages.
var unpaged = []string{"default-src 'none'; frame-ancestors 'none'; sandbox"}

const contentPolicy = "Content-Security-Policy"

// confine puts the policy on an engine's answer. A policy of the engine's own goes on holding beside it.
func (x *exchange) confine(h http.Header) {
	policy := unpaged
	if x.rt.upstream() {
		policy = []string{confined(x.r.Host, x.rt.root())}
	}
	if own := h[contentPolicy]; len(own) > 0 {
		policy = append(slices.Clone(own), policy...)
	}
	h[contentPolicy] = policy
}

// upstream tells whether a route is an engine's own address.
func (rt route) upstream() bool { return rt.pattern == upstreamRoot+"{model}" }

// root is the path under which an engine's own addresses are, without a slash at its end.
func (rt route) root() string { return upstreamRoot + rt.model }

// confined is the policy of a page that may use what is under a path, and from elsewhere only what can't act here: a script or an image of a library's host.
func confined(host, root string) string {
	if host == "" || strings.ContainsFunc(host, unnameable) {
		return "sandbox allow-scripts allow-forms" // a policy can't name the host: the page gets an origin of its own, and no storage
	}
	path := strings.NewReplacer(";", "%3B", ",", "%2C").Replace((&url.URL{Path: root + "/"}).EscapedPath())
	own := host + path
	talks := own + " ws://" + own + " wss://" + own
	return "default-src " + own + " 'unsafe-inline' 'unsafe-eval' data: blob: https:; connect-src " + talks + " data: blob:; frame-src " + own + " data: blob:; " +
		"worker-src " + own + " blob:; object-src 'none'; form-action " + own + "; base-uri " + own + "; sandbox allow-scripts allow-same-origin allow-forms allow-modals allow-downloads"
}

// unnameable is true of what can't stand in a host of a policy, such as the brackets of an IPv6 address.
func unnameable(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == ':')
}

// redirect keeps a redirect of an engine under its path. One that leads to another address of this host is dropped.
func (x *exchange) redirect(h http.Header, engine *worker, upstream string) {
	said := h.Get("Location")
	if said == "" || !x.rt.upstream() {
		return
	}
	asked, base := engine.target(x.target(upstream)), engine.base
	h.Del("Location")
	to, err := url.Parse(said)
	if err != nil {
		return
	}
	to = asked.ResolveReference(to)
	if to.Host != base.Host {
		if !strings.EqualFold(to.Hostname(), (&url.URL{Host: x.r.Host}).Hostname()) {
			h.Set("Location", to.String())
		}
		return
	}
	rest, under := strings.CutPrefix(to.Path, base.Path)
	if !under || slices.ContainsFunc(strings.FieldsFunc(rest, func(c rune) bool { return c == '/' || c == '\\' }), func(part string) bool { return part == ".." }) {
		return
	}
	h.Set("Location", (&url.URL{Path: x.rt.root() + "/" + strings.TrimPrefix(rest, "/"), RawQuery: to.RawQuery, Fragment: to.Fragment}).String())
}

// worksInBackground tells whether a browser asks for a service worker. Pages can't leave the header out.
func worksInBackground(r *http.Request) bool { return r.Header.Get("Service-Worker") != "" }
