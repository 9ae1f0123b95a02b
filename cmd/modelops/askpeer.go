package main

import (
	"context"
	"net"
	"time"

	"github.com/google/uuid"

	"modelops/bridges/config"
	"modelops/bridges/peer"
	"modelops/journal"
	"modelops/messages"
)

// askPeer links a command to another host of the cluster, over its cluster port, while no daemon of this host runs. It gives what journals are read
// by, until end is called.
func askPeer(ctx context.Context, cfg *config.Config, host string) (pages journal.Pages, end func(), err error) {
	trust, err := trustOf(cfg)
	if err != nil {
		return nil, nil, err
	}
	if !trust.IsMember(host) {
		return nil, nil, messages.NewError(messages.NotFound, "host "+host, "it is no member of a cluster of this host").
			WithHint("become a member again with --join and --token: modelops cluster invite on " + host + " prints both")
	}
	nowhere, err := net.Listen("tcp", "127.0.0.1:0") // nobody is told of it
	if err != nil {
		return nil, nil, messages.AsError(err)
	}
	p := peer.New(peer.Options{Host: cfg.Host, BootID: uuid.NewString(), Version: buildVersion(), Listener: nowhere, Trust: trust, Accounts: noAccounts{}})
	p.Start()
	if err := linked(ctx, p, host); err != nil {
		p.Close()
		return nil, nil, err
	}
	return pagesAt{p, host}, p.Close, nil
}

// linked waits until the link to a host is up.
func linked(ctx context.Context, p *peer.Peers, host string) error {
	for {
		l, _ := p.Link(host)
		if l.To {
			return nil
		}
		select {
		case <-ctx.Done():
			return messages.Errorf(messages.Unavailable, "host "+host, "host %s can't be reached: %s", host, l.Reason)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// pagesAt reads journals and copies at a host.
type pagesAt struct {
	p    *peer.Peers
	host string
}

// ReadJournal implements journal.Pages.
func (a pagesAt) ReadJournal(ctx context.Context, r *messages.JournalRequest) (*messages.JournalPage, error) {
	m, err := a.p.Call(ctx, a.host, "ReadJournal", r)
	if err != nil {
		return nil, err
	}
	page, ok := m.(*messages.JournalPage)
	if !ok {
		return nil, messages.Errorf(messages.Internal, "host "+a.host, "it answers with %T", m)
	}
	return page, nil
}

// noAccounts lets no peer in.
type noAccounts struct{}

func (noAccounts) AdmitPeer(host string) (string, error) {
	return "", messages.NewError(messages.Unavailable, "host "+host, "this host serves no other hosts now")
}
func (noAccounts) DropPeer(string) {}
func (noAccounts) InProcessConn() (net.Conn, error) {
	return nil, messages.NewError(messages.Unavailable, "journal", "no daemon runs")
}
