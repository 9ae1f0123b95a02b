//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each byte at a host of the laboratory, on a port that the caller gets.
func (l *lab) echo(name string) (port int) {
	l.t.Helper()
	var socket net.Listener
	err := l.net.inside(l.number(name), func() (err error) {
		socket, err = net.Listen("tcp4", l.address(name)+":0")
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { socket.Close() })
	go func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return socket.Addr().(*net.TCPAddr).Port
}

// call connects from a host, and is closed at the test's end.
func (l *lab) call(from, to string, port int) net.Conn {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), waitLimit)
	defer cancel()
	c, err := l.dial(ctx, from, l.link(from, to, port))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

// trip is the time that a byte takes to the echo and back; it fails after the limit.
func trip(c net.Conn, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	_ = c.SetDeadline(began.Add(limit))
	if _, err := c.Write([]byte{1}); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return time.Since(began), err
}

// TestLabFabric: packets pass, a cut holds in the direction that was cut, a line is as slow, lossy and narrow as it was told, and a healed one is good again on the
// connections that were there.
func TestLabFabric(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "a", "b", "c")
	b, c := l.echo("b"), l.echo("c")
	toB, toC := l.call("a", "b", b), l.call("a", "c", c)
	quick, err := trip(toB, waitLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a round trip takes %s", quick)
	short := 300 * time.Millisecond
	for name, harm := range map[string]func(){
		"a cut":                 func() { l.cut("a", "b") },
		"a cut of the question": func() { l.cutOneWay("a", "b") },
		"a cut of the answer":   func() { l.cutOneWay("b", "a") },
		"an isolated host":      func() { l.isolate("b") },
	} {
		harm()
		if took, err := trip(toB, short); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: an answer after %s, %v", name, took, err)
		}
		if _, err := trip(toC, waitLimit); err != nil {
			t.Errorf("%s: another pair: %v", name, err)
		}
		l.heal()
		_ = toB.SetDeadline(time.Now().Add(waitLimit))
		if _, err := io.ReadFull(toB, make([]byte, 1)); err != nil { // the byte of before is sent again
			t.Errorf("healed after %s: %v", name, err)
		}
	}

	l.slow("a", "b", 40*time.Millisecond)
	if took, err := trip(toB, waitLimit); err != nil || took < 80*time.Millisecond {
		t.Errorf("with 40 ms each way: %s, %v", took, err)
	}
	l.heal()
	l.lossy("a", "b", 0.2)
	began := time.Now()
	for range 10 {
		if _, err := trip(toB, waitLimit); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("10 round trips with 20 %% loss take %s", time.Since(began).Round(time.Millisecond))
	l.heal()
	l.narrow("a", "b", 200_000)
	began = time.Now()
	go func() { _, _ = toB.Write(make([]byte, 60_000)) }()
	_ = toB.SetReadDeadline(time.Now().Add(waitLimit))
	if _, err := io.ReadFull(toB, make([]byte, 60_000)); err != nil || time.Since(began) < 250*time.Millisecond {
		t.Errorf("60 kB at 200 kB a second: %s, %v", time.Since(began), err)
	}
	l.heal()
	end := l.flap("a", "b", 20*time.Millisecond)
	for range 5 {
		if _, err := trip(toB, waitLimit); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if _, err := trip(toB, waitLimit); err != nil {
		t.Error(err)
	}
}
