package forward

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

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

// Server runs what other hosts pass on. New makes one; it is started and stopped once.
type Server struct {
	messages.UnimplementedPeerServer
	o     Options
	grpc  *grpc.Server
	conns *arrivals
}

// NewServer makes a Server that serves nobody before Start.
func NewServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, conns: &arrivals{next: make(chan net.Conn), over: make(chan struct{})}}
	s.grpc = grpc.NewServer(grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(connWindow), grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer),
		grpc.MaxRecvMsgSize(frameLimit), grpc.MaxSendMsgSize(frameLimit), grpc.MaxConcurrentStreams(mostStreams), grpc.WaitForHandlers(true), grpc.NumStreamWorkers(handlers),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: alive / 2, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: alive, Timeout: aliveTimeout}))
	messages.RegisterPeerServer(s.grpc, s)
	return s
}

// Start serves until Stop.
func (s *Server) Start() {
	go func() {
		if err := s.grpc.Serve(s.conns); err != nil {
			s.o.Log.Debug("passing on ended", "error", err)
		}
	}()
}

// Stop lets what runs finish until ctx ends; then it ends it.
func (s *Server) Stop(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	s.grpc.GracefulStop()
	return context.Cause(ctx)
}

// Serve takes a connection of a host that has proved to be a member.
func (s *Server) Serve(c net.Conn, host string) {
	select {
	case s.conns.next <- member{c, host}:
	case <-s.conns.over:
		_ = c.Close()
	}
}

// member is a connection whose address is the name of its host.
type member struct {
	net.Conn
	host string
}

// RemoteAddr implements net.Conn.
func (m member) RemoteAddr() net.Addr { return named(m.host) }

type named string

// Network implements net.Addr.
func (named) Network() string { return "cluster" }

// String implements net.Addr.
func (n named) String() string { return string(n) }

// arrivals are the connections that come, as a net.Listener.
type arrivals struct {
	next chan net.Conn
	over chan struct{}
	once sync.Once
}

// Accept implements net.Listener.
func (a *arrivals) Accept() (net.Conn, error) {
	select {
	case c := <-a.next:
		return c, nil
	case <-a.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (a *arrivals) Close() error {
	a.once.Do(func() { close(a.over) })
	return nil
}

// Addr implements net.Listener.
func (*arrivals) Addr() net.Addr { return named("cluster") }

// hostOf is the member that asks.
func hostOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// admitted is the context of a request at this host: bound to one of its workers, for the caller that the other host has admitted.
func (s *Server) admitted(ctx context.Context, r *messages.ForwardRequest) context.Context {
	from, m := hostOf(ctx), r.GetMeta()
	caller := messages.Caller{Principal: m.GetPrincipal().Principal(), RequestID: r.RequestId, Only: messages.Only{Host: s.o.Host, Worker: r.Model},
		Asked: time.Now().Add(-time.Duration(max(r.WaitedMs, 0)) * time.Millisecond)}
	if r.KeepAliveMs != nil {
		stay := time.Duration(*r.KeepAliveMs) * time.Millisecond
		caller.KeepAlive = &stay
	}
	ctx = messages.WithMeta(ctx, messages.Meta{ID: m.GetId(), Correlation: m.GetCorrelation(), Causation: m.GetCausation(), Caller: m.GetCaller()})
	return messages.WithPeer(messages.WithCaller(ctx, caller), from)
}
