package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// say sends a line to a cluster port and reads what comes back until the port closes the connection, or has said OK.
func say(t *testing.T, address string, cfg *tls.Config, line string) string {
	t.Helper()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(hangLimit))
	var c io.ReadWriter = raw
	if cfg != nil {
		c = tls.Client(raw, cfg)
	}
	_, _ = io.WriteString(c, line)
	got, _ := bufio.NewReader(c).ReadString('\n')
	return got
}

func TestAStrangerGetsNowhere(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	a, b := linkedBy(t, ca)
	hour, past := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	_ = b
	as := func(cert *tls.Certificate) *tls.Config {
		cfg := &tls.Config{ServerName: "main_pc", RootCAs: ca.pool}
		if cert != nil {
			cfg.Certificates = []tls.Certificate{*cert}
		}
		return cfg
	}
	for name, c := range map[string]struct {
		cfg        *tls.Config
		line, want string
	}{
		"no TLS":                {nil, "MODELOPS/1 nats pc2\n", ""},
		"no certificate":        {as(nil), "MODELOPS/1 nats pc2\n", "NO PERMISSION_DENIED"},
		"foreign CA":            {as(foreign.issue(t, "pc2", hour)), "MODELOPS/1 nats pc2\n", ""},
		"expired":               {as(ca.issue(t, "pc2", past)), "MODELOPS/1 nats pc2\n", ""},
		"another's certificate": {as(ca.issue(t, "pc3", hour)), "MODELOPS/1 nats pc2\n", "NO PERMISSION_DENIED"},
		"no member":             {as(ca.issue(t, "pc3", hour)), "MODELOPS/1 nats pc3\n", "NO PERMISSION_DENIED"},
		"a protocol of none":    {as(ca.issue(t, "pc2", hour)), "MODELOPS/1 ssh pc2\n", "NO UNSUPPORTED"},
		"another program":       {as(nil), "GET / HTTP/1.1\r\n", "NO INVALID_ARGUMENT"},
		"a long line":           {as(nil), strings.Repeat("x", 9000), ""},
	} {
		if got := say(t, a.Address(), c.cfg, c.line); !strings.HasPrefix(got, c.want) || c.want == "" && strings.HasPrefix(got, "OK") {
			t.Errorf("%s: %q, want %s", name, got, c.want)
		}
	}
	if !a.up("pc2") {
		t.Error("strangers took a member's link down")
	}
}

// A member that is removed is cut off at once, and can't come back.
func TestARemovedMemberIsCutOff(t *testing.T) {
	a, b := linked(t, nil)
	a.trust.set(func(m map[string]string) { delete(m, "pc2") })
	await(t, "pc2 is cut off", func() bool { l, _ := b.Link("main_pc"); return !l.To })
	if _, ok := a.Link("pc2"); ok {
		await(t, "the link of a removed member goes", func() bool { _, ok := a.Link("pc2"); return !ok })
	}
	await(t, "pc2 is told why", func() bool { l, _ := b.Link("main_pc"); return strings.Contains(l.Reason, "no member") })
	if _, err := query(t.Context(), a, "pc2", messages.HostActor("pc2")); messages.CodeOf(err) != messages.Unavailable {
		t.Error(err)
	}
	a.knows("pc2", b.Address())
	await(t, "admitted again", func() bool { return a.up("pc2") && b.up("main_pc") })
}

// Strangers that hold connections open and say nothing cost a bounded number of goroutines, and members still get in.
func TestSilentStrangersAreBounded(t *testing.T) {
	ca := newAuthority(t)
	a, b := linkedBy(t, ca)
	before := runtime.NumGoroutine()
	for range 6 * mostPending {
		c, err := net.Dial("tcp", a.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	await(t, "few wait", func() bool { return runtime.NumGoroutine() < before+mostPending+20 })
	a.closeConns("pc2")
	await(t, "pc2 is back", func() bool { return a.up("pc2") && b.up("main_pc") })
}

func TestServersGetTheConnectionsOfMembers(t *testing.T) {
	a, b := linked(t, nil)
	b.Handle("forward", Handler{Serve: func(c *Conn) {
		_, _ = io.WriteString(c, "hello "+c.Host+"\n")
		_ = c.Close()
	}})
	c, err := a.Dial(t.Context(), "pc2", "forward")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got, _ := bufio.NewReader(c).ReadString('\n'); got != "hello main_pc\n" {
		t.Errorf("%q", got)
	}
	if _, err := a.Dial(t.Context(), "pc2", "else"); err == nil || !strings.Contains(err.Error(), "doesn't speak else") {
		t.Error(err)
	}
}

// Hosts that join have no certificate yet.
func TestStrangersMayJoin(t *testing.T) {
	ca := newAuthority(t)
	a, _ := linkedBy(t, ca)
	a.Handle("join", Handler{Strangers: true, Serve: func(c *Conn) {
		_, _ = io.WriteString(c, "welcome "+c.Host+"\n")
		_ = c.Close()
	}})
	if got := say(t, a.Address(), &tls.Config{ServerName: "main_pc", RootCAs: ca.pool}, "MODELOPS/1 join pc7\n"); got != "OK\n" {
		t.Errorf("%q", got)
	}
}

func TestWithoutCertificatesOnlyLoopbackIsDialled(t *testing.T) {
	s := startSide(t, authority{}, nil, Options{Host: "main_pc"})
	s.knows("pc2", "192.0.2.1:7422")
	if _, err := s.Dial(context.Background(), "pc2", natsProtocol); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Error(err)
	}
	o := startSide(t, authority{}, nil, Options{Host: "pc3"})
	s.knows("pc3", o.Address())
	o.knows("main_pc", s.Address())
	await(t, "plain links", func() bool { return s.up("pc3") && o.up("main_pc") })
}

func TestPreamble(t *testing.T) {
	for line, want := range map[string]bool{"MODELOPS/1 nats pc2": true, "MODELOPS/2 nats pc2": false, "MODELOPS/1 nats": false, "MODELOPS/1 nats pc2 x": false,
		"MODELOPS/1 NATS pc2": false, "MODELOPS/1 nats ../x": false, "": false, "MODELOPS/1  pc2": false} {
		if _, ok := parseGreeting(line); ok != want {
			t.Errorf("%q: %t", line, ok)
		}
	}
}

func FuzzPreamble(f *testing.F) {
	f.Add("MODELOPS/1 nats pc2")
	f.Fuzz(func(t *testing.T, line string) {
		if g, ok := parseGreeting(line); ok && g.String() != line+"\n" {
			t.Errorf("%q is read as %q", line, g)
		}
	})
}

// A connection that is being let in while its host is removed is ended with the others.
func TestARemovalDuringTheGreeting(t *testing.T) {
	ca := newAuthority(t)
	a, _ := linkedBy(t, ca)
	a.trust.mu.Lock()
	a.trust.expels = "pc2"
	a.trust.mu.Unlock()
	got := say(t, a.Address(), &tls.Config{ServerName: "main_pc", RootCAs: ca.pool, Certificates: []tls.Certificate{*ca.issue(t, "pc2", time.Now().Add(time.Hour))}}, "MODELOPS/1 nats pc2\n")
	if !strings.HasPrefix(got, "NO PERMISSION_DENIED") || a.trust.IsMember("pc2") {
		t.Errorf("it hears %q", got)
	}
}
