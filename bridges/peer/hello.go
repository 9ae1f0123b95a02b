package peer

import (
	"context"
	"fmt"
	"time"

	"modelops/messages"
)

const (
	helloTime = 2 * time.Second
	// clockApart is from where on clocks that differ are worth a word: nothing here depends on them, but people read times.
	clockApart = time.Minute
)

func (p *Peers) ownHello() *messages.PeerHello {
	return &messages.PeerHello{Host: p.o.Host, Version: p.o.Version, Protocol: p.o.Protocol, OldestProtocol: p.o.Oldest, BootId: p.o.BootID, SentMs: p.o.Now().UnixMilli()}
}

// hello measures the link, and takes it up when both sides agree.
func (l *link) hello() {
	ctx, cancel := context.WithTimeout(l.life, helloTime)
	defer cancel()
	life := l.lifeOf()
	ctx, done := l.untilBroken(ctx)
	defer done()
	began := time.Now()
	said := new(messages.PeerHello)
	err := l.exchange(ctx, "hello", l.p.ownHello(), said)
	rtt := time.Since(began)
	if err == nil {
		err = l.p.agree(l.host, said)
	}
	switch code := messages.CodeOf(err); {
	case err == nil:
		l.agreed(said, rtt, life)
	case code == messages.DeadlineExceeded || code == messages.Unavailable || code == messages.Cancelled:
		l.late(messages.AsError(err)) // the pings of the connection decide
	default:
		l.fail(messages.AsError(err))
	}
}

// untilBroken ends ctx when the connection breaks, so that a hello on the next one isn't held up.
func (l *link) untilBroken(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = cancel
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waits = nil
		cancel(nil)
	}
}

// lifeOf is the number of connections so far: a hello that a broken connection answered takes no later one up.
func (l *link) lifeOf() uint64 { return l.nc.Stats().Reconnects }

func (l *link) late(why *messages.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up == nil {
		l.reason = why.Message
	}
}

func (l *link) agreed(said *messages.PeerHello, rtt time.Duration, life uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.nc.IsConnected() || l.lifeOf() != life {
		return
	}
	l.said, l.rtt, l.boot = said, rtt, said.BootId
	l.offset = time.UnixMilli(said.SentMs).Sub(l.p.o.Now()) + rtt/2
	if l.up == nil {
		l.up, l.drop = context.WithCancelCause(l.life)
		l.p.o.Log.Info("the link to a host is up", "host", l.host, "version", said.Version)
	}
	l.reason = ""
}

// agree tells whether two hosts can work together. host is whom the other one must be.
func (p *Peers) agree(host string, said *messages.PeerHello) error {
	about := "host " + host
	switch {
	case said.Host == p.o.Host:
		return twoOfOneName(said.Host)
	case said.Host != host:
		return messages.Errorf(messages.Conflict, about, "what is reached as %s says that it is %s", host, said.Host).WithHint("correct the address of " + host)
	}
	return messages.PeersFit(p.ownHello(), said)
}

func clockNote(host string, offset time.Duration) string {
	if offset.Abs() < clockApart {
		return ""
	}
	words := "ahead of"
	if offset < 0 {
		words = "behind"
	}
	return fmt.Sprintf("the clock of %s is %s %s ours: set both by NTP", host, offset.Abs().Round(time.Second), words)
}
