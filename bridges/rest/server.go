package rest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"modelops/messages"
)

const (
	headerTime  = 10 * time.Second
	headerBytes = 64 << 10
	idleTime    = 2 * time.Minute
	// leaveTime is how long Stop waits for requests that were told to end.
	leaveTime = 2 * time.Second
)

// Options of a Server. OpenAI and Gateway are required.
type Options struct {
	// OpenAI answers every path that isn't one of ours. It leaves the route's pattern in r.Pattern, empty for no route.
	OpenAI  http.Handler
	Gateway messages.Gateway
	// Metrics serves /metrics; nil = there is no such page.
	Metrics http.Handler
	// Observe counts a request that ended; nil = nobody does.
	Observe func(method, route, code string)
	Version string
	// Status is the whole view for /status; nil = only what the gateway knows.
	Status func() *messages.StatusView
	// Queue is who runs and waits, for /api/queue; nil = there is no such page.
	Queue func() *messages.QueueView
	// Why explains a subject for /why/{subject...}; nil = there is no such page. Errors are typed.
	Why func(ctx context.Context, r *messages.WhyRequest) (*messages.Explanation, error)
	// Swaps begins, ends and lists swaps for /api/swaps; nil = there is no such page. Errors are typed.
	Swaps Swaps
	// Bind is a loopback address; empty = 127.0.0.1. Port 0 takes any that is free.
	Bind string
	Port int
	Log  *slog.Logger
}

// Server is the HTTP door. Start opens it, Stop closes it.
type Server struct {
	o       Options
	address string
	began   time.Time
	http    *http.Server
	pages   map[string]http.HandlerFunc
	running sync.WaitGroup // requests
	mu      sync.Mutex
	at      net.Addr
	done    chan struct{}
	err     error
}

// New checks the options. An address that can be reached from outside is a FailedPrecondition.
func New(o Options) (*Server, error) {
	address, err := address(o.Bind, o.Port)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, address: address, began: time.Now(), done: make(chan struct{})}
	s.pages = map[string]http.HandlerFunc{"/": s.root, "/health": s.health, "/status": s.status, "/running": s.models}
	if o.Metrics != nil {
		s.pages["/metrics"] = o.Metrics.ServeHTTP
	}
	if o.Queue != nil {
		s.pages["/api/queue"] = s.queue
	}
	// No WriteTimeout: answers stream as long as they take. The inference API bounds each write of its own.
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: headerTime, MaxHeaderBytes: headerBytes, IdleTimeout: idleTime,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)}
	return s, nil
}

// Start listens and serves until Stop. The error says why the address can't be had.
func (s *Server) Start() error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return messages.Errorf(messages.Unavailable, "rest "+s.address, "can't listen: %w", err).WithHint("another program may hold the port: choose another server.rest_port")
	}
	s.mu.Lock()
	s.at = l.Addr()
	s.mu.Unlock()
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = messages.Errorf(messages.Internal, "rest "+s.address, "the server ended: %w", err)
		}
	}()
	return nil
}

// Addr is where the server listens; nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// Done is closed when the server no longer accepts, by Stop or by a failure that Err tells.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is why the server ended by itself; nil after Stop. Only valid once Done is closed.
func (s *Server) Err() error { return s.err }

// Stop accepts no more requests and lets those that run finish until ctx ends; then their connections are closed, which
// ends them in every state. The error tells that this was needed.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	_ = s.http.Close() // the connections are what matters, and they are gone
	left := make(chan struct{})
	go func() { s.running.Wait(); close(left) }()
	patience := time.NewTimer(leaveTime)
	defer patience.Stop()
	select {
	case <-left:
		return messages.NewError(messages.DeadlineExceeded, "rest", "requests were still running and have been cut off").WithCause(err)
	case <-patience.C:
		return messages.Errorf(messages.Internal, "rest", "requests don't end although their connections are closed").WithCause(err)
	}
}
