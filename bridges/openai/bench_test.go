package openai

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	first, second := httptest.NewServer(bare), httptest.NewServer(api)
	defer first.Close()
	defer second.Close()
	b.Run("bare/parallel", func(b *testing.B) { drive(b, first.URL) })
	b.Run("ours/parallel", func(b *testing.B) { drive(b, second.URL) })
	b.Run("sequential", func(b *testing.B) { alternate(b, first.URL, second.URL) })
}

// alternate asks one and the other in turn, so that both meet the same noise of the machine.
func alternate(b *testing.B, bare, ours string) {
	ask, done := chatter(b)
	defer done()
	var took [2][]time.Duration
	for b.Loop() {
		for i, base := range []string{bare, ours} {
			began := time.Now()
			ask(base)
			took[i] = append(took[i], time.Since(began))
		}
	}
	for i, name := range []string{"bare", "ours"} {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][len(took[i])/2].Microseconds()), name+"-p50-us")
		b.ReportMetric(float64(took[i][len(took[i])*99/100].Microseconds()), name+"-p99-us")
	}
}

func drive(b *testing.B, base string) {
	b.ReportAllocs()
	ask, done := chatter(b)
	defer done()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ask(base)
		}
	})
}

// chatter is a client with connections of its own that asks for a short chat.
func chatter(b *testing.B) (ask func(base string), done func()) {
	transport := newTransport(true)
	client := &http.Client{Transport: transport}
	body := `{"model":"tiny","messages":[{"role":"user","content":"` + strings.Repeat("a word ", 60) + `"}],"max_tokens":5}`
	return func(base string) {
		resp, err := client.Post(base+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			b.Errorf("%d %v", resp.StatusCode, err)
		}
		_ = resp.Body.Close()
	}, transport.CloseIdleConnections
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
