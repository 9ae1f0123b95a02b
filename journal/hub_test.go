package journal

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// openHub runs a cluster of NATS servers with streams, and gives the addresses of their leafnode listeners.
func openHub(t *testing.T, n int, change ...func(*server.Options)) []*url.URL {
	t.Helper()
	var servers []*server.Server
	var options []*server.Options
	var leaves, routes []*url.URL
	var ports []int
	var listeners []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners, ports = append(listeners, l), append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	for i := range n {
		_ = listeners[i].Close()
		o := &server.Options{ServerName: fmt.Sprint("hub", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, JetStreamDomain: "hub", StoreDir: t.TempDir()}
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", -1
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "hub", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		}
		for _, c := range change {
			c(o)
		}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers, options = append(servers, s), append(options, o)
	}
	for i, s := range servers {
		if !s.ReadyForConnections(time.Minute) {
			t.Fatal("the hub didn't start")
		}
		leaves = append(leaves, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", options[i].LeafNode.Port)})
	}
	eventually(t, "the hub has a leader", func() bool {
		for _, s := range servers {
			if n == 1 || s.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
	return leaves
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !condition(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func leafOf(t *testing.T, host string, hub []*url.URL) (*Journal, *nats.Conn) {
	t.Helper()
	j, err := Open(t.Context(), Options{Dir: t.TempDir(), Host: host, BootID: "boot", Hub: &Hub{URLs: hub}, noSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	nc, err := j.ConnectHub()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	eventually(t, host+" joins the hub", func() bool { up, _ := j.HubUp(); return up })
	return j, nc
}

// Two hosts with no link to each other talk through the hub, and their journals stay their own.
func TestHub(t *testing.T) {
	hub := openHub(t, 1)
	a, toHub := leafOf(t, "main_pc", hub)
	_, other := leafOf(t, "pc2", hub)
	if _, err := other.Subscribe("greet.pc2", func(m *nats.Msg) { _ = m.Respond([]byte("here")) }); err != nil {
		t.Fatal(err)
	}
	var said *nats.Msg
	eventually(t, "pc2 answers", func() bool {
		m, err := toHub.Request("greet.pc2", nil, time.Second) // meant to pass: it is asked again
		said = m
		return err == nil
	})
	if string(said.Data) != "here" {
		t.Errorf("%q", said.Data)
	}
	for _, subject := range []string{"$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.JOURNAL", "$JS.API.STREAM.MSG.GET.JOURNAL"} {
		if m, err := other.Request(subject, nil, 200*time.Millisecond); err == nil && !errorReply(m) { // meant to pass: nobody answers
			t.Errorf("%s: a journal answers %s", subject, m.Data)
		}
	}
	heard, err := other.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	inside, err := a.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	eventually(t, "what is said to the hub arrives", func() bool {
		_ = inside.Publish("modelops.v1.secret", []byte("x"))
		_ = inside.Flush()
		_ = toHub.Publish("last", nil)                  // the interest in it takes a moment to arrive
		m, err := heard.NextMsg(100 * time.Millisecond) // meant to pass: it is said again
		if err == nil && m.Subject == "modelops.v1.secret" {
			t.Fatal("what is said inside a host reaches the hub")
		}
		return err == nil && m.Subject == "last"
	})
}

// errorReply tells whether the hub's own JetStream says that it doesn't have it.
func errorReply(m *nats.Msg) bool {
	return m.Header.Get("Status") == "503" || len(m.Data) > 0 && m.Data[0] == '{'
}

// A leaf keeps a stream in three copies at the hub.
func TestHubKeepsStreams(t *testing.T) {
	_, nc := leafOf(t, "main_pc", openHub(t, 3))
	js, err := jetstream.NewWithDomain(nc, "hub")
	if err != nil {
		t.Fatal(err)
	}
	var s jetstream.Stream
	eventually(t, "the hub makes a stream of three copies", func() bool {
		s, err = js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "COPY_main_pc", Subjects: []string{"copy.main_pc"}, Replicas: 3})
		return err == nil
	})
	if _, err := js.Publish(t.Context(), "copy.main_pc", []byte("decision")); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != 1 || info.Config.Replicas != 3 {
		t.Errorf("%+v, %v", info, err)
	}
}

// A hub that can't be reached keeps nobody from working, and it is said why.
func TestHubOff(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	o := testOptions(t, t.TempDir())
	o.Hub = &Hub{URLs: []*url.URL{{Scheme: "nats", Host: l.Addr().String()}}}
	j := mustOpen(t, o)
	eventually(t, "the reason is known", func() bool {
		up, why := j.HubUp()
		return !up && strings.Contains(why, "connection refused")
	})
	fill(t, j, 3)
}
