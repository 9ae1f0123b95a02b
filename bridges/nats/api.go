package natsapi

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"modelops/messages"
)

// Options are the door's ports and bounds. Gateway and Operations are required; a zero in the rest means its default.
type Options struct {
	Gateway messages.Gateway
	// Operations are everything but inference.
	Operations messages.Operations
	// Authenticate finds the principal of a key that a request carries beside its connection's; nil = such keys are ignored.
	Authenticate messages.Authenticate
	Host         string // shown in the service's metadata
	Version      string // of the build; shown as it is in metadata and, when it is semantic, as the service's version
	Log          *slog.Logger
	// Observe is told of every finished request: endpoint, OK or the name of its error, its time.
	Observe func(endpoint, code string, took time.Duration)
	// MaxInference bounds the inferences running or queued through this door. Default 1024.
	MaxInference int
	// Reads tells whether anyone is subscribed to a reply subject in a principal's account; nil = nobody can know. NATS tells a service nothing of callers that leave.
	Reads func(p messages.Principal, subject string) bool
	// Bodies is the memory for all bodies together; nil = no bound.
	Bodies *messages.Budget
	// MaxControl bounds all other requests running. Default 64.
	MaxControl int
	// Timeout ends requests that name no Modelops-Timeout. Default 10 minutes.
	Timeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration) {}
	}
	o.MaxInference = orDefault(o.MaxInference, 1024)
	o.MaxControl = orDefault(o.MaxControl, 64)
	o.Timeout = orDefault(o.Timeout, 10*time.Minute)
	return o
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

const (
	serviceName = "modelops"
	root        = "modelops.v1"
)

// API is the NATS door. It is stopped once.
type API struct {
	Options
	tallies map[string]*tally // by endpoint name; fixed by New
	table   []*endpoint

	life context.Context // governs all requests; ends when stopping has lost patience
	end  context.CancelCauseFunc

	mu       sync.Mutex
	stopping bool
	work     sync.WaitGroup
	entries  map[*entry]bool

	running running
	look    time.Duration // lookEvery, but for tests
}

// entry is the way in of one principal: an account, in which its connections and nobody else's are.
type entry struct {
	api       *API
	conn      *nats.Conn // stays open: its owner closes it
	principal messages.Principal
	service   micro.Service
}

// New makes a door that nobody has entered yet.
func New(o Options) *API {
	a := &API{Options: o.withDefaults(), tallies: map[string]*tally{}, entries: map[*entry]bool{}, look: lookEvery}
	a.table = a.endpoints()
	for _, e := range a.table {
		e.tally = &tally{}
		a.tallies[e.name] = e.tally
	}
	a.life, a.end = context.WithCancelCause(context.Background())
	return a
}

// Enter answers the requests of a principal, which come over conn, and returns when the server knows of it. conn must lead into an account of
// the principal's own: who sends there is known by that alone, and answers go nowhere else.
func (a *API) Enter(conn *nats.Conn, p messages.Principal) (leave func(), err error) {
	in := &entry{api: a, conn: conn, principal: p}
	if err := in.register(); err != nil {
		return nil, messages.Errorf(messages.Unavailable, "nats service "+serviceName, "cannot register: %w", err)
	}
	group := in.service.AddGroup(root)
	for _, e := range a.table {
		if err = e.add(in, group); err != nil {
			break
		}
	}
	if err == nil {
		err = conn.FlushTimeout(5 * time.Second)
	}
	if err != nil {
		_ = in.service.Stop()
		return nil, messages.Errorf(messages.Unavailable, "nats service "+serviceName, "cannot offer its endpoints: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries[in] = true
	return func() {
		a.mu.Lock()
		delete(a.entries, in)
		a.mu.Unlock()
		in.stop()
	}, nil
}

// register joins the micro framework, which takes semantic versions only.
func (in *entry) register() (err error) {
	a := in.api
	config := micro.Config{
		Name: serviceName, QueueGroup: serviceName, Version: strings.TrimPrefix(a.Version, "v"),
		Description:  "runs models on the devices of " + a.Host,
		Metadata:     map[string]string{"host": a.Host, "version": a.Version},
		StatsHandler: a.stats,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			a.Log.Warn("the NATS service lost messages", "subject", e.Subject, "error", e.Description)
		},
	}
	if in.service, err = micro.AddService(in.conn, config); err != nil {
		config.Version = "0.0.0"
		in.service, err = micro.AddService(in.conn, config)
	}
	return err
}

func (in *entry) stop() {
	if err := in.service.Stop(); err != nil && !in.conn.IsClosed() {
		in.api.Log.Warn("the NATS service did not leave cleanly", "error", err)
	}
}

// entered are the ways in that are open now.
func (a *API) entered() []*entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.entries))
}

// cutOff is how long requests get to return once their contexts have ended.
const cutOff = 2 * time.Second

// Stop refuses what is new and lets what runs finish until ctx ends; then it ends every request's context. It returns ctx's error
// when it had to, and after at most some 3 seconds more.
func (a *API) Stop(ctx context.Context) error {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	stopping := messages.NewError(messages.Unavailable, "", "the server is stopping").WithRetry(time.Second)
	defer a.end(stopping)
	for _, in := range a.entered() {
		in.stop()
	}
	done := make(chan struct{})
	go func() { defer close(done); a.work.Wait() }()
	var late error
	select {
	case <-done:
	case <-ctx.Done():
		late = context.Cause(ctx)
		a.end(stopping)
		select {
		case <-done:
		case <-time.After(cutOff):
			a.Log.Error("NATS requests outlived their contexts", "waited", cutOff)
		}
	}
	// The last answers may still be in the connections' buffers.
	for _, in := range a.entered() {
		if err := in.conn.FlushTimeout(time.Second); err != nil && late == nil {
			late = messages.Errorf(messages.Unavailable, "nats service "+serviceName, "the last answers could not be sent: %w", err)
		}
	}
	return late
}

// enter counts a request in, unless the door is closing.
func (a *API) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return false
	}
	a.work.Add(1)
	return true
}
