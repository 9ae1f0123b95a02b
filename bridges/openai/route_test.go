package openai

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// whatCame is what an engine got.
type whatCame struct {
	method, uri, contentType, body string
	header                         http.Header
}

// listener is an engine that notes what it gets.
func listener(t *testing.T, got *whatCame) string {
	return engine(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		*got = whatCame{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), string(b), r.Header.Clone()}
		_, _ = io.WriteString(w, "ok")
	}).URL
}

// declares is a gateway that knows models, which all have one engine that calls its model "up".
func declares(url string, names ...string) *fakeGateway {
	g := grants(url)
	for _, name := range names {
		g.views = append(g.views, &messages.ModelView{Name: name, Spec: &messages.ModelSpec{Name: name}})
	}
	g.upstream = "up"
	return g
}

// TestWhereTheModelIsNamed: body, form, query and path name it, and the engine gets its own name in the same place.
func TestWhereTheModelIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		method, path, body, contentType string
		want                            whatCame
	}{
		"the body":                         {"POST", "/v1/chat/completions", `{"model":"org/m"}`, "", whatCame{"POST", "/v1/chat/completions", "application/json", `{"model":"up"}`, nil}},
		"a path without /v1":               {"POST", "/chat/completions", `{"model":"org/m"}`, "", whatCame{"POST", "/v1/chat/completions", "application/json", `{"model":"up"}`, nil}},
		"a path without its version":       {"POST", "/v/chat/completions", `{"model":"org/m"}`, "", whatCame{"POST", "/v1/chat/completions", "application/json", `{"model":"up"}`, nil}},
		"a slash at the end":               {"POST", "/v1/chat/completions/", `{"model":"org/m"}`, "", whatCame{"POST", "/v1/chat/completions", "application/json", `{"model":"up"}`, nil}},
		"an engine's own path":             {"POST", "/completion/", `{"model":"org/m"}`, "", whatCame{"POST", "/completion", "application/json", `{"model":"up"}`, nil}},
		"the query":                        {"GET", "/props?model=org/m&x=1", "", "", whatCame{"GET", "/props?model=up&x=1", "", "", nil}},
		"the query, with a body of JSON":   {"POST", "/v1/chat/completions?model=org/m", `{"a":1}`, "application/json", whatCame{"POST", "/v1/chat/completions?model=up", "application/json", `{"a":1}`, nil}},
		"the query, with bytes":            {"POST", "/v1/audio/transcriptions?model=org/m", "RIFF\x00{", "audio/wav", whatCame{"POST", "/v1/audio/transcriptions?model=up", "audio/wav", "RIFF\x00{", nil}},
		"a slot":                           {"POST", "/slots/0?action=erase&model=org/m", "", "", whatCame{"POST", "/slots/0?action=erase&model=up", "", "", nil}},
		"the path, a name with a slash":    {"GET", "/upstream/org/m/health", "", "", whatCame{"GET", "/health", "", "", nil}},
		"the path, the longest name":       {"PUT", "/upstream/org/m/x/a/b?c=d", "e", "text/csv", whatCame{"PUT", "/a/b?c=d", "text/csv", "e", nil}},
		"the path, a write without a body": {"DELETE", "/upstream/org/m/x/y", "", "", whatCame{"DELETE", "/y", "", "", nil}},
		"the path of an engine":            {"POST", "/v1/engines/org/m/embeddings", `{"input":"x"}`, "", whatCame{"POST", "/v1/embeddings", "application/json", `{"input":"x"}`, nil}},
		"nowhere, where there is one":      {"GET", "/v1/audio/voices", "", "", whatCame{"GET", "/v1/audio/voices", "", "", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			var got whatCame
			names := []string{"org/m"}
			if strings.Contains(name, "name") || strings.Contains(name, "write") {
				names = []string{"org/m", "org", "org/m/x"}
			}
			h := open(t, declares(listener(t, &got), names...))
			header := []string{}
			if c.contentType != "" {
				header = []string{"Content-Type", c.contentType}
			}
			resp := h.do(t.Context(), c.method, c.path, c.body, header...)
			said := text(t, resp)
			got.header = nil
			if resp.StatusCode != 200 || got.method != c.want.method || got.uri != c.want.uri || got.contentType != c.want.contentType || got.body != c.want.body {
				t.Errorf("%d %s: the engine got %+v, want %+v", resp.StatusCode, said, got, c.want)
			}
		})
	}
}

// form is a multipart form of an audio file that holds whatever a boundary's beginning looks like.
func form(t *testing.T, fields ...string) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", "a.wav")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(part, "RIFF\x00\r\n--%s not the end\r\n\r\nname=\"model\"\r\n", w.Boundary()[:10])
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

// TestFormsAreRoutedNotParsed: the engine gets every byte but the model's name.
func TestFormsAreRoutedNotParsed(t *testing.T) {
	body, contentType := form(t, "language", "de", "model", "tiny", "stream", "false")
	var got whatCame
	h := open(t, declares(listener(t, &got), "tiny"))
	resp := h.post("/v1/audio/transcriptions", body, "Content-Type", contentType)
	if text(t, resp) != "ok" || got.contentType != contentType || got.body != strings.Replace(body, "\r\n\r\ntiny\r\n", "\r\n\r\nup\r\n", 1) {
		t.Errorf("%d: the engine got %+v", resp.StatusCode, got)
	}
}

// TestSentinelsPass: which values an engine takes, the engine says; only types are checked here.
func TestSentinelsPass(t *testing.T) {
	for _, field := range []string{`"max_tokens":-1`, `"max_tokens":-2`, `"temperature":2.5`, `"temperature":-1`, `"n":0`, `"max_completion_tokens":-1`, `"max_output_tokens":0`,
		`"keep_alive":"-1"`, `"keep_alive":"0"`, `"keep_alive":"300"`, `"keep_alive":"1d"`, `"keep_alive":""`, `"keep_alive":-1`} {
		var got whatCame
		h := open(t, grants(listener(t, &got)))
		resp := h.post(chat, `{"model":"tiny",`+field+`}`)
		if said := text(t, resp); resp.StatusCode != 200 || strings.Contains(got.body, field) == strings.Contains(field, "keep_alive") {
			t.Errorf("%s: %d %s, the engine got %s", field, resp.StatusCode, said, got.body)
		}
	}
}

// TestCompressedBodies: the engine gets them plain, and what they unpack to is bounded too.
func TestCompressedBodies(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.WriteString(w, `{"model":"tiny","x":"`+strings.Repeat("y", 5000)+`"}`)
	_ = w.Close()
	for limit, want := range map[int64]int{10_000: 200, 1000: 413} {
		var got whatCame
		h := open(t, grants(listener(t, &got)), func(o *Options) { o.MaxBody = limit })
		resp := h.post(chat, packed.String(), "Content-Encoding", "gzip")
		if said := text(t, resp); resp.StatusCode != want || want == 200 && (len(got.body) < 5000 || got.header.Get("Content-Encoding") != "") {
			t.Errorf("limit %d: %d %s, the engine got %+v", limit, resp.StatusCode, said, got)
		}
	}
	h := open(t, refuses(messages.NewError(messages.Internal, "", "half a body reached the gateway")))
	if resp := h.post(chat, packed.String()[:packed.Len()-12], "Content-Encoding", "gzip"); resp.StatusCode != 400 {
		t.Errorf("half a body: %d %s", resp.StatusCode, text(t, resp))
	}
	var got whatCame
	var bare bytes.Buffer // deflate without zlib's head, as some clients send it
	f, _ := flate.NewWriter(&bare, flate.BestSpeed)
	_, _ = io.WriteString(f, `{"model":"tiny"}`)
	_ = f.Close()
	if resp := open(t, grants(listener(t, &got))).post(chat, bare.String(), "Content-Encoding", "deflate"); resp.StatusCode != 200 || got.body != `{"model":"tiny"}` {
		t.Errorf("deflate without a head: %d %s, the engine got %q", resp.StatusCode, text(t, resp), got.body)
	}
}

// TestKeysOfEngines: a key of a caller whom we ask for none reaches the engine, a key of ours never does, and the model's own wins.
func TestKeysOfEngines(t *testing.T) {
	for name, c := range map[string]struct{ name, fingerprint, own, want string }{
		"asked for none":        {"", "", "", "Bearer theirs"},
		"a key of ours":         {"", "f", "", ""},
		"a token of an issuer":  {"alice", "", "", ""},
		"the model has its own": {"", "", "engine-key", "Bearer engine-key"},
		"ours, and the model's": {"", "f", "engine-key", "Bearer engine-key"},
	} {
		var got whatCame
		g := grants(listener(t, &got))
		g.apiKey = c.own
		h := open(t, g, func(o *Options) {
			o.Authenticate = func(context.Context, messages.Credentials) (messages.Principal, error) {
				return messages.Principal{Name: c.name, Fingerprint: c.fingerprint, Role: messages.Role_INFER}, nil
			}
		})
		text(t, h.post(chat, `{"model":"tiny"}`, "Authorization", "Bearer theirs"))
		if got.header.Get("Authorization") != c.want {
			t.Errorf("%s: the engine got %q, want %q", name, got.header.Get("Authorization"), c.want)
		}
	}
}

// TestEnginesOwnAddressesNeedReaders: they may show other callers' requests.
func TestEnginesOwnAddressesNeedReaders(t *testing.T) {
	for _, role := range []messages.Role{messages.Role_INFER, messages.Role_READ} {
		var got whatCame
		h := open(t, declares(listener(t, &got), "tiny"), func(o *Options) {
			o.Authenticate = func(context.Context, messages.Credentials) (messages.Principal, error) {
				return messages.Principal{Fingerprint: "f", Role: role}, nil
			}
		})
		want := map[messages.Role]int{messages.Role_INFER: 403, messages.Role_READ: 200}[role]
		for _, path := range []string{"/slots?model=tiny", "/slots/1?model=tiny", "/props?model=tiny", "/lora-adapters?model=tiny", "/upstream/tiny/metrics"} {
			if resp := h.do(t.Context(), "GET", path, ""); resp.StatusCode != want {
				t.Errorf("%s as %s: %d", path, role, resp.StatusCode)
			}
		}
	}
}

// TestUpstreamUpgrades: a WebSocket goes through to the engine.
func TestUpstreamUpgrades(t *testing.T) {
	e := engine(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "%s at %s", strings.TrimSpace(line), r.URL.Path)
		_ = rw.Flush()
	})
	h := open(t, declares(e.URL, "tiny"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /upstream/tiny/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatal(resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if said, err := io.ReadAll(in); err != nil || string(said) != "hello at /ws" {
		t.Errorf("%q %v", said, err)
	}
}

func TestListWithoutItsVersion(t *testing.T) {
	h := open(t, declares("", "tiny", "org/m"))
	for path, want := range map[string]string{"/models": `"id":"org/m"`, "/v1/models/": `"id":"org/m"`, "/models/org/m": `"id":"org/m"`} {
		if resp := h.do(t.Context(), "GET", path, ""); resp.StatusCode != 200 || !strings.Contains(text(t, resp), want) {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

// FuzzForm: what isn't the model's name reaches the engine as it is.
func FuzzForm(f *testing.F) {
	f.Add("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--b--\r\n")
	f.Add("x\r\n--b\r\n\r\n--b--")
	f.Fuzz(func(t *testing.T, body string) {
		q, bad := readForm([]byte(body), "b")
		if bad != nil || !q.at.present() {
			return
		}
		if got := body[q.at.from:q.at.to]; got != q.model {
			t.Fatalf("the name is %q, and %q lies there", q.model, got)
		}
		open, size := q.bodyFor("up")
		raw, err := io.ReadAll(open())
		want := slices.Concat([]byte(body[:q.at.from]), []byte("up"), []byte(body[q.at.to:]))
		if q.model == "up" {
			want = []byte(body)
		}
		if err != nil || !bytes.Equal(raw, want) || size != int64(len(want)) {
			t.Fatalf("%q became %q", body, raw)
		}
	})
}
