package grpcapi

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

func TestHealthFollowsTheGateway(t *testing.T) {
	g := &gateway{infer: echo}
	s, conn := open(t, Options{Gateway: g, HealthPeriod: time.Millisecond})
	client := pb.NewHealthClient(conn)
	is := func(want pb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "modelops.ModelOps"} {
			if r, err := client.Check(t.Context(), &pb.HealthCheckRequest{Service: service}); err != nil || r.Status != want {
				t.Errorf("%q: %v %v", service, r, err)
			}
		}
	}
	watch, err := client.Watch(t.Context(), &pb.HealthCheckRequest{Service: "modelops.ModelOps"})
	if err != nil {
		t.Fatal(err)
	}
	seen := func(want pb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := watch.Recv(); err != nil || r.Status != want {
			t.Fatal(r, err)
		}
	}
	seen(pb.HealthCheckResponse_SERVING)
	is(pb.HealthCheckResponse_SERVING)
	g.unhealthy.Store(true)
	seen(pb.HealthCheckResponse_NOT_SERVING)
	is(pb.HealthCheckResponse_NOT_SERVING)
	g.unhealthy.Store(false)
	seen(pb.HealthCheckResponse_SERVING)
	s.Drain()
	seen(pb.HealthCheckResponse_NOT_SERVING)
	is(pb.HealthCheckResponse_NOT_SERVING)
	if _, err := client.Check(t.Context(), &pb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	// A watch doesn't hold up the end.
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}

func TestReflectionShowsTheService(t *testing.T) {
	_, conn := open(t, Options{})
	stream, err := rpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&rpb.ServerReflectionRequest{MessageRequest: &rpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "modelops.ModelOps"}})
	r, err := stream.Recv()
	if err != nil || len(r.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Error(r, err)
	}
}

func TestStopLetsRunningRequestsFinish(t *testing.T) {
	g := newStepped()
	s, conn := open(t, Options{Gateway: g})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	g.of("a") <- "A0"
	c.expect("a 0 A0")
	idle := converse(t, t.Context(), conn)
	idle.ask("i")
	close(g.of("i"))
	idle.expect("i 0 done:")
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(t.Context()) }()
	<-s.stopping
	if _, err := idle.Recv(); status.Code(err) != codes.Unavailable {
		t.Error("an idle stream is ended:", err)
	}
	g.of("a") <- "A1"
	c.expect("a 1 A1")
	close(g.of("a"))
	c.expect("a 2 done:A0A1")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if e := FromStatus(errOf(c.Recv())); e.Code != messages.Unavailable {
		t.Error(e)
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestStopIsBounded(t *testing.T) {
	g := newStepped()
	s, conn := open(t, Options{Gateway: g})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	g.of("a") <- "A0"
	c.expect("a 0 A0")
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := s.Stop(over); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if got := <-g.ended; got != "a: context canceled" {
		t.Error("the request was not told:", got)
	}
	if err := errOf(c.Recv()); err == nil {
		t.Error("the stream outlived the server")
	}
}

// A connection without calls ends, so that it takes no place from others.
func TestAnIdleConnectionEnds(t *testing.T) {
	_, conn := open(t, Options{Idle: 20 * time.Millisecond})
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		conn.WaitForStateChange(t.Context(), state)
	}
	conn.WaitForStateChange(t.Context(), connectivity.Ready)
}
