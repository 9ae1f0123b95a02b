package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/net/nettest"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// startHub is a NATS server that knows nothing of the hosts.
func startHub(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(hangLimit) {
		t.Fatal("the hub didn't start")
	}
	return s
}

func atHub(t *testing.T, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// pipe is both ends of a connection over a hub.
func pipe(t *testing.T, s *server.Server) (a, b *hubConn, stop func()) {
	t.Helper()
	came := make(chan net.Conn, 1)
	one := &hub{nc: atHub(t, s), host: "main_pc", accept: func(net.Conn) {}, conns: map[hubKey]*hubConn{}}
	two := &hub{nc: atHub(t, s), host: "pc2", accept: func(c net.Conn) { came <- c }, conns: map[hubKey]*hubConn{}}
	for _, h := range []*hub{one, two} {
		if err := h.listen(); err != nil {
			t.Fatal(err)
		}
		if err := h.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := one.dial(t.Context(), "pc2")
	if err != nil {
		t.Fatal(err)
	}
	return c.(*hubConn), (<-came).(*hubConn), func() { one.close(); two.close() }
}

// A connection over the hub is one as net has it.
func TestHubConn(t *testing.T) {
	s := startHub(t)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b, stop := pipe(t, s)
		return a, b, stop, nil
	})
}

// What is lost at the hub, made up or too much ends the connection at both ends; nothing after it is read.
func TestHubConnLoses(t *testing.T) {
	s := startHub(t)
	for name, sent := range map[string][]byte{
		"a message is missing":        frame(frameBytes, 2, []byte("x")),
		"a message comes twice":       frame(frameBytes, 0, []byte("x")),
		"the last message is missing": frame(frameTick, 0, binary.BigEndian.AppendUint64(nil, 2)),
		"more was read than sent":     frame(frameTick, 1, binary.BigEndian.AppendUint64(nil, 1)),
		"the window is overrun":       frame(frameBytes, 1, make([]byte, hubWindow)),
		"a tick is cut off":           frame(frameTick, 0, nil),
	} {
		a, b, stop := pipe(t, s)
		if _, err := a.Write([]byte("!")); err != nil {
			t.Fatal(err)
		}
		await(t, "the first byte arrives", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.got == 1 })
		a.say(sent)
		await(t, name+": the end of it", func() bool { return b.reason() != nil && a.reason() != nil })
		if n, err := b.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Errorf("%s: what came before: %d, %v", name, n, err)
		}
		if n, err := b.Read(make([]byte, 9)); n != 0 || err == nil {
			t.Errorf("%s: read %d", name, n)
		}
		stop()
	}
	a, b, stop := pipe(t, s)
	defer stop()
	a.tick(time.Now())
	b.tick(time.Now().Add(hubSilence)) // meant to pass: it is the time that a connection may be silent
	await(t, "a silent connection ends", func() bool { return b.reason() != nil && a.reason() != nil })
}

func TestNobodyAtTheHub(t *testing.T) {
	s := startHub(t)
	a, _, stop := pipe(t, s)
	defer stop()
	if _, err := a.h.dial(t.Context(), "pc3"); err == nil || !strings.Contains(err.Error(), "isn't at the hub") {
		t.Error(err)
	}
	if n := len(a.h.open()); n != 1 {
		t.Errorf("%d connections are known", n)
	}
}

type pagerOf func(context.Context, *messages.PageRequest) (*messages.PageReply, error)

func (f pagerOf) Page(ctx context.Context, r *messages.PageRequest) (*messages.PageReply, error) {
	return f(ctx, r)
}

// hubPair starts two hosts that know no address of each other.
func hubPair(t *testing.T, s *server.Server, change func(o *Options)) (a, b *side) {
	t.Helper()
	ca := newAuthority(t)
	of := func(host string) *side {
		o := Options{Host: host, Hub: atHub(t, s)}
		if change != nil {
			change(&o)
		}
		return startSide(t, ca, ca.issue(t, host, time.Now().Add(time.Hour)), o)
	}
	return of("main_pc"), of("pc2")
}

// Hosts without a link of their own work together over the hub: hello, commands, pages larger than what may be under way, heartbeats, and connections for requests.
func TestOverTheHub(t *testing.T) {
	s := startHub(t)
	page := &messages.PageReply{Host: "x", Decisions: []*messages.RecordedDecision{{Id: strings.Repeat("0123456789", 70_000)}}}
	a, b := hubPair(t, s, func(o *Options) {
		o.Pager = pagerOf(func(context.Context, *messages.PageRequest) (*messages.PageReply, error) { return page, nil })
	})
	b.Handle("echo", Handler{Serve: func(c *Conn) {
		defer c.Close()
		line, _ := readLine(c)
		_, _ = c.Write([]byte(c.Host + " " + line))
	}})
	b.Handle("join", Handler{Strangers: true, Serve: func(c *Conn) { _ = c.Close() }})
	a.knows("pc2", "")
	b.knows("main_pc", "")
	await(t, "both links are up", func() bool { return a.up("pc2") && b.up("main_pc") })
	if l, _ := a.Link("pc2"); !l.ByHub || l.RTT <= 0 {
		t.Errorf("%+v", l)
	}
	r, err := query(t.Context(), a, "pc2", messages.HostActor("pc2"))
	if err != nil || r.Sequence != 7 {
		t.Errorf("%v, %v", r, err)
	}
	got, err := a.Pages(t.Context(), "pc2", &messages.PageRequest{})
	if err != nil || !proto.Equal(got, page) {
		t.Errorf("a page: %v", err)
	}
	a.Beat(&messages.Heartbeat{Host: "main_pc", Sequence: 3})
	if h := <-b.beats; h.Sequence != 3 {
		t.Errorf("%v", h)
	}
	c, err := a.Dial(t.Context(), "pc2", "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hi\n")); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 64)
	if n, err := c.Read(said); err != nil || string(said[:n]) != "main_pc hi" {
		t.Errorf("%q, %v", said[:n], err)
	}
}

// The hub breaks, and comes back: the links too.
func TestTheHubBreaks(t *testing.T) {
	s := startHub(t)
	a, b := hubPair(t, s, nil)
	a.knows("pc2", "")
	b.knows("main_pc", "")
	await(t, "both links are up", func() bool { return a.up("pc2") && b.up("main_pc") })
	o := &server.Options{Host: "127.0.0.1", Port: s.Addr().(*net.TCPAddr).Port, NoSigs: true}
	s.Shutdown()
	s.WaitForShutdown()
	await(t, "the link is down", func() bool { l, _ := a.Link("pc2"); return !l.To })
	if _, err := query(t.Context(), a, "pc2", messages.HostActor("pc2")); messages.CodeOf(err) != messages.Unavailable {
		t.Error(err)
	}
	again, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	again.Start()
	defer func() { again.Shutdown(); again.WaitForShutdown() }()
	await(t, "both links are up again", func() bool { return a.up("pc2") && b.up("main_pc") })
}

// A host that is reached directly is reached so, and over the hub when that fails.
func TestTheDirectWayComesFirst(t *testing.T) {
	s := startHub(t)
	a, b := hubPair(t, s, nil)
	a.knows("pc2", b.Address())
	b.knows("main_pc", "127.0.0.1:1")
	await(t, "both links are up", func() bool { return a.up("pc2") && b.up("main_pc") })
	if l, _ := a.Link("pc2"); l.ByHub {
		t.Error("the link goes over the hub, and the host is reached directly")
	}
	if l, _ := b.Link("main_pc"); !l.ByHub {
		t.Error("the link doesn't go over the hub, and the host isn't reached directly")
	}
}

// A stranger at the hub is none of the hosts: he isn't let in, and joins nothing there. What he puts into a connection ends it, and it comes back.
func TestStrangersAtTheHub(t *testing.T) {
	s := startHub(t)
	a, b := hubPair(t, s, nil)
	served := make(chan string, 64)
	b.Handle("echo", Handler{Serve: func(c *Conn) { served <- c.Host; _ = c.Close() }})
	b.Handle("join", Handler{Strangers: true, Serve: func(c *Conn) { served <- c.Host; _ = c.Close() }})
	a.knows("pc2", "")
	b.knows("main_pc", "")
	await(t, "both links are up", func() bool { return a.up("pc2") && b.up("main_pc") })

	foreign := &trust{ca: b.trust.ca, cert: newAuthority(t).issue(t, "main_pc", time.Now().Add(time.Hour))}
	none := foreign.Client("pc2")
	none.Certificates = nil
	thief := &hub{nc: atHub(t, s), host: "stranger", accept: func(net.Conn) {}, conns: map[hubKey]*hubConn{}}
	heard, err := thief.nc.SubscribeSync(HubSubjects + ">") // all that is said
	if err != nil {
		t.Fatal(err)
	}
	if err := thief.listen(); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []*tls.Config{foreign.Client("pc2"), none} {
		for _, protocol := range []string{"echo", "join", "nats"} {
			raw, err := thief.dial(t.Context(), "pc2")
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.SetDeadline(time.Now().Add(hangLimit))
			c, err := secured(t.Context(), raw, cfg)
			if err == nil {
				_, err = greet(c, greeting{protocol: protocol, host: "main_pc"})
			}
			if err == nil {
				t.Errorf("a stranger is let in for %s", protocol)
			}
			_ = raw.Close()
		}
	}
	for {
		m, err := heard.NextMsg(hangLimit)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(m.Data, []byte("main_pc boot")) || bytes.Contains(m.Data, []byte("peer.v1")) {
			t.Fatalf("the hub can read %s: %q", m.Subject, m.Data)
		}
		if to, rest, _ := strings.Cut(strings.TrimPrefix(m.Subject, HubSubjects), "."); to == "pc2" && m.Data[0] == frameBytes {
			if from, _, _ := strings.Cut(rest, "."); from == "main_pc" { // a connection of the two hosts
				_ = thief.nc.Publish(m.Subject, frame(frameBytes, 1<<40, []byte("x")))
				break
			}
		}
	}
	await(t, "the links are up after what the stranger put into one", func() bool {
		_, err := query(t.Context(), a, "pc2", messages.HostActor("pc2"))
		return err == nil && a.up("pc2") && b.up("main_pc")
	})
	thief.close()
	if len(served) != 0 {
		t.Errorf("served %s", <-served)
	}
}

// Without certificates nobody is sure of anybody at a hub: neither end works over it.
func TestNoHubWithoutCertificates(t *testing.T) {
	s := startHub(t)
	a, b := startSide(t, authority{}, nil, Options{Host: "main_pc", Hub: atHub(t, s)}), startSide(t, authority{}, nil, Options{Host: "pc2", Hub: atHub(t, s)})
	a.knows("pc2", "")
	await(t, "it is said why", func() bool {
		l, _ := a.Link("pc2")
		return strings.Contains(l.Reason, "hosts without certificates don't work together over the hub")
	})
	raw, err := a.hub.dial(t.Context(), "pc2")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := raw.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes were answered", n)
	}
	_ = raw.Close()
	if b.up("main_pc") {
		t.Error("a link is up")
	}
}
