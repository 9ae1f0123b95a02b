package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"strings"

	"modelops/bridges/config"
	"modelops/journal"
	"modelops/messages"
)

// HubOf is the NATS cluster that a server joins as a leaf; nil = none is configured. A hub that can't be reached is no error.
func HubOf(n config.NATS) (*journal.Hub, error) {
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

// openArchive reads the copy of a host's journal at the hub of this host's configuration.
func (c *cli) openArchive(ctx context.Context, host string) (copied, error) {
	cfg, err := c.loadConfig("")
	if err != nil {
		return copied{}, err
	}
	at, err := HubOf(cfg.NATS)
	if err == nil && at == nil {
		err = messages.NewError(messages.FailedPrecondition, "nats.hub", "the configuration names no hub").WithHint("set nats.hub, and hub_domain")
	}
	if err != nil {
		return copied{}, err
	}
	nc, end, err := journal.VisitHub(ctx, at, cfg.NATS.Domain, host)
	if err != nil {
		return copied{}, err
	}
	read := func(ctx context.Context, fn func(messages.Recorded) error) error {
		return journal.ReadArchive(ctx, nc, cfg.NATS.Domain, host, fn)
	}
	return copied{host: host, read: read, close: end}, nil
}
