package main

import (
	"context"
	"crypto/tls"
	"net"

	"modelops/actors/cluster/system"
	"modelops/bridges/peer"
	"modelops/messages"
)

// openActors finds the port of protoactor's remote. With certificates it listens where the cluster port does, and only members get in.
func (d *daemon) openActors(trust peer.Trust) (*system.System, error) {
	o := system.Options{Host: d.host, BootID: d.bootID, Listen: "127.0.0.1", Port: d.cfg.Cluster.ActorsPort, Log: d.log}
	if server := trust.Server(); server != nil {
		at, _, err := net.SplitHostPort(d.peers.Address())
		if err != nil {
			return nil, messages.AsError(err)
		}
		name, _, err := net.SplitHostPort(d.advertised(d.peers.Address()))
		if err != nil {
			return nil, messages.AsError(err)
		}
		o.Listen, o.Advertise = at, name
		o.Server = membersOnly(server, trust)
		// Each connection gets the material of the moment: members and their authorities change.
		o.Server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return membersOnly(trust.Server(), trust), nil }
		o.Client = func(address string) *tls.Config {
			if host := d.cluster.WhoseActors(address); host != "" {
				return trust.Client(host)
			}
			return nil
		}
	}
	return system.New(o)
}

// membersOnly is the TLS of a port that only members may use.
func membersOnly(c *tls.Config, trust peer.Trust) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{"h2"}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	verify := c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if verify != nil {
			if err := verify(s); err != nil {
				return err
			}
		}
		if len(s.PeerCertificates) == 0 || !trust.IsMember(s.PeerCertificates[0].Subject.CommonName) {
			return messages.NewError(messages.PermissionDenied, "cluster.actors_port", "the certificate is no member's")
		}
		return nil
	}
	return c
}

// followMembers makes hosts known that were admitted later, and forgets those that were removed, until the daemon's life ends.
func (d *daemon) followMembers(trust peer.Trust) func(context.Context) {
	return func(life context.Context) {
		for {
			changed := trust.Changed()
			for _, m := range trust.Members() {
				d.cluster.Admit(m.Host, m.Address)
			}
			if d.members != nil {
				for _, host := range d.members.Removed() {
					d.cluster.Remove(host)
				}
			}
			select {
			case <-life.Done():
				return
			case <-changed:
			}
		}
	}
}
