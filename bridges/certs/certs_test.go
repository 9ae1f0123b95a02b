package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

var start = time.Now().Truncate(time.Second) // a server checks certificates of clients by the clock of the machine

// bench is a folder with a source, in a time of its own.
type bench struct {
	t     *testing.T
	dir   string
	now   time.Time
	names []string
	told  int
	log   strings.Builder
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, dir: filepath.Join(t.TempDir(), "certs"), now: start, names: []string{"localhost", "127.0.0.1", "main_pc"}}
}

func (b *bench) options() Options {
	return Options{Dir: b.dir, Host: "main_pc", Names: func() []string { return b.names }, Changed: func() { b.told++ }, Now: func() time.Time { return b.now },
		Log: slog.New(slog.NewTextHandler(&b.log, nil))}
}

func (b *bench) open(s Settings) *Source {
	b.t.Helper()
	src, err := OpenSource(b.options(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	return src
}

// shake connects two ends. client is the certificate that the client shows; nil = none.
func (b *bench) shake(src *Source, name string, version uint16, client *tls.Certificate) error {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(CAFile(b.dir))
	if err != nil || !pool.AppendCertsFromPEM(text) {
		b.t.Fatal(err)
	}
	conf := &tls.Config{RootCAs: pool, ServerName: name, MaxVersion: version, Time: func() time.Time { return b.now }}
	if client != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	serve := src.Config("h2")
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	serving := make(chan error, 1)
	go func() {
		s := tls.Server(far, serve)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // TLS 1.3 tells a client of a refused certificate after its handshake
		}
		_ = far.Close()
		serving <- err
	}()
	c := tls.Client(near, conf)
	err = c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	_ = near.Close()
	if served := <-serving; err == nil {
		err = served
	}
	return err
}

func TestOwnCertificate(t *testing.T) {
	b := newBench(t)
	src := b.open(Settings{Auto: true})
	first := src.Fingerprint()
	for _, name := range b.names {
		if err := b.shake(src, name, 0, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.shake(src, "evil.com", 0, nil); err == nil {
		t.Error("it is believed for any name")
	}
	if err := b.shake(src, "localhost", tls.VersionTLS11, nil); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	for _, name := range []string{"ca.key", "host.key"} {
		if info, err := os.Stat(filepath.Join(b.dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if again := b.open(Settings{Auto: true}); again.Fingerprint() != first {
		t.Error("each start makes another certificate")
	}
	src.Look()
	if src.Fingerprint() != first || b.told != 0 {
		t.Error("it is renewed for nothing")
	}
	b.now = start.Add(HostLife*2/3 + time.Hour)
	if src.Look(); src.Fingerprint() == first || b.told != 1 || b.shake(src, "localhost", 0, nil) != nil {
		t.Errorf("it isn't renewed before its end, or clients don't believe it: told %d, %s", b.told, b.log.String())
	}
	second := src.Fingerprint()
	b.names = append(b.names, "10.9.8.7")
	if src.Look(); src.Fingerprint() == second || b.shake(src, "10.9.8.7", 0, nil) != nil {
		t.Error("a new address isn't in it")
	}
}

// Files are read again when they change. A pair that can't be used leaves the old one in force, and is said.
func TestFilesAreReadAgain(t *testing.T) {
	b := newBench(t)
	a, _, err := Init(b.dir, "main_pc", b.now)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, life time.Duration) (cert, key []byte) {
		certPath, keyPath, err := a.Issue(Request{Name: name, SANs: []string{"localhost"}, Life: life}, b.now)
		if err != nil {
			t.Fatal(err)
		}
		cert, _ = os.ReadFile(certPath)
		key, _ = os.ReadFile(keyPath)
		return cert, key
	}
	certPath, keyPath := filepath.Join(t.TempDir(), "a.pem"), filepath.Join(t.TempDir(), "b.pem")
	put := func(cert, key []byte) {
		for path, text := range map[string][]byte{certPath: cert, keyPath: key} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			stamp := b.now.Add(time.Duration(b.log.Len()) * time.Second) // a file system's time may be coarse
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}
	}
	cert, key := issue("one", time.Hour*1000)
	if _, err := OpenSource(b.options(), Settings{Cert: certPath, Key: keyPath}); messages.CodeOf(err) != messages.FailedPrecondition || !strings.Contains(err.Error(), certPath) {
		t.Error(err)
	}
	put(cert, key)
	src := b.open(Settings{Cert: certPath, Key: keyPath})
	first := src.Fingerprint()
	other, otherKey := issue("two", time.Hour*1000)
	short, shortKey := issue("short", time.Hour)
	b.now = b.now.Add(2 * time.Hour)
	for what, pair := range map[string][2][]byte{"another's key": {other, key}, "no PEM": {[]byte("x"), key}, "empty": {nil, nil}, "expired": {short, shortKey}} {
		b.log.Reset()
		put(pair[0], pair[1])
		src.Look()
		said := b.log.String()
		if src.Look(); src.Fingerprint() != first || strings.Count(said, "the old one stays in force") != 1 || b.log.String() != said || b.shake(src, "localhost", 0, nil) != nil {
			t.Errorf("%s: %s", what, b.log.String())
		}
	}
	if err := src.Use(Settings{Cert: "/nowhere", Key: "/nowhere"}); err == nil || src.Fingerprint() != first {
		t.Error("settings without files rule:", err)
	}
	put(other, otherKey)
	if src.Look(); src.Fingerprint() == first || b.told != 1 {
		t.Errorf("the new pair isn't read: %s", b.log.String())
	}
}

// A file that holds no CA is said in words, whether it can be read or not.
func TestAClientCAThatIsNone(t *testing.T) {
	b := newBench(t)
	src := b.open(Settings{Auto: true})
	key := filepath.Join(b.dir, hostFile+".key")
	for path, want := range map[string]string{key: "no certificate is in it", filepath.Join(b.dir, "nowhere"): "no such file"} {
		if err := src.Use(Settings{Auto: true, ClientCA: path}); messages.CodeOf(err) != messages.FailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
}

// Where clients need a certificate, none and a foreign one are refused; the command line on this machine has its own.
func TestClientsShowCertificates(t *testing.T) {
	b := newBench(t)
	src := b.open(Settings{Auto: true, ClientCA: "auto"})
	pair := func(dir, name string) *tls.Certificate {
		p, err := load(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	issue := func(dir string, r Request) *tls.Certificate {
		a, _, err := Init(dir, "x", b.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.Issue(r, b.now); err != nil {
			t.Fatal(err)
		}
		return pair(dir, r.Name)
	}
	foreign := filepath.Join(t.TempDir(), "other")
	for _, c := range []struct {
		what             string
		cert             *tls.Certificate
		needed, optional bool
	}{
		{"none", nil, false, true},
		{"a client's", issue(b.dir, Request{Name: "laptop", Client: true, Life: time.Hour}), true, true},
		{"the command line's", pair(b.dir, localFile), true, true},
		{"a host's", issue(b.dir, Request{Name: "gpu2", SANs: []string{"gpu2"}, Life: time.Hour}), false, false},
		{"another CA's", issue(foreign, Request{Name: "evil", Client: true, Life: time.Hour}), false, false},
		{"an expired one", issue(b.dir, Request{Name: "old", Client: true, Life: -time.Minute}), false, false},
	} {
		for _, optional := range []bool{false, true} {
			if err := src.Use(Settings{Auto: true, ClientCA: "auto", Optional: optional}); err != nil {
				t.Fatal(err)
			}
			want := c.needed && !optional || c.optional && optional
			if err := b.shake(src, "localhost", 0, c.cert); (err == nil) != want {
				t.Errorf("%s, optional %t: %v", c.what, optional, err)
			}
		}
	}
}

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); messages.CodeOf(err) != messages.NotFound || !strings.Contains(err.Error(), "certs init") {
		t.Error(err)
	}
	a, made, err := Init(dir, "pc", start)
	if err != nil || !made {
		t.Fatal(err)
	}
	if _, made, err := Init(dir, "pc", start); made || err != nil {
		t.Error("the CA is made anew", err)
	}
	for _, r := range []Request{{Name: "ca"}, {Name: "../x"}, {Name: ""}, {Name: "a/b"}, {Name: "x", SANs: []string{"https://x"}}, {Name: "x", SANs: []string{"x:1"}}, {Name: "x", SANs: []string{"a b"}},
		{Name: "x", SANs: []string{""}}, {Name: hostFile, SANs: []string{"x"}}, {Name: localFile, Client: true}} {
		if _, _, err := a.Issue(r, start); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, _, err := a.Issue(Request{Name: "gpu2", SANs: []string{"GPU2.lan", "*.gpu2.lan", "10.0.0.5", "[::1]"}, Life: time.Hour}, start); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Issue(Request{Name: "long", SANs: []string{"x"}, Life: 100 * 365 * 24 * time.Hour}, start); err != nil {
		t.Fatal(err)
	}
	all, err := List(dir)
	if err != nil || len(all) != 3 || all[0].Kind != "ca" || !slices.Equal(all[1].Names, []string{"gpu2.lan", "*.gpu2.lan", "10.0.0.5", "::1"}) || all[2].NotAfter.After(all[0].NotAfter) {
		t.Errorf("%+v %v", all, err)
	}
	if _, _, err := a.Issue(Request{Name: "x"}, start.Add(caLife)); messages.CodeOf(err) != messages.FailedPrecondition {
		t.Error(err)
	}
}
