//go:build e2e

package e2e_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// hoarder is a client that opens connections at every door and does nothing with them.
type hoarder struct {
	c     *chaos
	conns []io.Closer
}

// words are what a hoarder sends on a connection, so that it isn't the same kind of idle each time.
var words = map[string][]string{
	"http": {"", "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"},
	"grpc": {"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "PRI * HTTP"},
	"nats": {"", "CONNECT {\"verbose\":false}\r\n", "PING\r\n"},
}

// hoard opens n connections at each door. A door that refuses one has done right.
func (h *hoarder) hoard(n int) {
	for door, at := range map[string]string{
		"http": strings.TrimPrefix(h.c.at.HTTP, "http://"), "grpc": h.c.at.GRPC, "nats": strings.TrimPrefix(h.c.at.NATS, "nats://"),
	} {
		for i := range n {
			conn, err := net.Dial("tcp", at)
			if err != nil {
				continue
			}
			_, _ = io.WriteString(conn, words[door][i%len(words[door])])
			h.conns = append(h.conns, conn)
		}
	}
	for range n / 50 {
		nc, err := nats.Connect(h.c.at.NATS, nats.NoReconnect(), nats.Timeout(waitLimit), nats.Token(h.c.operatorKey()))
		if err == nil {
			h.conns = append(h.conns, closes(nc.Close))
		}
	}
}

type closes func()

// Close implements io.Closer.
func (f closes) Close() error { f(); return nil }

func (h *hoarder) leave() {
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.conns = nil
}

// getIn connects as the operator. While connections come faster than the door can tell whose they are, it may take more than one try.
func (c *chaos) getIn() (nc *nats.Conn) {
	c.t.Helper()
	c.until(waitLimit, "the operator gets in", func() bool {
		var err error
		nc, err = nats.Connect(c.at.NATS, nats.NoReconnect(), nats.Timeout(waitLimit), nats.Token(c.operatorKey()))
		return err == nil
	})
	return nc
}

// limit starts the daemon with a limit on open files.
func (c *chaos) limit(files int) {
	c.t.Helper()
	limited := filepath.Join(c.dir, "limited")
	c.write("limited", fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", files, c.binary))
	if err := os.Chmod(limited, 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.binary = limited
}

// TestChaosConnections: a client holds hundreds of connections at every door of a daemon with 256 descriptors, again and again, while models are
// loaded, unloaded and evicted; in between the daemon is killed and adopts what it finds. The daemon keeps descriptors for itself, the operator
// gets in, and when the connections are closed everyone is served.
func TestChaosConnections(t *testing.T) {
	c := pressable(t, "")
	c.limit(256)
	c.launch()
	c.awaitPhase("light", "ready")
	p := c.press()
	h := &hoarder{c: c}
	t.Cleanup(h.leave)
	for i := range often("FILLS", 2) {
		h.hoard(400)
		for range 3 {
			nc := c.getIn()
			for _, model := range pressured[1:] {
				if _, err := ask(nc, "models.unload."+model, object{"model_name": model, "force": true}); err != nil {
					t.Logf("unload %s: %v", model, err)
				}
			}
			nc.Close()
			if files := c.openFiles(); files > 256-64 {
				t.Errorf("%d of 256 descriptors are in use", files)
			}
		}
		if i%2 == 1 {
			c.kill()
			c.launch()
			h.hoard(400)
		}
		h.leave()
		ok := p.count("OK")
		p.until("requests are answered again", func() bool { return p.count("OK") > ok+2*len(pressured) })
		t.Logf("connections were held %d times", i+1)
	}
	p.endsWell("after many connections")
}

// TestChaosNoDescriptors takes every descriptor away that a running daemon could still open, as a neighbour under the same limit does or a leak:
// no connection is accepted, no process is started, proved or signalled, no file is opened. Every second time it was started again just before,
// and unloads workers that it adopted: those aren't its children, so it needs descriptors to prove them. When there are descriptors again every
// request ends, and everything goes on in the same process.
func TestChaosNoDescriptors(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := pressable(t, "")
	c.launch()
	c.awaitPhase("light", "ready")
	p := c.press()
	adopted := 0
	for i := range often("FILLS", 2) {
		if i%2 == 1 {
			c.ensure("a")
			c.kill()
			adopted += len(carriers(c.dir))
			c.launch()
		}
		pid, nc := c.cmd.Process.Pid, c.dial()
		var before unix.Rlimit
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
			t.Fatal(err)
		}
		none := unix.Rlimit{Cur: uint64(c.chance.IntN(c.openFiles() + 8)), Max: before.Max}
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &none, nil); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			for _, model := range pressured[1:] {
				tell(nc, model, unloading(c.chance.IntN(2) == 0))
				c.asks(model)
			}
			for _, w := range carriers(c.dir) {
				if w.leader && c.chance.IntN(3) == 0 {
					_ = unix.Kill(w.pid, unix.SIGKILL)
				}
			}
			due(time.Now().Add(time.Second))
		}
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		p.allEnded("after a time without descriptors") // until then some wait for their connections to be accepted
		ok := p.count("OK")
		p.until("requests are answered again", func() bool { return p.count("OK") > ok+2*len(pressured) })
		if !c.running() {
			t.Fatal("the daemon has ended")
		}
		t.Logf("%d descriptors at most, %d times", none.Cur, i+1)
	}
	if adopted == 0 {
		t.Error("no worker was adopted: the test shows little")
	}
	p.endsWell("after a time without descriptors")
}

// openFiles is how many descriptors the daemon has open.
func (c *chaos) openFiles() int { return c.daemon.files() }
