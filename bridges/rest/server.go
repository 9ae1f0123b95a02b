package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"modelops/messages"
)

// leaveTime is how long Stop waits for requests that were told to end.
const leaveTime = 2 * time.Second

// Options of a Server. OpenAI, Gateway and Operations are required.
type Options struct {
	// OpenAI answers every path that isn't one of ours. It leaves the route's pattern in r.Pattern, empty for no route.
	OpenAI  http.Handler
	Gateway messages.Gateway
	// Metrics serves /metrics; nil = there is no such page.
	Metrics http.Handler
	// Observe counts a request that ended; may be nil.
	Observe func(method, route, code string)
	Version string
	// NATS is the port of the NATS door, for the command line; nil = it isn't told.
	NATS func() string
	// Host is the name of this one.
	Host string
	// Said is how old what other hosts said is; nil = there are none.
	Said func() []*messages.HostSaid
	// Expected are the members that haven't been heard since this host started; nil = there are none.
	Expected func() []string
	// Operations answer the pages that the service's http rules name. Errors are typed.
	Operations messages.Operations
	// Authenticate finds the principal of a key; nil = none is asked for.
	Authenticate messages.Authenticate
	// Site is asked at each request; nil = reached on loopback only, and no page of another site may call.
	Site   func() Site
	Limits Limits
	// TLS is spoken when it is set.
	TLS *tls.Config
	Log *slog.Logger
}

// Server is the HTTP door. Start opens it, Stop closes it.
type Server struct {
	o          Options
	began      time.Time
	http       *http.Server
	pages      map[string]page
	operations *operations
	tokens     tokens
	running    sync.WaitGroup // requests
	mu         sync.Mutex
	at         net.Addr
	done       chan struct{}
	err        error
}

// New makes a server that listens to nothing yet. It fails only when a generated route is wrong.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	operations, err := newOperations(o)
	if err != nil {
		return nil, messages.Errorf(messages.Internal, "rest", "the routes of the operations can't be made: %w", err)
	}
	o.Limits = o.Limits.complete()
	s := &Server{o: o, began: time.Now(), operations: operations, tokens: newTokens(), done: make(chan struct{})}
	s.pages = s.ownPages()
	// No WriteTimeout and no ReadTimeout: answers stream and bodies arrive as long as they take. Each write and each silence of a body is bounded.
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: o.Limits.HeaderTime, MaxHeaderBytes: o.Limits.HeaderBytes, IdleTimeout: o.Limits.IdleTime, TLSConfig: o.TLS, ConnState: noteIdle,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: o.Limits.Streams, SendPingTimeout: o.Limits.IdleTime, WriteByteTimeout: o.Limits.WriteStall},
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)}
	return s, nil
}

// Start serves on a listener in the background, until Stop.
func (s *Server) Start(l net.Listener) {
	s.mu.Lock()
	s.at = l.Addr()
	s.mu.Unlock()
	go func() {
		defer close(s.done)
		if err := s.serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = messages.Errorf(messages.Internal, "rest "+l.Addr().String(), "the server ended: %w", err)
		}
	}()
}

func (s *Server) serve(l net.Listener) error {
	if s.o.TLS == nil {
		return s.http.Serve(l)
	}
	return s.http.ServeTLS(l, "", "") // certificates come from the configuration
}

// site is what is known now of the names of this host and of the pages that may call it.
func (s *Server) site() Site {
	if s.o.Site == nil {
		return Site{}
	}
	return s.o.Site()
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
