package openai

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"modelops/messages"
)

type freeGateway struct {
	fakeGateway
	grant messages.Grant
}

func (g *freeGateway) Admit(context.Context, string) (*messages.Grant, error) {
	grant := g.grant
	grant.Release = func(messages.Outcome) {}
	return &grant, nil
}

type bufferPool struct{ p sync.Pool }

func (b *bufferPool) Get() []byte  { return *b.p.Get().(*[]byte) }
func (b *bufferPool) Put(x []byte) { b.p.Put(&x) }

// BenchmarkPassThrough compares with a bare ReverseProxy on an equally tuned transport, in one run. Budget: at least 0.8
// of its throughput.
func BenchmarkPassThrough(b *testing.B) {
	answer := bytes.Repeat([]byte(`{"id":"chatcmpl-1"}`), 20)
	e := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	defer e.Close()
	u, _ := url.Parse(e.URL)
	transport := newTransport(true)
	defer transport.CloseIdleConnections()
	pool := &bufferPool{sync.Pool{New: func() any { x := make([]byte, 32<<10); return &x }}}
	bare := &httputil.ReverseProxy{Transport: transport, BufferPool: pool, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	api := New(Options{Gateway: &freeGateway{grant: messages.Grant{Model: "tiny", Upstream: "tiny", URL: e.URL}}})
	defer api.Close()
	for _, front := range []struct {
		name string
		h    http.Handler
	}{{"bare", bare}, {"ours", api}} {
		s := httptest.NewServer(front.h)
		b.Run(front.name+"/sequential", func(b *testing.B) { drive(b, s.URL, false) })
		b.Run(front.name+"/parallel", func(b *testing.B) { drive(b, s.URL, true) })
		s.Close()
	}
}

func drive(b *testing.B, base string, parallel bool) {
	b.ReportAllocs()
	transport := newTransport(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	body := `{"model":"tiny","messages":[{"role":"user","content":"` + strings.Repeat("a word ", 60) + `"}],"max_tokens":5}`
	once := func() {
		resp, err := client.Post(base+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			b.Errorf("%d %v", resp.StatusCode, err)
		}
		_ = resp.Body.Close()
	}
	if !parallel {
		for b.Loop() {
			once()
		}
		return
	}
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			once()
		}
	})
}

func BenchmarkScan(b *testing.B) {
	for name, size := range map[string]int{"4KB": 4 << 10, "1MB": 1 << 20} {
		body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("a word, ", size/8) + `"}],"model":"tiny"}`)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := scanBody(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
