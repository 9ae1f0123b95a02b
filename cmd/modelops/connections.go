package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"modelops/bridges/config"
)

// A daemon without descriptors can't prove, signal or start a process. So connections are bounded by the limit on open files, and a part of
// that is never given to them. The Go runtime has raised the soft limit to the hard one by now; workers get the original one.
const (
	leastReserve = 128
	mostReserve  = 2048
	// sharers divide what isn't reserved: three doors, and the connections to workers.
	sharers = 4
	// leastConnections is what a door gets in any case.
	leastConnections = 8
)

// connectionsFor is how many connections each door takes under a limit on open files.
func connectionsFor(limit uint64) int {
	reserve := min(max(limit/4, leastReserve), mostReserve)
	if limit <= reserve {
		return leastConnections
	}
	return int(min(max((limit-reserve)/sharers, leastConnections), 1<<20))
}

// maxConnections is how many connections each door takes: as configured, as far as the limit on open files lets it.
func maxConnections(cfg *config.Config, log *slog.Logger) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		log.Warn("the limit on open files can't be read", "error", err)
		limit.Cur = 1024
	}
	most := connectionsFor(limit.Cur)
	if limit.Cur < 2*leastReserve {
		log.Warn("the limit on open files is low: raise it (ulimit -n, LimitNOFILE)", "limit", limit.Cur, "connections at each door", most)
	}
	if want := cfg.Server.MaxConnections; want > 0 && want <= most {
		return want
	} else if want > most {
		log.Warn("server.max_connections is more than the limit on open files lets through: raise it (ulimit -n, LimitNOFILE)",
			"max_connections", want, "limit", limit.Cur, "connections at each door", most)
	}
	return most
}

const (
	// evictAfter is how long a connection without a request stays at a full door.
	evictAfter = time.Second
	// evictFresh is how long one stays that never had a request: who opens connection after connection and asks for nothing gives each slot back
	// that soon, so that a caller finds one.
	evictFresh = 50 * time.Millisecond
	// fullEvery bounds the log lines about a full door.
	fullEvery = time.Minute
	// mostRefusing connections at once are told why they are refused, each for refusalTime at most; the others are closed.
	mostRefusing = 8
	refusalTime  = 250 * time.Millisecond
)

// door is a listener that bounds the connections it has accepted. At a full door a connection that has no request makes place for the new
// one, the longest idle first; when all have one, the new connection is refused.
type door struct {
	net.Listener
	most   int
	refuse func(net.Conn) // says why; may be nil
	count  func(int)      // of connections that were refused, or closed for a new one
	log    *slog.Logger
	began  time.Time // with its monotonic reading: when the wall clock is set back, idle connections leave all the same
	// refusing bounds the connections that are being told why they are refused.
	refusing chan struct{}

	mu      sync.Mutex
	open    map[*caller]struct{}
	told    time.Time
	refused int // since told
}

func newDoor(l net.Listener, most int, refuse func(net.Conn), count func(int), log *slog.Logger) *door {
	return &door{Listener: l, most: most, refuse: refuse, count: count, log: log, began: time.Now(), refusing: make(chan struct{}, mostRefusing), open: map[*caller]struct{}{}}
}

// caller is one accepted connection. It keeps the methods of a TCP connection, which copy without buffers.
type caller struct {
	*net.TCPConn
	door *door
	idle atomic.Int64 // since when it has no request, in nanoseconds since the door opened; 0 = it has one, or its protocol doesn't say
	used atomic.Bool  // it had a request
	once sync.Once
	// calls run on it, of a protocol that has several at once. Its idle time counts while there are none.
	calls atomic.Int32
}

// CallBegan notes a call. The gRPC server tells it.
func (c *caller) CallBegan() {
	c.calls.Add(1)
	c.used.Store(true)
}

// CallEnded notes the end of a call.
func (c *caller) CallEnded() {
	c.SetIdle(true)
	c.calls.Add(-1)
}

// SetIdle notes whether the connection has a request. The HTTP server tells it.
func (c *caller) SetIdle(idle bool) {
	if !idle {
		c.used.Store(true)
		c.idle.Store(0)
		return
	}
	c.idle.Store(max(int64(time.Since(c.door.began)), 1))
}

func (c *caller) Close() error {
	c.once.Do(func() {
		c.door.mu.Lock()
		defer c.door.mu.Unlock()
		delete(c.door.open, c)
	})
	return c.TCPConn.Close()
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		in, ok := d.admit(c)
		if ok {
			return in, nil
		}
		select {
		case d.refusing <- struct{}{}:
			go d.turnAway(c)
		default:
			_ = c.Close()
		}
	}
}

// turnAway says why a connection is refused, and reads what came in for a moment: a close with unread bytes is a reset, which drops the words.
func (d *door) turnAway(c net.Conn) {
	defer func() { <-d.refusing }()
	defer c.Close()
	if d.refuse == nil {
		return
	}
	_ = c.SetDeadline(time.Now().Add(refusalTime))
	d.refuse(c)
	_, _ = io.CopyN(io.Discard, c, 64<<10)
}

// admit counts a connection in, in the place of an idle one when the door is full.
func (d *door) admit(c net.Conn) (*caller, bool) {
	in := &caller{TCPConn: c.(*net.TCPConn), door: d}
	d.mu.Lock()
	var leaves *caller
	if len(d.open) >= d.most {
		if leaves = d.longestIdle(); leaves == nil {
			d.tell()
			d.mu.Unlock()
			d.count(1)
			return nil, false
		}
		delete(d.open, leaves)
	}
	d.open[in] = struct{}{}
	d.mu.Unlock()
	if leaves != nil {
		d.count(1)
		_ = leaves.Close()
	}
	return in, true
}

// longestIdle is the connection without a request that waits the longest, of those that never had one when there is such; nil when none waits
// long enough. The caller holds d.mu.
func (d *door) longestIdle() *caller {
	var used, fresh *caller
	open := time.Since(d.began)
	usedBefore, freshBefore := int64(open-evictAfter), int64(open-evictFresh)
	for c := range d.open {
		switch since := c.idle.Load(); {
		case since == 0 || c.calls.Load() > 0:
		case !c.used.Load() && since < freshBefore:
			fresh, freshBefore = c, since
		case c.used.Load() && since < usedBefore:
			used, usedBefore = c, since
		}
	}
	return cmp.Or(fresh, used)
}

// tell logs that connections are refused. The caller holds d.mu.
func (d *door) tell() {
	d.refused++
	if time.Since(d.told) < fullEvery {
		return
	}
	d.log.Warn("a door is full: connections are refused", "address", d.Addr().String(), "max_connections", d.most, "refused", d.refused)
	d.told, d.refused = time.Now(), 0
}

// fullHTTP is what a caller of a full HTTP door is told. It is written without a server, because each connection there costs more.
func fullHTTP(c net.Conn) {
	const body = `{"error":{"message":"all connections are in use","type":"server_error","code":"UNAVAILABLE","param":null,"hint":"close idle connections, or raise server.max_connections","retry_after_ms":1000}}`
	_, _ = fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
