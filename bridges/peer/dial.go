package peer

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"modelops/messages"
)

const (
	dialTime = 2 * time.Second
	// dialAgain is when a further attempt begins beside those that have no answer yet: one whose first packet was lost learns only after a second
	// or more that the network works again.
	dialAgain = 400 * time.Millisecond
)

// keepAlive finds a connection whose other end is gone within some 5 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}

// Dial opens a connection to a host's cluster port for a protocol, by the way that our link to it goes.
func (p *Peers) Dial(ctx context.Context, host, protocol string) (net.Conn, error) {
	address := ""
	if ways := p.waysTo(host); len(ways) > 0 {
		address = ways[0]
	}
	if l := p.linkTo(host); l != nil && l.facts().ByHub {
		address = theHub
	}
	c, _, err := p.dial(ctx, host, address, protocol)
	return c, err
}

// dial also gives what the host added to its OK.
func (p *Peers) dial(ctx context.Context, host, address, protocol string) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if address == "" {
		return nil, "", unreachable(host, "its address isn't known yet")
	}
	c, err := p.reach(ctx, host, address)
	if err != nil {
		return nil, "", unreachable(host, whyNot(err)).WithCause(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	rest, err := greet(c, greeting{protocol: protocol, host: p.o.Host})
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close()
		if e := new(messages.Error); errors.As(err, &e) {
			return nil, "", unreachable(host, "it refuses this host: "+e.Message).WithCause(e)
		}
		return nil, "", unreachable(host, whyNot(err)).WithCause(err)
	}
	return c, rest, nil
}

// waysTo are the addresses of a host, and last the hub.
func (p *Peers) waysTo(host string) []string {
	if p.hub == nil {
		return p.addressesOf(host)
	}
	return append(p.addressesOf(host), theHub)
}

// dialled is the end of one attempt.
type dialled struct {
	c       net.Conn
	rest    string
	address string
	err     error
}

// dialAnew is dial with several attempts, at the host's addresses in turn, of which the first one that succeeds counts. One that fails ends it when no
// other is under way and each address was tried.
func (p *Peers) dialAnew(ctx context.Context, host, protocol string) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	ended, addresses := make(chan dialled), p.waysTo(host)
	if len(addresses) == 0 {
		return nil, "", unreachable(host, "its address isn't known yet")
	}
	attempt := func(n int) {
		address := addresses[n%len(addresses)]
		c, rest, err := p.dial(ctx, host, address, protocol)
		select {
		case ended <- dialled{c, rest, address, err}:
		case <-ctx.Done():
			if c != nil {
				_ = c.Close()
			}
		}
	}
	again := time.NewTicker(dialAgain)
	defer again.Stop()
	go attempt(0)
	var failed error
	for begun, running := 1, 1; ; {
		select {
		case <-again.C:
			go attempt(begun)
			begun, running = begun+1, running+1
		case d := <-ended:
			if d.err == nil {
				if d.address != addresses[0] && d.address != theHub && p.o.Moved != nil {
					p.o.Moved(host, d.address)
				}
				return d.c, d.rest, nil
			}
			failed = cmp.Or(failed, d.err)
			if running--; running > 0 {
				continue
			}
			if begun >= len(addresses) {
				return nil, "", failed
			}
			go attempt(begun)
			begun, running = begun+1, running+1
		case <-ctx.Done():
			return nil, "", unreachable(host, "it doesn't answer")
		}
	}
}

const certificatesHint = "make certificates: modelops cluster init on one host, modelops cluster invite, and serve --join on the other"

// reach connects, and with certificates makes sure that it is the host.
func (p *Peers) reach(ctx context.Context, host, address string) (net.Conn, error) {
	cfg := p.o.Trust.Client(host)
	if address == theHub {
		return p.overHub(ctx, host, cfg)
	}
	if cfg == nil && !IsLoopback(address) {
		return nil, messages.Errorf(messages.FailedPrecondition, "host "+host, "%s isn't on this machine, and hosts without certificates join over loopback only", address).
			WithHint(certificatesHint)
	}
	d := net.Dialer{KeepAliveConfig: keepAlive}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil || cfg == nil {
		return raw, err
	}
	return secured(ctx, raw, cfg)
}

// secured makes sure that the other end is the host that cfg names.
func secured(ctx context.Context, raw net.Conn, cfg *tls.Config) (net.Conn, error) {
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// whyNot is an error of a connection in few words.
func whyNot(err error) string {
	var name tls.AlertError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate) && expired(certificate.Err):
		return "its certificate has expired or isn't valid yet by the clock of this host: " + certificate.Err.Error() + "; set the clocks of both by NTP, or renew the certificate"
	case errors.As(err, &certificate):
		return "its certificate isn't that of this member of the cluster: " + certificate.Err.Error()
	case errors.As(err, &name):
		return "it refuses this host's certificate: " + name.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it doesn't answer"
	}
	return err.Error()
}

func expired(err error) bool {
	invalid := x509.CertificateInvalidError{}
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// unreachable is the error of a host that can't be asked now.
func unreachable(host, why string) *messages.Error {
	return messages.NewError(messages.Unavailable, "host "+host, "host "+host+" can't be reached: "+why).WithRetry(time.Second)
}
