package system

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	proto "github.com/asynkron/protoactor-go/cluster"

	"modelops/messages"
)

// seat is the identity lookup: there is one identity, its actor has a fixed name, and the table says where it is. So a look-up asks nobody and can't block; the
// library's own asks a dead owner for five seconds.
type seat struct {
	system *actor.ActorSystem
	props  *actor.Props
	where  func() string

	mu  sync.Mutex
	pid *actor.PID // its actor here; nil = it is elsewhere
}

var _ proto.IdentityLookup = (*seat)(nil)

// name of the seat's actor on every host.
const name = "singleton/" + Arbiter

// settle starts or ends the actor here.
func (s *seat) settle(mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case mine && !s.lives():
		pid, err := s.system.Root.SpawnNamed(s.props, name)
		if err == nil {
			s.pid = pid
		}
	case !mine && s.pid != nil:
		_ = s.system.Root.PoisonFuture(s.pid).Wait() // the name is free once it has ended
		s.pid = nil
	}
}

// lives tells whether the actor runs here. On loopback without certificates any program of this machine could have ended it.
func (s *seat) lives() bool {
	if s.pid == nil {
		return false
	}
	_, ok := s.system.ProcessRegistry.GetLocal(s.pid.Id)
	return ok
}

// Get implements the library's port.
func (s *seat) Get(*proto.ClusterIdentity) *actor.PID {
	if at := s.where(); at != "" {
		return actor.NewPID(at, name)
	}
	return nil
}

// Setup implements the library's port.
func (s *seat) Setup(*proto.Cluster, []string, bool) {}

// RemovePid implements the library's port.
func (s *seat) RemovePid(*proto.ClusterIdentity, *actor.PID) {}

// Shutdown implements the library's port.
func (s *seat) Shutdown() {}

// seated is the seat's actor. While it lives, this host's arbiter places for the cluster.
type seated struct {
	host, boot string
	hold       func(mine bool)
}

// Receive implements actor.Actor.
func (s *seated) Receive(c actor.Context) {
	switch c.Message().(type) {
	case *actor.Started:
		s.hold(true)
	case *actor.Stopped:
		s.hold(false)
	case *messages.PeerHello:
		c.Respond(&messages.PeerHello{Host: s.host, BootId: s.boot, Protocol: messages.PeerProtocol, OldestProtocol: messages.OldestPeerProtocol})
	}
}
