package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/bridges/certs"
	"modelops/messages"
)

// certified is a client of each door with the operator's key and a certificate; nil = it shows none. It doesn't look at the host's.
type certified struct {
	d    *daemon
	key  string
	tls  *tls.Config
	http *http.Client
}

func (d *daemon) certified(t *testing.T, cert *tls.Certificate) *certified {
	c := &certified{d: d, key: d.operatorKey(t), tls: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the host's certificate isn't what is tested
	if cert != nil {
		c.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil } // also one that no CA of the host signed
	}
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls, DisableKeepAlives: true}, Timeout: hangLimit}
	return c
}

// byHTTP, byGRPC and byNATS say what came back; empty = no connection was made.
func (c *certified) byHTTP(t *testing.T, o messages.Operation) string {
	route, body := routeOf(o), ""
	if route == "" {
		route = "GET /health"
	}
	method, path, _ := strings.Cut(route, " ")
	if method == http.MethodPost {
		body = natsBody(filled(o))
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+c.d.rest.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := c.http.Do(r)
	if err != nil {
		return ""
	}
	_ = resp.Body.Close()
	return resp.Status
}

func (c *certified) byGRPC(t *testing.T, o messages.Operation) string {
	conn, err := grpc.NewClient(c.d.grpc.Addr(), grpc.WithTransportCredentials(credentials.NewTLS(c.tls)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", c.key), hangLimit)
	defer cancel()
	err = conn.Invoke(ctx, "/modelops.ModelOps/"+o.Name, filled(o), &emptypb.Empty{})
	if status.Code(err) == codes.Unavailable {
		return ""
	}
	return status.Code(err).String()
}

func (c *certified) byNATS(t *testing.T, o messages.Operation) string {
	if o.NATS == "" {
		return ""
	}
	nc, err := nats.Connect(c.d.journal.ClientURL(), nats.NoReconnect(), nats.Timeout(hangLimit), nats.Token(c.key), nats.Secure(c.tls), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return ""
	}
	defer nc.Close()
	if m, err := nc.Request("modelops.v1."+o.NATS, []byte(natsBody(filled(o))), hangLimit); err == nil {
		return string(m.Data)
	} else if nc.IsClosed() || !nc.IsConnected() { // TLS 1.3 tells of a refused certificate after the handshake
		return ""
	}
	return "a connection"
}

// harmlessFirst are all operations, one that answers at once before the others: with the operator's key an open door would run them.
func harmlessFirst() []messages.Operation {
	out := []messages.Operation{}
	for _, o := range messages.OperationTable() {
		if o.Name == "GetStatus" {
			out = append([]messages.Operation{o}, out...)
		} else {
			out = append(out, o)
		}
	}
	return out
}

// Where client certificates are required, even the operator's key is worth nothing without one that the host's CA signed.
func TestAWrongCertificateGetsNothing(t *testing.T) {
	d := locked(t, ", tls: {auto: true, client_ca: auto}")
	elsewhere := certs.Dir(t.TempDir())
	ca, _, err := certs.Init(elsewhere, "elsewhere", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := ca.Issue(certs.Request{Name: "laptop", Client: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair := func(certFile, keyFile string) *tls.Certificate {
		p, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	before := d.journal.Sequence()
	for who, cert := range map[string]*tls.Certificate{"no certificate": nil, "a certificate of another CA": pair(certFile, keyFile)} {
		c := d.certified(t, cert)
		for door, ask := range map[string]func(*testing.T, messages.Operation) string{"HTTP": c.byHTTP, "gRPC": c.byGRPC, "NATS": c.byNATS} {
			for _, o := range harmlessFirst() {
				if got := ask(t, o); got != "" {
					t.Errorf("%s: %s over %s: %.80s", who, o.Name, door, got)
					break // the door is open: what waits or changes something needn't be tried
				}
			}
		}
	}
	if after := d.journal.Sequence(); after != before {
		t.Errorf("%d decisions followed", after-before)
	}
	good := d.certified(t, pair(certs.LocalFiles(certs.Dir(d.cfg.DataDir))))
	status, _ := messages.OperationNamed("GetStatus")
	if h, g, n := good.byHTTP(t, status), good.byGRPC(t, status), good.byNATS(t, status); h != "200 OK" || g != "OK" || !strings.Contains(n, "{") {
		t.Errorf("with the host's own certificate: %q %q %.80q", h, g, n)
	}
}
