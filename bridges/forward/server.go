package forward

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"modelops/messages"
)

// Options of a Server. All but Log are required.
type Options struct {
	Host    string
	Gateway messages.Gateway
	// Workers reaches the workers of this host.
	Workers http.RoundTripper
	Log     *slog.Logger
}

// mostStreams requests of one connection at once.
const mostStreams = 4096

// handlers wait for requests with stacks that have grown already; above that each gets a goroutine of its own.
const handlers = 32

// Server runs what other hosts pass on. NewServer makes one; it is started and stopped once.
type Server struct {
	o    Options
	work chan *stream // for handlers that have nothing to do

	mu      sync.Mutex
	conns   map[*conn]bool
	over    bool
	running sync.WaitGroup // connections and requests
	life    context.Context
	end     context.CancelFunc
}

// NewServer makes a Server that serves nobody before Start.
func NewServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, work: make(chan *stream), conns: map[*conn]bool{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Start serves until Stop.
func (s *Server) Start() {
	for range handlers {
		go s.handle()
	}
}

// handle runs requests, one after another.
func (s *Server) handle() {
	for {
		select {
		case in := <-s.work:
			s.serve(in)
			s.running.Done()
		case <-s.life.Done():
			return
		}
	}
}

// accept gives a request to a handler. It never waits.
func (s *Server) accept(in *stream) {
	s.running.Add(1)
	select {
	case s.work <- in:
	default:
		go func() {
			defer s.running.Done()
			s.serve(in)
		}()
	}
}

// Stop takes no further requests and lets what runs finish until ctx ends; then it ends it.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.over = true
	for c := range s.conns {
		go c.retire(true)
	}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			go c.fail(errLeaving)
		}
	})
	defer stop()
	s.running.Wait()
	s.end()
	return context.Cause(ctx)
}

// Serve takes a connection of a host that has proved to be a member, and returns at once.
func (s *Server) Serve(raw net.Conn, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		_ = raw.Close()
		return
	}
	c := newConn(raw, s.accept)
	c.host = host
	s.conns[c] = true
	s.running.Go(func() {
		c.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	})
}

// admitted is the context of a request at this host: bound to one of its workers, for the caller that the other host has admitted.
func (s *Server) admitted(in *stream, r *messages.ForwardRequest) context.Context {
	m := r.GetMeta()
	caller := messages.Caller{Principal: m.GetPrincipal().Principal(), RequestID: r.RequestId, Only: messages.Only{Host: s.o.Host, Worker: r.Model},
		Asked: time.Now().Add(-time.Duration(max(r.WaitedMs, 0)) * time.Millisecond)}
	if r.KeepAliveMs != nil {
		stay := time.Duration(*r.KeepAliveMs) * time.Millisecond
		caller.KeepAlive = &stay
	}
	ctx := messages.WithMeta(in.ctx, messages.Meta{ID: m.GetId(), Correlation: m.GetCorrelation(), Causation: m.GetCausation(), Caller: m.GetCaller()})
	return messages.WithPeer(messages.WithCaller(ctx, caller), in.c.host)
}
