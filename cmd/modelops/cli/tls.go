package cli

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"modelops/bridges/certs"
	"modelops/messages"
)

// secure says how a connection to an address proves the daemon, and this program to it. When a daemon on this machine wrote the address down, its
// own certificate is the only one that is believed, whatever its names are.
func (c *cli) secure(address string) ([]nats.Option, error) {
	if strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://") {
		return nil, messages.Errorf(messages.InvalidArgument, "--server", "%s is an address for HTTP, and the command line speaks NATS", withoutPassword(address)).
			WithHint("name the daemon's NATS port, such as tls://HOST:4222, as `modelops serve` prints it")
	}
	if !c.tls && c.ca == "" && c.cert == "" && !strings.HasPrefix(address, "tls://") {
		return nil, nil
	}
	local := ""
	if p, err := c.findPlace(); err == nil && p.daemon != nil && p.daemon.NATS == address {
		local = p.dataDir
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	ca, cert, key := cmp.Or(c.ca, os.Getenv("MODELOPS_CA")), cmp.Or(c.cert, os.Getenv("MODELOPS_CERT")), cmp.Or(c.key, os.Getenv("MODELOPS_CERT_KEY"))
	if local != "" {
		dir := certs.Dir(local)
		if ca == "" {
			conf.InsecureSkipVerify, conf.VerifyConnection = true, believed(local)
		}
		if certPath, keyPath := certs.LocalFiles(dir); cert == "" && readable(keyPath) {
			cert, key = certPath, keyPath
		}
	}
	if ca != "" {
		text, err := os.ReadFile(ca)
		conf.RootCAs = x509.NewCertPool()
		if err != nil || !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, messages.Errorf(messages.InvalidArgument, ca, "there is no CA to read: %w", err).WithHint("`modelops certs show` on the daemon's host names the file to copy")
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, cmp.Or(key, strings.TrimSuffix(cert, ".crt")+".key"))
		if err != nil {
			return nil, messages.Errorf(messages.InvalidArgument, cert, "this certificate can't be shown: %w", err).WithHint("name its key with --cert-key")
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return []nats.Option{nats.Secure(conf)}, nil
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// believed believes the certificate that the daemon of a data directory wrote down, as it is now: a renewed one is written down too.
func believed(dataDir string) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		at, err := readAddresses(dataDir)
		if err != nil {
			return err
		}
		if at == nil || len(s.PeerCertificates) == 0 || at.TLS != certs.FingerprintOf(s.PeerCertificates[0]) {
			return messages.NewError(messages.Unavailable, filepath.Join(dataDir, AddressFile), "another certificate answers than the daemon of this directory has")
		}
		return nil
	}
}
