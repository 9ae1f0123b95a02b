package openai

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// allows tells whether a directive of a policy lets a page use an address, by the rules of browsers: a host without a scheme is the page's, and a path that ends
// in a slash is a beginning.
func allows(policy, directive, address string) bool {
	for part := range strings.SplitSeq(policy, ";") {
		words := strings.Fields(part)
		if len(words) == 0 || words[0] != directive {
			continue
		}
		for _, source := range words[1:] {
			if source == "https:" && strings.HasPrefix(address, "https:") || strings.HasPrefix(strings.TrimPrefix(address, "http://"), source) {
				return true
			}
		}
		return false
	}
	return directive != "default-src" && allows(policy, "default-src", address)
}

// An engine's page under /upstream/MODEL/ may use what is under it, and nothing else of this host. Elsewhere an engine's answer is no page.
func TestAnEnginesPageIsConfined(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html")
		h.Set("Content-Security-Policy", "img-src 'none'")
		for _, name := range []string{"Set-Cookie", "Clear-Site-Data", "Service-Worker-Allowed", "NEL", "Report-To", "Access-Control-Allow-Origin", "X-Modelops-Code", "X-Modelops-Token"} {
			h.Set(name, "evil")
		}
		_, _ = w.Write([]byte("<script>fetch('/api/token')</script>"))
	})
	h := open(t, declares(e.URL, "org/m;x"))
	at, _ := url.Parse(h.URL)
	resp := h.do(t.Context(), "GET", "/upstream/org/m;x/ui/", "")
	policies := resp.Header.Values("Content-Security-Policy")
	if len(policies) != 2 || policies[0] != "img-src 'none'" {
		t.Fatal(policies)
	}
	own := "http://" + at.Host + "/upstream/org/m%3Bx/"
	for directive, doors := range map[string]bool{"connect-src": false, "frame-src": false, "form-action": false, "worker-src": false, "base-uri": false, "script-src": false, "default-src": false} {
		if !allows(policies[1], directive, own+"v1/chat/completions") {
			t.Errorf("%s doesn't let the page use its engine: %s", directive, policies[1])
		}
		for _, door := range []string{"/api/token", "/status", "/v1/models", "/upstream/org/", "/upstream/other/", "/"} {
			if allows(policies[1], directive, "http://"+at.Host+door) != doors {
				t.Errorf("%s lets the page use %s: %s", directive, door, policies[1])
			}
		}
	}
	sandbox := policies[1][strings.LastIndex(policies[1], "sandbox"):]
	if !strings.Contains(sandbox, "allow-scripts") || !strings.Contains(sandbox, "allow-same-origin") || strings.Contains(sandbox, "popups") || strings.Contains(sandbox, "top-navigation") {
		t.Error(sandbox)
	}
	for name := range resp.Header {
		if strings.Join(resp.Header[name], "") == "evil" {
			t.Errorf("the engine said %s for this host", name)
		}
	}
	text(t, resp)

	for path, want := range map[string]string{"/props?model=org/m;x": "default-src 'none'; frame-ancestors 'none'; sandbox"} {
		resp := h.do(t.Context(), "GET", path, "")
		if got := resp.Header.Values("Content-Security-Policy"); got[len(got)-1] != want {
			t.Errorf("%s: %q", path, got)
		}
		text(t, resp)
	}
	if got := confined("[::1]:8008", "/upstream/m"); strings.Contains(got, "same-origin") || !strings.HasPrefix(got, "sandbox") {
		t.Error("a host that no policy can name:", got)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/upstream/org/m;x/sw.js", nil)
	r.Header.Set("Service-Worker", "script")
	refused, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || refused.StatusCode != http.StatusForbidden {
		t.Error("a service worker:", refused, err)
	}
	text(t, refused)
}

// A redirect of an engine stays under its path. A policy's path doesn't count after a redirect, so nothing else of this host may be its end.
func TestAnEnginesRedirectStays(t *testing.T) {
	var to string
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{to}
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	h := open(t, declares(e.URL, "tiny"))
	at, _ := url.Parse(h.URL)
	for said, want := range map[string]string{
		"/docs/?a=b#c": "/upstream/tiny/docs/?a=b#c", "next": "/upstream/tiny/ui/next", "../x": "/upstream/tiny/x", "../../../../api/token": "/upstream/tiny/api/token",
		e.URL + "/x": "/upstream/tiny/x", "https://elsewhere.example/x": "https://elsewhere.example/x",
		"http://" + at.Host + "/api/token": "", "//" + at.Host + "/api/token": "", "http://" + at.Hostname() + ":1/x": "",
		"/%2e%2e/%2e%2e/api/token": "", "/a/..%5c..%5c..%5capi": "", "/\\" + at.Host + "/api/token": "/upstream/tiny/%5C" + at.Host + "/api/token", "http://[": "",
	} {
		to = said
		r, _ := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/upstream/tiny/ui/page", nil)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("%s: %q, want %q", said, got, want)
		}
		text(t, resp)
	}
}

// What pages and clients say to this host is passed to no engine.
func TestWhatIsSaidToThisHostStaysHere(t *testing.T) {
	var got http.Header
	e := engine(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	h := open(t, declares(e.URL, "tiny"))
	for _, path := range []string{"/upstream/tiny/x", "/v1/completions"} {
		got = nil
		text(t, h.post(path, `{"model":"tiny","prompt":"x"}`, "X-Modelops-Token", "canary", "Cookie", "modelops_page=canary", "Proxy-Authorization", "canary", "X-Modelops-Anything", "canary",
			"X-HTTP-Method-Override", "canary", "X-Original-URL", "canary", "X-Rewrite-URL", "canary"))
		if got == nil {
			t.Fatal("nothing came")
		}
		for name, values := range got {
			if strings.Contains(strings.Join(values, ""), "canary") {
				t.Errorf("%s: the engine got %s", path, name)
			}
		}
	}
}
