package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/bridges/certs"
	"modelops/messages"
)

// secure says how a connection to an address proves the daemon, and this program to it. When a daemon on this machine wrote the address down, its
// own certificate is the only one that is believed, whatever its names are. Else the own CA of the data directory is believed beside the system's.
func (c *cli) secure(address string) ([]nats.Option, error) {
	if !c.tls && c.ca == "" && c.cert == "" && !strings.HasPrefix(address, "tls://") {
		return nil, nil
	}
	conf, err := c.believes(address)
	if err != nil {
		return nil, err
	}
	return []nats.Option{nats.Secure(conf)}, nil
}

func (c *cli) believes(address string) (*tls.Config, error) {
	local, own := "", ""
	if p, err := c.findPlace(); err == nil {
		if p.daemon != nil && (p.daemon.NATS == address || p.daemon.HTTP == address) {
			local = p.dataDir
		}
		own = p.dataDir
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
	if text, err := os.ReadFile(filepath.Join(certs.Dir(own), "ca.crt")); ca == "" && own != "" && err == nil {
		if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
			conf.RootCAs = x509.NewCertPool()
		}
		conf.RootCAs.AppendCertsFromPEM(text)
	}
	if ca != "" {
		text, err := os.ReadFile(ca)
		conf.RootCAs = x509.NewCertPool()
		if err != nil || !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, messages.Errorf(messages.InvalidArgument, ca, "there is no CA to read: %w", cmp.Or(err, errors.New("no certificate is in it"))).WithHint("`modelops certs show` on the daemon's host names the file to copy")
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, cmp.Or(key, strings.TrimSuffix(cert, ".crt")+".key"))
		if err != nil {
			return nil, messages.Errorf(messages.InvalidArgument, cert, "this certificate can't be shown: %w", err).WithHint("name its key with --cert-key")
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// natsAt is where the daemon with an HTTP address speaks NATS, which the command line does: a person knows the address that browsers and SDKs use. Another
// address stays as it is.
func (c *cli) natsAt(ctx context.Context, address string) (string, error) {
	if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
		return address, nil
	}
	address = strings.TrimRight(address, "/")
	if p, err := c.findPlace(); err == nil && p.daemon != nil && p.daemon.HTTP == address {
		return p.daemon.NATS, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", messages.NewError(messages.InvalidArgument, "--server", "it is no address").WithHint("write https://HOST:8008, or tls://HOST:4222")
	}
	conf, err := c.believes(address)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, askHTTP)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, u.Scheme+"://"+u.Host+"/", nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // what it says of its port is about this host only
	resp, err := client.Do(r)
	if err != nil {
		hint := "is this the HTTP address that `modelops serve` printed?"
		if unknown := new(x509.UnknownAuthorityError); errors.As(err, unknown) {
			hint = "name the CA of that host with --ca: `modelops certs show --pem` prints it there"
		}
		return "", messages.Errorf(messages.Unavailable, withoutPassword(address), "no daemon can be reached: %w", err).WithHint(hint)
	}
	_ = resp.Body.Close()
	port, err := strconv.ParseUint(resp.Header.Get(messages.NATSPortHeader), 10, 16)
	if err != nil || port == 0 {
		return "", messages.NewError(messages.Unavailable, withoutPassword(address), "it doesn't say where it speaks NATS, which the command line needs").
			WithHint("name the daemon's NATS port, such as tls://HOST:4222, as `modelops serve` prints it")
	}
	to := url.URL{Scheme: map[string]string{"https": "tls", "http": "nats"}[u.Scheme], User: u.User, Host: net.JoinHostPort(u.Hostname(), strconv.FormatUint(port, 10))}
	return to.String(), nil
}

// askHTTP bounds the question where a daemon speaks NATS.
const askHTTP = 5 * time.Second

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
