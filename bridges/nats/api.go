package natsapi

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"modelops/messages"
)

// Options are the door's ports and bounds. Conn, Gateway and Operations are required; a zero in the rest means its default.
type Options struct {
	Conn    *nats.Conn // stays open after Stop: its owner closes it
	Gateway messages.Gateway
	// Operations are everything but inference.
	Operations messages.Operations
	// Authenticate finds the principal of a key; nil = none is asked for.
	Authenticate messages.Authenticate
	Host         string // shown in the service's metadata
	Version      string // of the build; shown as it is in metadata and, when it is semantic, as the service's version
	Log          *slog.Logger
	// Observe is told of every finished request: endpoint, OK or the name of its error, its time.
	Observe func(endpoint, code string, took time.Duration)
	// MaxInference bounds the inferences running or queued through this door. Default 1024.
	MaxInference int
	// Reads tells whether anyone is subscribed to a reply subject; nil = nobody can know. NATS tells a service nothing of callers that leave.
	Reads func(subject string) bool
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

// API is the NATS door. It is started once and stopped once.
type API struct {
	Options
	service micro.Service
	tallies map[string]*tally // by endpoint name; fixed after Start

	life context.Context // governs all requests; ends when stopping has lost patience
	end  context.CancelCauseFunc

	mu       sync.Mutex
	stopping bool
	work     sync.WaitGroup

	running running
	look    time.Duration // lookEvery, but for tests
}

// New makes a door that answers nothing yet.
func New(o Options) *API {
	a := &API{Options: o.withDefaults(), tallies: map[string]*tally{}, look: lookEvery}
	a.life, a.end = context.WithCancelCause(context.Background())
	return a
}

// Start registers the service and returns when the server knows of it.
func (a *API) Start() error {
	service, err := a.register()
	if err != nil {
		return messages.Errorf(messages.Unavailable, "nats service "+serviceName, "cannot register: %w", err)
	}
	a.service = service
	group := service.AddGroup(root)
	for _, e := range a.endpoints() {
		if err = e.add(a, group); err != nil {
			break
		}
	}
	if err == nil {
		err = a.Conn.FlushTimeout(5 * time.Second)
	}
	if err != nil {
		_ = service.Stop()
		return messages.Errorf(messages.Unavailable, "nats service "+serviceName, "cannot offer its endpoints: %w", err)
	}
	return nil
}

// register joins the micro framework, which takes semantic versions only.
func (a *API) register() (micro.Service, error) {
	config := micro.Config{
		Name: serviceName, QueueGroup: serviceName, Version: strings.TrimPrefix(a.Version, "v"),
		Description:  "runs models on the devices of " + a.Host,
		Metadata:     map[string]string{"host": a.Host, "version": a.Version},
		StatsHandler: a.stats,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			a.Log.Warn("the NATS service lost messages", "subject", e.Subject, "error", e.Description)
		},
	}
	service, err := micro.AddService(a.Conn, config)
	if err != nil {
		config.Version = "0.0.0"
		service, err = micro.AddService(a.Conn, config)
	}
	return service, err
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
	if a.service != nil {
		if err := a.service.Stop(); err != nil {
			a.Log.Warn("the NATS service did not leave cleanly", "error", err)
		}
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
	// The last answers may still be in the connection's buffer.
	if err := a.Conn.FlushTimeout(time.Second); err != nil && late == nil {
		return messages.Errorf(messages.Unavailable, "nats service "+serviceName, "the last answers could not be sent: %w", err)
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
