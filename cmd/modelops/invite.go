package main

import (
	"context"
	"net"
	"time"

	"modelops/bridges/certs"
	"modelops/bridges/certs/join"
	"modelops/bridges/peer"
	"modelops/messages"
)

// renewEvery is how often the own certificate of the cluster is looked at.
const renewEvery = 6 * time.Hour

// openInvitations lets other hosts join by tokens of this one. It needs the cluster's CA, which hosts with certificates of their own don't have.
func (d *daemon) openInvitations() error {
	if d.members == nil || d.cfg.Cluster.Cert != "" {
		return nil
	}
	dir := certs.ClusterDir(d.cfg.DataDir)
	h, err := join.Open(join.HostOptions{Dir: dir, Host: d.host, Version: buildVersion(), Members: d.members, Log: d.log, Admitted: func(host, address string) { d.cluster.Admit(host, address) }})
	if messages.CodeOf(err) == messages.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	d.inviter = h
	d.peers.Handle(join.Protocol, peer.Handler{Strangers: true, Serve: func(c *peer.Conn) { h.Serve(c, c.Host) }})
	d.alongside(func(life context.Context) { d.renewMember(life, dir) })
	return nil
}

// renewMember renews this host's certificate in time.
func (d *daemon) renewMember(life context.Context, dir string) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := certs.RenewMember(dir, d.host, time.Now()); err != nil {
				d.log.Error("this host's certificate of the cluster can't be renewed", "error", err)
			}
		case <-life.Done():
			return
		}
	}
}

// Invite implements control.Cluster.
func (m membership) Invite(_ context.Context, r *messages.InviteRequest) (*messages.InviteReply, error) {
	d := m.d
	if d.inviter == nil {
		return nil, m.declared("invite")
	}
	addresses := d.invitable()
	t, expires, err := d.inviter.Invite(r.Host, time.Duration(r.WithinSeconds)*time.Second, addresses...)
	if err != nil {
		return nil, err
	}
	return &messages.InviteReply{Token: t.String(), Address: addresses[0], ExpiresMs: expires.UnixMilli(),
		Command: "modelops serve --join " + addresses[0] + " --token " + t.String()}, nil
}

// mostAddresses are enough in a token.
const mostAddresses = 4

// invitable are the addresses at which another machine may reach the cluster port: the one that the configuration says, else those of the network cards.
func (d *daemon) invitable() (out []string) {
	listens := d.peers.Address()
	host, port, err := net.SplitHostPort(listens)
	ip := net.ParseIP(host)
	if err != nil || ip == nil || !ip.IsUnspecified() || d.cfg.Cluster.Advertise != "" || len(d.cfg.Server.Names) > 0 {
		return []string{d.advertised(listens)}
	}
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && (n.IP.To4() != nil || ip.To4() == nil) && len(out) < mostAddresses {
			out = append(out, net.JoinHostPort(n.IP.String(), port))
		}
	}
	return append(out, d.advertised(listens))
}
