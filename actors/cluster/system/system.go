package system

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	proto "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"modelops/actors/cluster"
	"modelops/messages"
)

// Options of protoactor's part.
type Options struct {
	Host, BootID string
	// Where its remote listens. Port 0 takes a free one.
	Listen string
	Port   int
	// The address under which others reach it, without the port; empty = Listen.
	Advertise string
	// TLS of the listener, which must demand a member's certificate; nil = plain TCP.
	Server *tls.Config
	// TLS for the remote that a member told at an address; nil answers refuse it. Not used without Server.
	Client func(address string) *tls.Config
	Log    *slog.Logger
}

// System is protoactor's cluster: remote actors between the hosts, and the seat of the arbiter as an actor with a cluster identity. Who is a member and who
// has the seat is decided by the table; protoactor follows.
type System struct {
	o       Options
	port    int
	cluster *proto.Cluster
	seat    *seat
	started chan struct{} // closed once members may be given to it
	over    chan struct{} // closed when its start has returned
	failed  atomic.Bool

	mu   sync.Mutex
	said string // the members that it was given last
}

var _ proto.ClusterProvider = (*System)(nil)

// Arbiter is the cluster identity of the seat.
const Arbiter = messages.KindArbiter

// patience is how long the library waits for an answer.
const patience = time.Second

// longest is how long protoactor's own failure detector waits: the table decides who is a member.
const longest = 8760 * time.Hour

// New finds that the port is free. Nothing listens before Start.
func New(o Options) (*System, error) {
	port, err := free(o)
	if err != nil {
		return nil, err
	}
	s := &System{o: o, port: port, started: make(chan struct{}), over: make(chan struct{})}
	return s, nil
}

// free finds out that the port can be listened on: the library panics when it can't.
func free(o Options) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(o.Listen, strconv.Itoa(o.Port)))
	if err != nil {
		return 0, messages.Errorf(messages.Unavailable, "cluster.actors_port", "port %d can't be listened on: %w", o.Port, err).WithHint("another program has it: set cluster.actors_port to a free port; it may be another on each host")
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// Address is where other hosts reach its remote.
func (s *System) Address() string {
	at := s.o.Advertise
	if at == "" {
		at = s.o.Listen
	}
	return net.JoinHostPort(at, strconv.Itoa(s.port))
}

// Start begins to listen. Hold is called with true when the seat's actor runs here, and with false when it has ended; where says at which remote it is reached
// now. Starting takes a second, so it goes on beside what the caller does.
func (s *System) Start(hold func(mine bool), where func() (address string)) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(quiet{s.o.Log.Handler()}) }))
	s.seat = &seat{system: system, where: where, props: actor.PropsFromProducer(func() actor.Actor { return &seated{host: s.o.Host, boot: s.o.BootID, hold: hold} })}
	config := proto.Configure("modelops", s, s.seat, s.remote(), proto.WithKinds(proto.NewKind(Arbiter, s.seat.props)), proto.WithRequestTimeout(patience), proto.WithHeartbeatExpiration(longest))
	s.cluster = proto.New(system, config)
	go func() {
		defer close(s.over)
		defer func() {
			if p := recover(); p != nil {
				s.failed.Store(true)
				s.o.Log.Error("the hosts' actor systems can't be joined: this host's arbiter serves this host only", "reason", fmt.Sprint(p))
			}
		}()
		s.cluster.StartMember()
	}()
}

func (s *System) remote() *remote.Config {
	o := []remote.ConfigOption{remote.WithAdvertisedHost(s.Address()), remote.WithEndpointWriterQueueSize(1024)}
	if s.o.Server != nil {
		o = append(o, remote.WithServerOptions(grpc.Creds(credentials.NewTLS(s.o.Server))), remote.WithDialOptions(grpc.WithTransportCredentials(newCaller(s.o.Client))))
	}
	listen := s.o.Listen
	if strings.Contains(listen, ":") {
		listen = "[" + listen + "]" // the library joins it with the port as it is
	}
	return remote.Configure(listen, s.port, o...)
}

// StartMember implements the library's port: the library is ready to be given members.
func (s *System) StartMember(*proto.Cluster) error {
	close(s.started)
	return nil
}

// StartClient implements the library's port.
func (s *System) StartClient(*proto.Cluster) error { return nil }

// Shutdown implements the library's port: heartbeats say that this host leaves.
func (s *System) Shutdown(bool) error { return nil }

// Settle has protoactor follow the table: its members, and whether the seat is here.
func (s *System) Settle(members []cluster.Active, mine bool) {
	select {
	case <-s.started:
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if said := fmt.Sprint(members); said != s.said {
		s.said = said
		s.cluster.MemberList.UpdateClusterTopology(s.members(members))
	}
	s.seat.settle(mine)
}

// members have a generation in their ids: the library never takes back an id that has left once. The ids are this host's own, so that it needs to agree with nobody.
func (s *System) members(active []cluster.Active) proto.Members {
	kinds := s.cluster.GetClusterKinds()
	all := proto.Members{member(s.cluster.ActorSystem.ID, s.Address(), kinds)}
	for _, m := range active {
		if x := member(fmt.Sprintf("%s/%s#%d@%s", m.Host, m.BootID, m.Generation, s.cluster.ActorSystem.ID), m.Actors, kinds); x != nil {
			all = append(all, x)
		}
	}
	return all
}

func member(id, address string, kinds []string) *proto.Member {
	host, port, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil {
		return nil // it has no remote yet
	}
	return &proto.Member{Id: id, Host: host, Port: int32(number), Kinds: kinds}
}

// Ask asks the seat's actor, wherever it is, which host has the seat.
func (s *System) Ask(ctx context.Context) (*messages.PeerHello, error) {
	within := patience / 2
	if at, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(at))
	}
	answer, err := s.cluster.Request(Arbiter, Arbiter, &messages.PeerHello{Host: s.o.Host, BootId: s.o.BootID}, proto.WithTimeout(within), proto.WithRetryCount(1))
	if err != nil {
		return nil, messages.Errorf(messages.Unavailable, Arbiter, "the seat's actor doesn't answer: %w", err).WithRetry(patience)
	}
	hello, ok := answer.(*messages.PeerHello)
	if !ok {
		return nil, messages.Errorf(messages.Internal, Arbiter, "answered with %T", answer)
	}
	return hello, nil
}

// Stop ends the seat's actor and stops listening.
func (s *System) Stop() {
	<-s.over
	if s.failed.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seat.settle(false)
	s.cluster.Shutdown(false)
}

// quiet lowers protoactor's own lines: at each cut it logs at ERROR what the table has told in one line.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(n string) slog.Handler      { return quiet{q.Handler.WithGroup(n)} }
