package openai

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"modelops/messages"
)

const (
	defaultMaxBody   = 64 << 20
	defaultHeartbeat = 10 * time.Second
	defaultStall     = 2 * time.Minute
)

// Observer counts requests. All methods are called from many goroutines.
type Observer interface {
	// ObserveRequest tells how a request ended: its HTTP status (499 when the caller left) and the time since it came in.
	ObserveRequest(model, code, class string, d time.Duration)
	// ObserveFirstByte tells when the first byte of the engine's answer came, measured from the request's arrival.
	ObserveFirstByte(model string, d time.Duration)
	// ObserveQueueWait tells how long a granted request had waited for its place.
	ObserveQueueWait(model string, d time.Duration)
	// ObserveBatch tells how many callers an upstream request answered, where they could have shared one; 1 = a lone one.
	ObserveBatch(model, endpoint string, size int)
}

// Options of an API. Only Gateway is required.
type Options struct {
	Gateway messages.Gateway
	// Authenticate finds the principal of a key; nil = none is asked for.
	Authenticate messages.Authenticate
	// Withheld are headers that no engine gets to see, in their canonical form, beside those that none ever does; nil = no others.
	Withheld func() []string
	// MaxBody is the most bytes of a request body; 0 = 64 MiB.
	MaxBody int64
	// Bodies is the memory for all bodies together; nil = no bound.
	Bodies *messages.Budget
	// Heartbeat is how long a streaming request waits in silence before SSE comments keep its connection alive; 0 = 10 s,
	// negative = never.
	Heartbeat time.Duration
	// RetryDelay is the pause before the first repetition; 0 = that of messages.Sending.
	RetryDelay time.Duration
	// Stall is how long a client may refuse to take a piece of its answer; 0 = 2 min.
	Stall time.Duration
	// Batching says how requests to a model, by the name they ask for, may share an upstream request; nil = never. It is asked
	// for each request that could.
	Batching func(model string) Batching
	Observe  Observer
	Log      *slog.Logger
	// Dial connects to workers; nil = no bound on how many connections there are.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Said is how old what other hosts said of their models is; nil = there are none.
	Said func() []*messages.HostSaid
	// Far reaches the workers of other hosts, at addresses of messages.PeerURL; nil = there are none.
	Far http.RoundTripper
}

// API answers the inference routes and the list of models. It serves until Close.
type API struct {
	gateway      messages.Gateway
	said         func() []*messages.HostSaid // may be nil
	authenticate messages.Authenticate
	maxBody      int64
	withheld     func() []string // may be nil
	bodies       *messages.Budget
	heartbeat    time.Duration
	retryDelay   time.Duration
	batching     func(model string) Batching
	batches      *batches
	observe      Observer
	log          *slog.Logger
	workers      *workers
	buffers      sync.Pool // of *[]byte
	// stall is how long a client may refuse to take a piece of its answer: it holds a place at the worker meanwhile.
	stall time.Duration
	// queuePatience is how long a stream waits in the queue before its position is sent.
	queuePatience time.Duration
	recheck       time.Duration // recheckEvery, but for tests
}

// New makes the API. It opens nothing until the first request.
func New(o Options) *API {
	a := &API{gateway: o.Gateway, said: o.Said, authenticate: o.Authenticate, maxBody: o.MaxBody, withheld: o.Withheld, bodies: o.Bodies, heartbeat: o.Heartbeat, retryDelay: o.RetryDelay, batching: o.Batching, observe: o.Observe, log: o.Log, stall: o.Stall, queuePatience: defaultQueuePatience, recheck: recheckEvery}
	if a.maxBody <= 0 {
		a.maxBody = defaultMaxBody
	}
	if a.stall <= 0 {
		a.stall = defaultStall
	}
	if a.heartbeat == 0 {
		a.heartbeat = defaultHeartbeat
	}
	if a.observe == nil {
		a.observe = unobserved{}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.workers = newWorkers(a.liveURLs)
	a.workers.dial, a.workers.far = o.Dial, o.Far
	a.batches = newBatches(a.fly)
	a.buffers.New = func() any { b := make([]byte, 32<<10); return &b }
	return a
}

// CloseIdle closes the connections to workers that wait for a next request.
func (a *API) CloseIdle() { a.workers.closeIdle() }

// Close drops the idle connections to all workers.
func (a *API) Close() { a.workers.close() }

// ServeHTTP routes by path. It leaves the matched route in r.Pattern for the middleware that counts requests; empty = no such path.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	w.Header()["X-Request-Id"] = []string{id}
	r.Pattern = ""
	rt, ok := a.routeOf(r.URL.Path)
	if ok {
		r.Pattern = rt.pattern
	}
	// Before anything else, so that no route is open by mistake, and a stranger doesn't learn which there are.
	caller, bad := a.callerOf(r, rt)
	if bad != nil {
		a.turnAway(w, r, rt, id, bad)
		return
	}
	if ok {
		if !rt.takes(r.Method) {
			refuseMethod(w, r, rt.allowed())
			return
		}
		if worksInBackground(r) {
			a.turnAway(w, r, rt, id, refusalOf(messages.NewError(messages.PermissionDenied, r.URL.Path, "an engine's page installs no service worker: it would speak for this host")))
			return
		}
		a.infer(w, r, rt, id, caller)
		return
	}
	a.serveModels(w, r, caller)
}

// liveURLs are where workers answer now, as far as the gateway knows. An address with a variable in it is "".
func (a *API) liveURLs() map[string]bool {
	live := map[string]bool{}
	for _, m := range a.gateway.Models() {
		switch url := m.GetWorker().GetUrl(); {
		case strings.Contains(url, "${"):
			live[""] = true
		case url != "":
			live[strings.TrimSuffix(url, "/")] = true
		}
	}
	return live
}

type unobserved struct{}

func (unobserved) ObserveRequest(_, _, _ string, _ time.Duration) {}
func (unobserved) ObserveFirstByte(string, time.Duration)         {}
func (unobserved) ObserveQueueWait(string, time.Duration)         {}
func (unobserved) ObserveBatch(string, string, int)               {}
