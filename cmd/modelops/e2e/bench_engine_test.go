//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// engineRole is an engine that takes no time: what is measured is the way to it. It is either attached by its URL or started as a worker.
func engineRole(args []string) error {
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	port := flags.Int("port", 0, "where it listens")
	after := flags.Duration("ready-after", 0, "how long after the start of the process it is ready")
	if err := flags.Parse(args); err != nil {
		return err
	}
	due(time.Now().Add(*after - sinceStart()))
	l, err := listenSaying(*port)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"ok"}`) })
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"fast","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", fastChat)
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}).Serve(l)
}

var fastAnswer = []byte(`{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"fast","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"The capital of France is Paris."},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":14,"completion_tokens":8,"total_tokens":22}}`)

var fastStream = []byte(`data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":"The capital of France is Paris."}}]}` + "\n\n" +
	`data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
	`data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":14,"completion_tokens":8,"total_tokens":22}}` + "\n\n" +
	"data: [DONE]\n\n")

// chunky asks for a stream of stamped pieces, Gap apart.
type chunky struct {
	Model  string `json:"model"`
	Stream bool   `json:"stream"`
	Chunks int    `json:"bench_chunks"`
	Gap    int64  `json:"bench_gap_us"`
}

func fastChat(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(fastAnswer)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if bytes.Contains(body, []byte(`"bench_chunks"`)) {
		var c chunky
		if json.Unmarshal(body, &c) == nil {
			stamped(w, r, c)
		}
		return
	}
	_, _ = w.Write(fastStream)
}

const stamp = `data: {"stamp":`

// stamped writes pieces that say when they were written.
func stamped(w http.ResponseWriter, r *http.Request, c chunky) {
	tick := time.NewTicker(time.Duration(c.Gap) * time.Microsecond)
	defer tick.Stop()
	flush := http.NewResponseController(w)
	line := make([]byte, 0, 128)
	for range c.Chunks {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		line = strconv.AppendInt(append(line[:0], stamp...), time.Now().UnixNano(), 10)
		line = append(line, `,"choices":[{"index":0,"delta":{"content":" word"}}]}`+"\n\n"...)
		if _, err := w.Write(line); err != nil || flush.Flush() != nil {
			return
		}
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

// proxyRole is the measure of the pass-through: httputil.ReverseProxy with a transport tuned as well as ours.
func proxyRole(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the engine's address, got %q", args)
	}
	to, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	l, err := listenSaying(0)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, FlushInterval: -1,
		BufferPool: &proxyBuffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
		Transport:  &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second, DisableCompression: true},
	}
	return (&http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}).Serve(l)
}

type proxyBuffers struct{ p sync.Pool }

func (b *proxyBuffers) Get() []byte  { return *b.p.Get().(*[]byte) }
func (b *proxyBuffers) Put(x []byte) { b.p.Put(&x) }
