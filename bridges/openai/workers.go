package openai

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	idlePerWorker  = 1024 // at least as many as run at once, or each request above it pays for a connection
	idleConnection = 90 * time.Second
	dialTimeout    = 2 * time.Second
)

// worker is a base URL with connections of its own, so that those to a dead worker go with it.
type worker struct {
	base      *url.URL
	transport *http.Transport
	inFlight  atomic.Int64
}

// workers are the engines reached so far, by base URL.
type workers struct {
	mu    sync.RWMutex
	byURL map[string]*worker
	live  func() map[string]bool
	dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil = one of our own
}

func newWorkers(live func() map[string]bool) *workers {
	return &workers{byURL: map[string]*worker{}, live: live}
}

// at finds or makes the worker's connections. Making them also drops those of workers that have ended, so the map stays
// bounded.
func (ws *workers) at(base string) (*worker, error) {
	ws.mu.RLock()
	w := ws.byURL[base]
	ws.mu.RUnlock()
	if w != nil {
		return w, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	live := ws.live()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.byURL[base]; w != nil {
		return w, nil
	}
	for known, old := range ws.byURL {
		if !live[known] && old.inFlight.Load() == 0 {
			old.transport.CloseIdleConnections()
			delete(ws.byURL, known)
		}
	}
	w = &worker{base: u, transport: ws.transport(isLocal(u.Hostname()))}
	ws.byURL[base] = w
	return w, nil
}

// transport is a worker's, over the workers' dialer.
func (ws *workers) transport(local bool) *http.Transport {
	t := newTransport(local)
	if ws.dial != nil {
		t.DialContext = ws.dial
	}
	return t
}

// closeIdle closes the connections that wait for a next request.
func (ws *workers) closeIdle() {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	for _, w := range ws.byURL {
		w.transport.CloseIdleConnections()
	}
}

func (ws *workers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.byURL {
		w.transport.CloseIdleConnections()
	}
	clear(ws.byURL)
}

// newTransport is tuned for one engine: bytes stay as they are (no gzip of net/http's own), and there is no limit on the
// time until headers, because prompts may be long; the caller's context is the limit.
func newTransport(local bool) *http.Transport {
	t := &http.Transport{
		MaxIdleConns: idlePerWorker, MaxIdleConnsPerHost: idlePerWorker, IdleConnTimeout: idleConnection, DisableCompression: true,
		DialContext:     (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		WriteBufferSize: 8 << 10, ReadBufferSize: 8 << 10,
	}
	if !local {
		t.Proxy = http.ProxyFromEnvironment
		t.TLSHandshakeTimeout = 10 * time.Second
	}
	return t
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// target is the engine's address for a path. Remote base URLs are often written with their /v1.
func (w *worker) target(in *url.URL) *url.URL {
	u := *w.base
	path := in.Path
	if strings.HasSuffix(u.Path, "/v1") && strings.HasPrefix(path, "/v1/") {
		path = strings.TrimPrefix(path, "/v1")
	}
	u.Path, u.RawPath, u.RawQuery = u.Path+path, "", in.RawQuery
	return &u
}
