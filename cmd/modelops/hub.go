package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"modelops/journal"
	"modelops/messages"
)

// hub is the NATS cluster that the embedded server joins as a leaf; nil = none is configured. A hub that can't be reached is no error.
func (d *daemon) hub() (*journal.Hub, error) {
	n := d.cfg.NATS
	h := &journal.Hub{URLs: n.HubURLs(), Credentials: n.Credentials}
	if len(h.URLs) == 0 {
		return nil, nil
	}
	if n.Credentials != "" {
		if _, err := hubFile("nats.hub_credentials", n.Credentials); err != nil {
			return nil, err
		}
	}
	if n.User != "" {
		text, err := hubFile("nats.hub_password_file", n.PasswordFile)
		if err != nil {
			return nil, err
		}
		password, _, _ := strings.Cut(text, "\n")
		for _, u := range h.URLs {
			u.User = url.UserPassword(n.User, strings.TrimSuffix(password, "\r"))
		}
	}
	if !n.HubTLS() {
		return h, nil
	}
	h.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if n.CA == "" {
		return h, nil
	}
	text, err := hubFile("nats.hub_ca", n.CA)
	if err != nil {
		return nil, err
	}
	h.TLS.RootCAs = x509.NewCertPool()
	if !h.TLS.RootCAs.AppendCertsFromPEM([]byte(text)) {
		return nil, messages.NewError(messages.FailedPrecondition, "nats.hub_ca", n.CA+" holds no certificate").WithHint("it is a PEM file with the CA of the hub's certificates")
	}
	return h, nil
}

func hubFile(key, path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", messages.Errorf(messages.FailedPrecondition, key, "the file can't be read: %w", err).WithHint("correct " + key)
	}
	return string(text), nil
}

// openHub is a connection whose subjects reach the hub; nil = none is configured. It is there while the hub isn't.
func (d *daemon) openHub() (*nats.Conn, error) {
	if len(d.cfg.NATS.Hub) == 0 {
		return nil, nil
	}
	nc, err := d.journal.ConnectHub()
	if err != nil {
		return nil, err
	}
	d.later(func(context.Context) error { nc.Close(); return nil })
	return nc, nil
}

// hubView is how the hub is now; nil = none is configured.
func (d *daemon) hubView() *messages.HubView {
	if len(d.cfg.NATS.Hub) == 0 {
		return nil
	}
	v := &messages.HubView{}
	for _, u := range d.cfg.NATS.HubURLs() {
		v.Urls = append(v.Urls, u.String())
	}
	v.Reached, v.Reason = d.journal.HubUp()
	return v
}

// hubTroubles is what /health says of the hub.
func (d *daemon) hubTroubles() []string {
	if v := d.hubView(); v != nil && !v.Reached {
		return []string{"the hub of nats.hub isn't reached: " + v.Reason}
	}
	return nil
}
