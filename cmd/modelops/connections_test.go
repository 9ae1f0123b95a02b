package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	grpcapi "modelops/bridges/grpc"
	"modelops/bridges/rest"
	"modelops/messages"
)

func TestConnectionsLeaveDescriptorsForSupervision(t *testing.T) {
	for limit, want := range map[uint64]int{64: leastConnections, 256: 32, 1024: 192, 4096: 768, 1 << 20: 261632} {
		got := connectionsFor(limit)
		if got != want {
			t.Errorf("limit %d: %d connections, want %d", limit, got, want)
		}
		if left := int64(limit) - sharers*int64(got); limit >= 256 && left < leastReserve {
			t.Errorf("limit %d: %d descriptors are left", limit, left)
		}
	}
}

// served is a door in front of an HTTP server that answers each request once release is closed.
func served(t *testing.T, most int, handler http.Handler) string {
	t.Helper()
	l, err := listen(netip.MustParseAddr("127.0.0.1"), 0, "server.rest_port")
	if err != nil {
		t.Fatal(err)
	}
	server, err := rest.New(rest.Options{OpenAI: handler})
	if err != nil {
		t.Fatal(err)
	}
	server.Start(newDoor(l, most, fullHTTP, func(int) {}, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Stop(ended)
	})
	return l.Addr().String()
}

func dialed(t *testing.T, at string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAFullDoorClosesTheLongestIdleConnection(t *testing.T) {
	at := served(t, 3, http.NotFoundHandler())
	var idle []net.Conn
	for range 3 {
		idle = append(idle, dialed(t, at))
	}
	// Until one of them is idle for long enough, a new one is refused with a reason.
	for until := time.Now().Add(2 * time.Minute); ; {
		c := dialed(t, at)
		_, _ = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && res.StatusCode == http.StatusNotFound {
			break
		}
		if err == nil && (res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "") {
			t.Fatalf("a full door answers %s", res.Status)
		}
		if time.Now().After(until) {
			t.Fatalf("idle connections keep the door closed: %v", err)
		}
		_ = c.Close()
		<-time.After(50 * time.Millisecond)
	}
	_ = idle[0].SetReadDeadline(time.Now().Add(2 * time.Minute))
	if _, err := idle[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the longest idle connection stays: %v", err)
	}
}

func TestAFullDoorKeepsConnectionsThatHaveARequest(t *testing.T) {
	came, release := make(chan struct{}, 2), make(chan struct{})
	at := served(t, 2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { came <- struct{}{}; <-release }))
	var busy []net.Conn
	for range 2 {
		c := dialed(t, at)
		_, _ = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-came
		busy = append(busy, c)
	}
	c := dialed(t, at)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a door whose connections all have a request: %v, %v", res, err)
	}
	close(release)
	for _, c := range busy {
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("a running request: %v, %v", res, err)
		}
	}
}

// Who opens connection after connection and never sends a whole request keeps no caller out, and none that was served is closed for it.
func TestAFloodOfSilentConnectionsKeepsNobodyOut(t *testing.T) {
	at := served(t, 20, http.NotFoundHandler())
	ask := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err == nil && res.StatusCode == http.StatusNotFound
	}
	kept := dialed(t, at)
	if !ask(kept) {
		t.Fatal("an empty door refuses")
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	var opened atomic.Int64
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond): // meant to pass: the pace of the flood
			}
			if c, err := net.Dial("tcp", at); err == nil {
				defer c.Close()
				_, _ = io.WriteString(c, "GET / HT")
				opened.Add(1)
			}
		}
	}()
	tries, served := 0, 0
	for ; tries < 60 || opened.Load() < 300; tries++ { // longer than an idle connection that was served may stay
		c := dialed(t, at)
		if ask(c) {
			served++
		}
		_ = c.Close()
		<-time.After(5 * time.Millisecond)
	}
	if served < tries/3 {
		t.Errorf("%d of %d callers were served beside %d silent connections", served, tries, opened.Load())
	}
	if !ask(kept) {
		t.Error("a connection that was served was closed for silent ones")
	}
	close(stop)
	<-stopped
}

func TestConnectionsToWorkersAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := newOutward(1)
	freed := make(chan struct{}, 1)
	o.onFull(func() { freed <- struct{}{} })
	first, err := o.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Dial(ended, "tcp", l.Addr().String()); err == nil {
		t.Error("a second connection was made above the bound")
	}
	<-freed
	_, _ = first.Close(), first.Close()
	second, err := o.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("after the first was closed: %v", err)
	}
	_ = second.Close()
}

// calls answers an inference once release is closed.
type calls struct {
	messages.Gateway
	came, release chan struct{}
}

func (c *calls) Infer(ctx context.Context, r *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	c.came <- struct{}{}
	select {
	case <-c.release:
	case <-ctx.Done():
	}
	return &messages.InferenceResponse{RequestId: r.RequestId}, nil
}

func (c *calls) Health() messages.Health { return messages.Health{OK: true} }

// Connections without a call don't keep callers out of a full gRPC door, also those that only watch its health. One that has a call stays.
func TestAFullGRPCDoorClosesAnIdleConnection(t *testing.T) {
	l, err := listen(netip.MustParseAddr("127.0.0.1"), 0, "server.grpc_port")
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	gate := &calls{came: make(chan struct{}, 2), release: make(chan struct{})}
	server := grpcapi.New(grpcapi.Options{Gateway: gate})
	server.Start(newDoor(l, 3, nil, func(n int) { refused.Add(int64(n)) }, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Stop(ended)
	})
	client := func() *grpc.ClientConn {
		c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	busy := make(chan error, 1)
	go func() {
		_, err := messages.NewModelOpsClient(client()).Infer(t.Context(), &messages.InferenceRequest{ModelName: "m", Prompt: "x"})
		busy <- err
	}()
	<-gate.came
	silent := dialed(t, l.Addr().String())
	watch, err := grpc_health_v1.NewHealthClient(client()).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // each takes the place of one of the two idle ones
		c := grpc_health_v1.NewHealthClient(client())
		for until := time.Now().Add(2 * time.Minute); ; {
			if _, err = c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err == nil {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("idle connections keep the door closed: %v", err)
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	_ = silent.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for err = nil; err == nil; {
		_, err = silent.Read(make([]byte, 64)) // the server's settings, then the end
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || refused.Load() < 2 {
		t.Errorf("the silent connection: %v; %d refused", err, refused.Load())
	}
	close(gate.release)
	if err := <-busy; err != nil {
		t.Errorf("a running call: %v", err)
	}
}
