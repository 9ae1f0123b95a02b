package grpcapi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/tap"

	"modelops/messages"
)

// Options are the server's ports and bounds. Gateway and Operations are required; a zero in the rest means its default.
type Options struct {
	Gateway messages.Gateway
	// Operations are everything but inference.
	Operations messages.Operations
	// Authenticate finds the principal of a key; nil = none is asked for.
	Authenticate messages.Authenticate
	Log          *slog.Logger
	// Observe is told of every finished call and streamed request: its full method, OK or the name of its error, its time.
	Observe func(method, code string, took time.Duration)
	// MaxMessage bounds one message in bytes, each way. Default 100 MiB.
	MaxMessage int
	// Bodies is the memory for all bodies together; nil = no bound. A message takes its part when its length is known, before it is read.
	Bodies *messages.Budget
	// MaxInFlight bounds the requests running on one InferStream. Default 64.
	MaxInFlight int
	// MaxStreams bounds the calls running on one connection. Default 4096.
	MaxStreams uint32
	// MaxHeader bounds the metadata of a call in bytes. Default 64 KiB.
	MaxHeader uint32
	// Handshake bounds the time until a connection speaks gRPC. Default 10 seconds.
	Handshake time.Duration
	// Idle ends a connection without calls. Default: never.
	Idle time.Duration
	// BodyStall ends a call whose message brings no byte for so long. Default 30 seconds.
	BodyStall time.Duration
	// TLS is spoken when it is set.
	TLS *tls.Config
	// Timeout ends calls whose client set no deadline. Default 10 minutes.
	Timeout time.Duration
	// SendTimeout ends an InferStream whose client reads nothing for so long. Default 1 minute.
	SendTimeout time.Duration
	// HealthPeriod is how often a health watch looks for a change. Default 1 second.
	HealthPeriod time.Duration
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration) {}
	}
	o.MaxMessage = orDefault(o.MaxMessage, 100<<20)
	o.MaxInFlight = orDefault(o.MaxInFlight, 64)
	o.MaxStreams = orDefault(o.MaxStreams, 4096)
	o.MaxHeader = orDefault(o.MaxHeader, 64<<10)
	o.Handshake = orDefault(o.Handshake, 10*time.Second)
	o.Timeout = orDefault(o.Timeout, 10*time.Minute)
	o.BodyStall = orDefault(o.BodyStall, 30*time.Second)
	o.SendTimeout = orDefault(o.SendTimeout, time.Minute)
	o.HealthPeriod = orDefault(o.HealthPeriod, time.Second)
	return o
}

func orDefault[T int | uint32 | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// Server is the gRPC door. It is started once and stopped once.
type Server struct {
	Options

	grpc     *grpc.Server
	draining chan struct{}
	drain    sync.Once
	stopping chan struct{}
	stop     sync.Once
	listener net.Listener
	served   chan struct{} // closed when the accept loop has ended
}

// New makes a server that listens to nothing yet.
func New(o Options) *Server {
	s := &Server{
		Options: o.withDefaults(), draining: make(chan struct{}), stopping: make(chan struct{}), served: make(chan struct{}),
	}
	secured := insecure.NewCredentials()
	if s.TLS != nil {
		secured = credentials.NewTLS(s.TLS)
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(counting{secured}), grpc.MaxHeaderListSize(s.MaxHeader),
		grpc.MaxRecvMsgSize(s.MaxMessage), grpc.MaxSendMsgSize(s.MaxMessage), grpc.MaxConcurrentStreams(s.MaxStreams),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(connectionWindow),
		grpc.ConnectionTimeout(s.Handshake), grpc.InTapHandle(s.tap),
		// Old clients ping every 30 s, idle or not; the library's default would cut them off for it.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionIdle: s.Idle}),
		grpc.WaitForHandlers(true),
		grpc.UnaryInterceptor(s.guardUnary), grpc.StreamInterceptor(s.guardStream), grpc.ForceServerCodecV2(newCodec()),
	)
	s.grpc.RegisterService(s.described(), service{Operations: s.operations(), inference: inference{s}})
	s.grpc.RegisterService(s.readable(grpc_health_v1.Health_ServiceDesc), &healthServer{server: s})
	reflection.Register(s.grpc)
	return s
}

// tap refuses an inference before its message is read while bodies take all the memory that they may.
func (s *Server) tap(ctx context.Context, call *tap.Info) (context.Context, error) {
	if !s.Bodies.Full() || call.FullMethodName != messages.ModelOps_Infer_FullMethodName && call.FullMethodName != streamedMethod {
		return ctx, nil
	}
	return nil, statusOf(messages.NewError(messages.BulkheadRejection, "", "request bodies take all the memory that they may").
		WithRetry(time.Second).WithHint("try again later, or raise server.body_budget_mb"))
}

// Start serves on a listener in the background, until Stop.
func (s *Server) Start(l net.Listener) { s.serve(l) }

func (s *Server) serve(l net.Listener) {
	s.listener = l
	go func() {
		defer close(s.served)
		if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.Log.Error("the gRPC server ended", "address", l.Addr().String(), "error", err)
		}
	}()
}

// Addr is where the server listens, host:port; empty before Start.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Drain makes health say NOT_SERVING. Requests are still taken: load balancers need time to notice.
func (s *Server) Drain() { s.drain.Do(func() { close(s.draining) }) }

// cutOff is how long handlers get to return once their contexts have ended.
const cutOff = 2 * time.Second

// Stop refuses what is new and lets what runs finish until ctx ends; then it cuts connections, which ends every request's
// context. It returns ctx's error when it had to, and after at most 2 seconds more.
func (s *Server) Stop(ctx context.Context) error {
	s.Drain()
	s.stop.Do(func() { close(s.stopping) })
	graceful := make(chan struct{})
	go func() { defer close(graceful); s.grpc.GracefulStop() }()
	select {
	case <-graceful:
		return s.awaitServed(ctx)
	case <-ctx.Done():
	}
	cut := make(chan struct{})
	go func() { defer close(cut); s.grpc.Stop() }()
	select {
	case <-cut:
	case <-time.After(cutOff):
		s.Log.Error("gRPC requests outlived their contexts", "waited", cutOff)
	}
	return context.Cause(ctx)
}

func (s *Server) awaitServed(ctx context.Context) error {
	if s.listener == nil {
		return nil
	}
	select {
	case <-s.served:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
