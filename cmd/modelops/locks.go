package main

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"

	"modelops/bridges/certs"
	"modelops/bridges/config"
	"modelops/journal"
)

// openLocks decides where the doors listen, and with which certificates.
func (d *daemon) openLocks(ctx context.Context) error {
	at, err := resolve(ctx, d.cfg.Server.Bind)
	if err != nil {
		return err
	}
	d.at = at
	free, err := listen(at, 0, "server.bind") // the NATS server would only log that it can't
	if err != nil {
		return err
	}
	_ = free.Close()
	if err := mayListen(d.cfg.Server, at, d.access.KnowsAnyone()); err != nil {
		return err
	}
	if !at.IsLoopback() && !d.cfg.Server.TLS.On() {
		d.log.Warn("this host serves other machines without TLS: keys, prompts and answers travel in plain text", "bind", d.cfg.Server.Bind)
	}
	d.sites.Store(d.site(d.cfg))
	if !d.cfg.Server.TLS.On() {
		return nil
	}
	d.certs, err = certs.OpenSource(certs.Options{Dir: certs.Dir(d.cfg.DataDir), Host: d.host, Names: d.namesNow, Changed: d.newCertificate, Log: d.log}, settingsOf(d.cfg.Server.TLS))
	if err == nil {
		d.alongside(d.certs.Run)
	}
	return err
}

func settingsOf(t config.TLS) certs.Settings {
	return certs.Settings{Auto: t.Auto, Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA, Optional: t.ClientAuth == "optional"}
}

// follow puts what a new configuration says of the doors in force.
func (d *daemon) followLocks(next *config.Config) {
	d.sites.Store(d.site(next))
	if d.certs == nil || !next.Server.TLS.On() {
		return
	}
	if err := d.certs.Use(settingsOf(next.Server.TLS)); err != nil {
		d.log.Error("the certificate of server.tls can't be used: the old one stays in force", "error", err)
	}
}

// namesNow are the names and addresses by which clients reach this host, as its interfaces are now.
func (d *daemon) namesNow() []string {
	cfg := d.config()
	out := append([]string{"localhost", "127.0.0.1", "::1"}, ownNames(cfg)...)
	for _, name := range ownNames(cfg) {
		if !strings.Contains(name, ".") {
			out = append(out, name+".local")
		}
	}
	out = append(out, cfg.Server.Names...)
	if !d.at.IsUnspecified() {
		return unique(append(out, d.at.WithZone("").String()))
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		d.log.Warn("the addresses of this machine can't be listed", "error", err)
	}
	for _, a := range addresses {
		if at, ok := a.(*net.IPNet); ok && (d.at.Is6() || at.IP.To4() != nil) {
			out = append(out, at.IP.String())
		}
	}
	return unique(out)
}

func unique(names []string) (out []string) {
	for _, name := range names {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// newCertificate tells clients on this machine which certificate to expect.
func (d *daemon) newCertificate() {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	if !d.announced {
		return // the start isn't over; it announces itself
	}
	if err := d.writeAddresses(); err != nil {
		d.log.Error("clients on this machine can't be told the new certificate", "error", err)
	}
}

// speaks is the TLS of a door; nil = none.
func (d *daemon) speaks(protocols ...string) *tls.Config {
	if d.certs == nil {
		return nil
	}
	return d.certs.Config(protocols...)
}

// natsBounds are what one NATS client may take.
func (d *daemon) natsBounds() journal.Bounds {
	return journal.Bounds{Handshake: d.cfg.Server.Limits.HeaderTime, Subscriptions: d.cfg.Server.Limits.Subs}
}
