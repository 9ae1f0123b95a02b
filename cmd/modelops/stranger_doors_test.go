package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// named is the subject of an operation that ends in a name; empty = it has none.
func named(o messages.Operation) string {
	if o.NATSName == "" {
		return ""
	}
	m := filled(o).ProtoReflect()
	return o.NATS + "." + m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(o.NATSName))).String()
}

// allDoorsAreTried fails for a door that TestStrangersGetNothing doesn't know: a port, or a subject of NATS.
func (d *daemon) allDoorsAreTried(t *testing.T, others map[int]bool) {
	t.Helper()
	known := map[int]bool{}
	for _, at := range []string{d.rest.Addr().String(), d.grpc.Addr(), d.journal.ClientURL()} {
		if u, err := url.Parse(at); err == nil && u.Host != "" {
			at = u.Host
		}
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(port)
		known[n] = true
	}
	now := listening(t)
	for port := range now {
		if !known[port] && !others[port] {
			t.Errorf("something listens on port %d, and no stranger is sent there: teach this test the door", port)
		}
	}
	for port := range known {
		if !now[port] {
			t.Errorf("nothing was found on port %d of a door: the search is wrong", port)
		}
	}
	nc, err := nats.Connect(d.journal.ClientURL(), nats.Token(d.operatorKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request("$SRV.INFO", nil, hangLimit)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(m.Data, &info); err != nil {
		t.Fatal(err)
	}
	tried := []string{"modelops.v1.cancel.>"} // it ends a request of the same key only
	for _, o := range messages.OperationTable() {
		tried = append(tried, "modelops.v1."+o.NATS, "modelops.v1."+o.NATS+".>")
	}
	for _, e := range info.Endpoints {
		if !slices.Contains(tried, e.Subject) {
			t.Errorf("NATS answers on %s, and no stranger asks there", e.Subject)
		}
	}
	if len(info.Endpoints) < 20 {
		t.Errorf("only %d subjects were found", len(info.Endpoints))
	}
}

// listening are the TCP ports that this process listens on.
func listening(t *testing.T) map[int]bool {
	t.Helper()
	ours, ports := map[string]bool{}, map[int]bool{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil {
			ours[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // a kernel without IPv6
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != "0A" || !ours[fields[9]] {
				continue
			}
			_, port, _ := strings.Cut(fields[1], ":")
			if n, err := strconv.ParseUint(port, 16, 16); err == nil {
				ports[int(n)] = true
			}
		}
		_ = f.Close()
	}
	return ports
}

// A key that is revoked while its connection is open is refused on that connection.
func TestARevokedKeyEndsOnOpenConnections(t *testing.T) {
	d := locked(t)
	key := d.keyed(t, &messages.AddKeyRequest{Name: "late", Role: "read"})
	conn, err := grpc.NewClient(d.grpc.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key), hangLimit)
	defer cancel()
	stream, err := messages.NewModelOpsClient(conn).InferStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		if err := stream.Send(&messages.InferenceRequest{ModelName: "nope", Prompt: "x"}); err != nil {
			t.Fatal(err)
		}
		c, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return c.GetError().GetCode()
	}
	if got := ask(); got != "MODEL_NOT_FOUND" {
		t.Fatal(got)
	}
	if got := d.fetch(t, "GET /status", key, ""); !strings.HasPrefix(got, "200") {
		t.Fatal(got)
	}
	if _, err := d.control.RevokeKey(t.Context(), &messages.RevokeKeyRequest{Name: "late"}); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != "UNAUTHENTICATED" {
		t.Error("the open stream:", got)
	}
	if got := d.fetch(t, "GET /status", key, ""); got != "" {
		t.Error(got)
	}
	_ = stream.CloseSend()
	_, _ = stream.Recv()
}
