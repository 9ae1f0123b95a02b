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

	"modelops/messages"
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

// workers are the engines reached so far, by base URL. Those that have ended are dropped within dropEvery.
type workers struct {
	mu    sync.RWMutex
	byURL map[string]*worker
	live  func() map[string]bool                                               // "" stands for remote ones whose address isn't told
	dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil = one of our own
	far   http.RoundTripper                                                    // to workers of other hosts; nil = there are none
	drop  *time.Timer                                                          // set while byURL isn't empty
}

// dropEvery is how often the connections of workers that have ended are looked for.
const dropEvery = 10 * time.Second

func newWorkers(live func() map[string]bool) *workers {
	return &workers{byURL: map[string]*worker{}, live: live}
}

// at finds or makes the worker's connections for one request, which must call leave.
func (ws *workers) at(base string) (*worker, error) {
	ws.mu.RLock()
	w := ws.byURL[base]
	if w != nil {
		w.inFlight.Add(1) // with the lock, so that sweep doesn't drop it meanwhile
	}
	ws.mu.RUnlock()
	if w != nil {
		return w, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w = ws.byURL[base]; w == nil {
		w = &worker{base: u, transport: ws.transport(isLocal(u.Hostname()))}
		ws.byURL[base] = w
		if ws.drop == nil {
			ws.drop = time.AfterFunc(dropEvery, ws.sweep)
		}
	}
	w.inFlight.Add(1)
	return w, nil
}

// leave ends a request's use of the worker.
func (w *worker) leave() { w.inFlight.Add(-1) }

// sweep drops the connections of workers that have ended.
func (ws *workers) sweep() {
	live := ws.live()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for known, old := range ws.byURL {
		hidden := live[""] && !isLocal(old.base.Hostname())
		if !live[known] && !hidden && old.inFlight.Load() == 0 {
			old.transport.CloseIdleConnections()
			delete(ws.byURL, known)
		}
	}
	switch {
	case ws.drop == nil: // closed meanwhile
	case len(ws.byURL) > 0:
		ws.drop.Reset(dropEvery)
	default:
		ws.drop = nil
	}
}

// transport is a worker's, over the workers' dialer.
func (ws *workers) transport(local bool) *http.Transport {
	t := newTransport(local)
	if ws.dial != nil {
		t.DialContext = ws.dial
	}
	if ws.far != nil {
		t.RegisterProtocol(messages.PeerScheme, ws.far)
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
	if ws.drop != nil {
		ws.drop.Stop()
		ws.drop = nil
	}
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
