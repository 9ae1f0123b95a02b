package rest

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

// Site says under which names this host is reached, and which web pages of other sites may call it.
type Site struct {
	Names []string // beside localhost and loopback addresses; an entry without a dot is also known with .local
	// Open: other machines reach the listener, so every address may be asked for. A page can't make a browser send the address of this machine as
	// Host unless it really asks this machine, which is what matters against DNS rebinding.
	Open    bool
	Origins []string // scheme://host[:port]; the port may be *, the host may begin with *.; * alone is any page, which then needs a known key
}

// knows says whether a Host header, or the host of an Origin, names this machine in a way that nobody else's DNS can change.
func (s Site) knows(hostport string) bool {
	host, ok := hostOf(hostport)
	if !ok {
		return false
	}
	if strings.EqualFold(host, "localhost") || isLoopback(host) || s.Open && net.ParseIP(host) != nil {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	return slices.ContainsFunc(s.Names, func(name string) bool {
		name = strings.Trim(strings.TrimSuffix(name, "."), "[]")
		return strings.EqualFold(host, name) || !strings.ContainsAny(name, ".:") && strings.EqualFold(host, name+".local")
	})
}

// hostOf is the host of host[:port], without brackets.
func hostOf(hostport string) (host string, ok bool) {
	host = hostport
	if h, port, err := net.SplitHostPort(hostport); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", false
		}
		host = h
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), true
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// A relation is what the page that made a request is to this host.
type relation int

const (
	noPage  relation = iota // a program: browsers say who asks
	ownPage                 // of the same origin
	friend                  // of an origin that is listed
	visitor                 // of any origin, where * is listed
	foreign                 // of an origin that may not call
)

// relate finds the page behind a request. Browsers send Origin with every request to another origin and with every write, and pages can't
// change it. Without one, Sec-Fetch-Site tells a request that a page elsewhere caused.
func (s Site) relate(r *http.Request) relation {
	origin := r.Header.Get("Origin")
	if origin == "" {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			return foreign
		case "same-origin":
			return ownPage
		}
		return noPage
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return foreign // "null" too
	}
	if own(u, r) {
		if at := r.Header.Get("Sec-Fetch-Site"); at != "" && at != "same-origin" {
			return foreign // the browser contradicts the name
		}
		return ownPage
	}
	best := foreign
	for _, entry := range s.Origins {
		switch {
		case entry == "*":
			best = visitor
		case matches(entry, u):
			return friend
		}
	}
	return best
}

// own compares an origin with the one that a request asked. A proxy in front may speak TLS for us, so over plain HTTP both schemes are ours.
func own(u *url.URL, r *http.Request) bool {
	if u.Scheme != "https" && (u.Scheme != "http" || r.TLS != nil) {
		return false
	}
	return strings.EqualFold(withPort(u.Host, u.Scheme), withPort(r.Host, u.Scheme))
}

func withPort(host, scheme string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}

// matches compares an origin with an entry of the list.
func matches(entry string, u *url.URL) bool {
	scheme, host, _ := strings.Cut(entry, "://")
	if !strings.EqualFold(scheme, u.Scheme) {
		return false
	}
	given := u.Host
	if rest, any := strings.CutSuffix(host, ":*"); any {
		host, given = rest, strings.TrimSuffix(given, ":"+u.Port())
	} else {
		host, given = withPort(host, scheme), withPort(given, scheme)
	}
	if domain, any := strings.CutPrefix(host, "*"); any { // *.example.com keeps its dot
		return len(given) > len(domain) && strings.EqualFold(given[len(given)-len(domain):], domain)
	}
	return strings.EqualFold(host, given)
}

// safe methods change nothing.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// admit says why a request isn't served; nil when it is. The order matters: a Host that isn't ours says nothing about the page.
func (s *Server) admit(r *http.Request, site Site, page relation) *messages.Error {
	if !site.knows(r.Host) {
		return messages.Errorf(messages.PermissionDenied, "Host", "%.100q is not this machine", r.Host).
			WithHint("use http://127.0.0.1 or http://localhost, or add the name to server.names")
	}
	origin := r.Header.Get("Origin")
	switch {
	case page == noPage:
		return nil
	case page == foreign:
		if safe(r.Method) && !s.reaches(r) {
			return nil // it changes nothing, and the page can't read the answer
		}
		if origin == "" {
			return messages.NewError(messages.PermissionDenied, "Origin", "a page of another site may not write here, nor ask an engine")
		}
		return messages.Errorf(messages.PermissionDenied, "Origin", "a page of %.100q may not write here, nor ask an engine", origin).WithHint("add it to server.cors.origins")
	case page == visitor && !s.keyed(r):
		return messages.Errorf(messages.Unauthenticated, "Origin", "a page of %.100q needs a key here", origin).WithHint("send Authorization: Bearer KEY, or add the origin to server.cors.origins")
	case safe(r.Method), s.inference(r), s.keyed(r), page == ownPage && s.tokens.valid(r):
		return nil
	}
	return messages.Errorf(messages.PermissionDenied, "page", "a page may change this host only with a key, or with a token where it is this host's own").
		WithHint("send Authorization: Bearer KEY; a page of this host gets a token from GET " + tokenPath + " and sends it as " + tokenHeader)
}

// inference tells whether a request only asks an engine: the operations are all that changes the host.
func (s *Server) inference(r *http.Request) bool {
	_, own := s.pages[r.URL.Path]
	return !own && !s.operations.has(r)
}

// reaches tells whether a request could reach an engine, or take its connection over. Even a GET can load a model, and evict others for it; and what a
// WebSocket answers is read by the page that opened it, whatever its origin, while the engine isn't shown that origin.
func (s *Server) reaches(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || s.inference(r) && r.URL.Path != modelsPath && !strings.HasPrefix(r.URL.Path, modelsPath+"/")
}

// modelsPath is the list of models, which no engine answers.
const modelsPath = "/v1/models"

// keyed tells whether a request carries a key that is known. Whether the key may do what is asked is the door's question.
func (s *Server) keyed(r *http.Request) bool {
	given := messages.CredentialsIn(r.Header, r.RemoteAddr)
	if given.Key == "" {
		return false
	}
	p, err := s.o.Authenticate.Of(r.Context(), given)
	return err == nil && (p.Name != "" || p.Fingerprint != "")
}
