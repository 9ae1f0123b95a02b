package main

import (
	"net"
	"strings"
	"testing"

	"modelops/messages"
)

func TestDoorsListenOnLoopbackOnly(t *testing.T) {
	for bind, want := range map[string]string{"": "127.0.0.1", "127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "LOCALHOST": "127.0.0.1", "127.8.9.1": "127.8.9.1"} {
		l, err := listen(bind, 0, "server.rest_port")
		if err != nil {
			t.Errorf("%q: %v", bind, err)
			continue
		}
		if got := l.Addr().(*net.TCPAddr).IP.String(); got != want {
			t.Errorf("%q: %s", bind, got)
		}
		_ = l.Close()
	}
	for _, bind := range []string{"0.0.0.0", "::", "[::]", "192.168.1.5", "example.com", "10.0.0.1", "*", "127.0.0.1.evil.com", "fe80::1"} {
		_, err := listen(bind, 0, "server.rest_port")
		if e := messages.AsError(err); e == nil || e.Code != messages.FailedPrecondition || !strings.Contains(e.Message, "no certificates") || e.Hint == "" {
			t.Errorf("%q: %v", bind, err)
		}
	}
	if _, err := listen("", 70000, "server.rest_port"); messages.CodeOf(err) != messages.InvalidArgument {
		t.Errorf("port 70000: %v", err)
	}
}

func TestATakenPortIsSaid(t *testing.T) {
	l, err := listen("", 0, "server.rest_port")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = listen("", l.Addr().(*net.TCPAddr).Port, "server.rest_port")
	if messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "server.rest_port") {
		t.Errorf("%v", err)
	}
}
