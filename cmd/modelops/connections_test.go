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
	"testing"
	"time"

	"modelops/bridges/rest"
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
	server.Start(newDoor(l, most, fullHTTP, slog.New(slog.DiscardHandler)))
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
