//go:build e2e

package e2e_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// site is where a daemon runs: a host of a laboratory. A nil one is this machine as it is.
type site struct {
	name   string
	number int
	lab    *lab
	once   sync.Once
	web    *http.Client
}

// inside does something there: a process that is started there listens there.
func (p *site) inside(do func() error) error {
	if p == nil {
		return do()
	}
	return p.lab.net.inside(p.number, do)
}

// said is where the daemon's words go.
func (p *site) said(log io.Writer) io.Writer {
	if p == nil {
		return log
	}
	return io.MultiWriter(log, p.lab.timeline.said(p.name))
}

// dial reaches a port of the host as its own programs do.
func (p *site) dial(ctx context.Context, address string) (net.Conn, error) {
	if p == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	return p.lab.net.dial(ctx, p.number, address)
}

// Dial makes it a dialer of the NATS library.
func (p *site) Dial(_, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	return p.dial(ctx, address)
}

// client asks from the host itself.
func (p *site) client() *http.Client {
	if p == nil {
		return http.DefaultClient
	}
	p.once.Do(func() {
		p.web = &http.Client{Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return p.dial(ctx, address) },
			MaxIdleConnsPerHost: 256, IdleConnTimeout: 20 * time.Second,
		}}
	})
	return p.web
}
