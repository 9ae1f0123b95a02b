package rest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// localOrigins are the ones that a configuration has by default.
var localOrigins = []string{"http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*", "http://[::1]:*", "https://[::1]:*"}

// startSite opens a server with one key, and an engine that answers "in" with headers of its own.
func startSite(t *testing.T, site Site) *world {
	return startWith(t, Options{
		Operations: (&asked{}).operations(), Site: func() Site { return site },
		OpenAI: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Vary", "Accept-Encoding")
			_, _ = io.WriteString(w, "in")
		}),
		Authenticate: func(_ context.Context, c messages.Credentials) (messages.Principal, error) {
			switch c.Key {
			case "known":
				return messages.Principal{Name: "alice", Role: messages.Role_ADMIN}, nil
			case "wrong":
				return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
			}
			return messages.Principal{Role: messages.Role_ADMIN}, nil
		}})
}

func TestPreflight(t *testing.T) {
	w := startSite(t, Site{Origins: append([]string{"https://*.chat.example", "tauri://localhost"}, localOrigins...)})
	for origin, allowed := range map[string]bool{
		"http://localhost:3000": true, "http://localhost": true, "https://127.0.0.1:8443": true, "http://[::1]:5": true, "https://a.chat.example": true, "tauri://localhost": true,
		"https://a.b.chat.example": true, "https://chat.example": false, "https://evilchat.example": false, "http://a.chat.example": false, "https://a.chat.example:8443": false,
		"https://evil.com": false, "null": false, "http://localhost.evil.com": false, "http://localhost:3000@evil.com": false, "http://localhost:3000/x": false, "file://": false,
	} {
		code, h, body := w.do("OPTIONS", "/v1/chat/completions", "localhost", "Origin", origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,content-type,X-Stainless-Lang,x-api-key,x-evil,x-modelops-token", "Access-Control-Request-Private-Network", "true")
		if !allowed {
			if code != 403 || strings.Contains(strings.ToLower(headerNames(h)), "access-control") {
				t.Errorf("%s: %d %v", origin, code, h)
			}
			continue
		}
		if code != 204 || body != "" || h.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") ||
			h.Get("Access-Control-Allow-Headers") != "authorization, content-type, x-stainless-lang, x-api-key" || h.Get("Access-Control-Allow-Private-Network") != "true" ||
			!strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", origin, code, h)
		}
	}
	if code, h, _ := w.do("OPTIONS", "/v1/x", "evil.com", "Origin", "http://localhost:3000", "Access-Control-Request-Method", "POST"); code != 403 || h.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("a rebound Host is told: %d %v", code, h)
	}
}

func headerNames(h http.Header) string {
	var out []string
	for name := range h {
		out = append(out, name)
	}
	return strings.Join(out, ",")
}

// Every answer to a listed page is readable, errors too; nobody else's is. What the answer depends on stays said.
func TestAnswersToPages(t *testing.T) {
	w := startSite(t, Site{Origins: localOrigins})
	for _, path := range []string{"/v1/models", "/health", "/api/version", "/api/nothing"} {
		_, h, _ := w.do("GET", path, "localhost", "Origin", "http://localhost:3000")
		if h.Get("Access-Control-Allow-Origin") != "http://localhost:3000" || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "X-Modelops-Code") ||
			!strings.Contains(h.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: %v", path, h)
		}
		for _, origin := range []string{"https://evil.com", "null"} {
			_, h, _ := w.do("GET", path, "localhost", "Origin", origin)
			if strings.Contains(headerNames(h), "Access-Control") || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
				t.Errorf("%s of %s: %v", path, origin, h)
			}
		}
	}
	if _, h, _ := w.do("GET", "/v1/x", "localhost"); !slices.Equal(h.Values("Vary"), []string{"Accept-Encoding", "Origin"}) {
		t.Errorf("%v", h)
	}
}

// No page of another site makes an engine answer: a GET may load a model, and a page reads what its WebSocket gets.
func TestForeignPagesReachNoEngine(t *testing.T) {
	w := startSite(t, Site{Origins: localOrigins})
	upgrade := []string{"Upgrade", "websocket", "Connection", "Upgrade"}
	for _, page := range [][]string{{"Origin", "https://evil.com"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		for _, path := range []string{"/upstream/a/health", "/upstream/a", "/props?model=a", "/slots", "/v1/audio/voices?model=a"} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				if code, _, body := w.do(method, path, "localhost", page...); code != 403 {
					t.Errorf("%v: %s %s: %d %s", page, method, path, code, body)
				}
			}
		}
		for _, path := range []string{"/upstream/a/ws", "/v1/models", "/status", "/health"} {
			if code, _, body := w.do("GET", path, "localhost", append(upgrade, page...)...); code != 403 {
				t.Errorf("%v: WebSocket %s: %d %s", page, path, code, body)
			}
		}
		if code, _, _ := w.do("GET", "/health", "localhost", page...); code != 200 {
			t.Errorf("%v: /health: %d", page, code)
		}
	}
	for _, page := range [][]string{nil, {"Sec-Fetch-Site", "none"}, {"Origin", "http://localhost:3000", "Sec-Fetch-Site", "cross-site"}} {
		if code, _, body := w.do("GET", "/upstream/a/health", "localhost", page...); code != 200 {
			t.Errorf("%v: %d %s", page, code, body)
		}
	}
}

// A page may change the host only with a key, or with a token of its own origin.
func TestPagesThatWrite(t *testing.T) {
	w := startSite(t, Site{Origins: localOrigins})
	const path = "/api/models/unload"
	at := "http://" + w.s.Addr().String()
	own, friend := []string{"Origin", at, "Sec-Fetch-Site", "same-origin"}, []string{"Origin", "http://localhost:3000"}
	token, cookie := w.tokenOf(t, own)
	for _, c := range []struct {
		what   string
		header []string
		in     bool
	}{
		{"a program", nil, true},
		{"a listed page without a key", friend, false},
		{"a listed page with a key", append([]string{"Authorization", "Bearer known"}, friend...), true},
		{"a listed page with a wrong key", append([]string{"Authorization", "Bearer wrong"}, friend...), false},
		{"a listed page with any key where it means nobody", append([]string{"Authorization", "Bearer sk-1"}, friend...), false},
		{"a listed page with a stolen token", append([]string{tokenHeader, token, "Cookie", cookie}, friend...), false},
		{"an own page without a token", own, false},
		{"an own page with its token", append([]string{tokenHeader, token, "Cookie", cookie}, own...), true},
		{"an own page with a token but no cookie", append([]string{tokenHeader, token}, own...), false},
		{"an own page with another's token", append([]string{tokenHeader, token, "Cookie", tokenCookie + "=AAAAAAAAAAAAAAAAAAAAAAAAAA"}, own...), false},
		{"an own page with a key", append([]string{"X-Api-Key", "known"}, own...), true},
		{"the browser contradicts", []string{"Origin", at, "Sec-Fetch-Site", "cross-site", tokenHeader, token, "Cookie", cookie}, false},
		{"a foreign page with a key", []string{"Origin", "https://evil.com", "Authorization", "Bearer known"}, false},
	} {
		code, _, body := w.do("POST", path, "", c.header...)
		if in := code == 200; in != c.in || !c.in && code != 403 && code != 401 {
			t.Errorf("%s: %d %s", c.what, code, body)
		}
	}
	if code, _, _ := w.do("POST", "/v1/x", "", friend...); code != 200 {
		t.Error("inference of a listed page needs no key by itself")
	}
}

func (w *world) tokenOf(t *testing.T, own []string) (token, cookie string) {
	t.Helper()
	code, h, body := w.do("GET", tokenPath, "", own...)
	var got struct{ Token, Header string }
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || got.Header != tokenHeader || !strings.Contains(h.Get("Set-Cookie"), "SameSite=Strict") || !strings.Contains(h.Get("Set-Cookie"), "HttpOnly") {
		t.Fatal(code, h, body)
	}
	for _, other := range []string{"http://localhost:3000", "https://evil.com"} {
		if code, h, body := w.do("GET", tokenPath, "", "Origin", other); code != 403 || strings.Contains(body, got.Token) || h.Get("Set-Cookie") != "" {
			t.Errorf("%s gets a token: %d", other, code)
		}
	}
	cookie, _, _ = strings.Cut(h.Get("Set-Cookie"), ";")
	return got.Token, cookie
}

// Where any page may call, each needs a key that is known, for reading too.
func TestAnyPageNeedsAKey(t *testing.T) {
	w := startSite(t, Site{Origins: []string{"*"}})
	for key, want := range map[string]int{"": 401, "sk-1": 401, "wrong": 401, "known": 200} {
		for _, method := range []string{"GET", "POST"} {
			code, h, _ := w.do(method, "/v1/x", "localhost", "Origin", "https://any.example", "Authorization", "Bearer "+key)
			if code != want || h.Get("Access-Control-Allow-Origin") != "https://any.example" || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s with %q: %d %v", method, key, code, h)
			}
		}
	}
	if code, _, _ := w.do("OPTIONS", "/v1/x", "localhost", "Origin", "https://any.example", "Access-Control-Request-Method", "POST"); code != 204 {
		t.Error(code)
	}
}

// Names that clients may use: a listener that other machines reach takes every address, and only the names that it is told.
func TestNamesOfTheHost(t *testing.T) {
	for _, c := range []struct {
		host          string
		shut, reached bool
	}{
		{"localhost:1", true, true}, {"127.0.0.1", true, true}, {"10.1.2.3:8008", false, true}, {"[2001:db8::1]:8008", false, true}, {"evil.com", false, false},
		{"gpu1:8008", true, true}, {"GPU1.local", true, true}, {"gpu1.lan", true, true}, {"gpu1.lan.", true, true}, {"gpu1.lan.local", false, false}, {"gpu1.lan.evil.com", false, false}, {"gpu2", false, false}, {"", false, false},
	} {
		site := Site{Names: []string{"gpu1", "gpu1.lan"}}
		if site.knows(c.host) != c.shut {
			t.Errorf("%q on loopback: %t", c.host, !c.shut)
		}
		if site.Open = true; site.knows(c.host) != c.reached {
			t.Errorf("%q from outside: %t", c.host, !c.reached)
		}
	}
}
