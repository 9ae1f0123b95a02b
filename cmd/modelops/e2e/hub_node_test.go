//go:build e2e

package e2e_test

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	hubNodeWord = "hub-node"
	hubUser     = "admin" // of clients; the user of a leaf is named after its host
	hubPassword = "hub-password"
)

// node is one server of a NATS cluster that knows nothing of modelops: a process of its own, which a test may kill.
type node struct {
	Name                  string
	Client, Leaf, Cluster int // ports
	Routes                []int
	Dir                   string
	Cert, Key             string // files; empty = leaves don't speak TLS
	Password              string // of leaves; empty = hubPassword

	cmd *exec.Cmd
}

// hub is a NATS cluster of three servers with JetStream, whose leafnodes need a password.
type hub struct {
	t     *testing.T
	nodes []*node
	at    func(host string, port int) string // where a host reaches a leafnode listener; nil = there
}

// hubNode is the process of a server.
func hubNode(text string) int {
	n := new(node)
	if err := json.Unmarshal([]byte(text), n); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	o := &server.Options{ServerName: n.Name, Host: "127.0.0.1", Port: n.Client, JetStream: true, JetStreamDomain: "hub", StoreDir: n.Dir, Username: hubUser, Password: hubPassword}
	o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: n.Leaf, NoAdvertise: true} // a leaf keeps to the addresses that it was given, which may be a proxy's
	if n.Cert != "" {
		cert, err := tls.LoadX509KeyPair(n.Cert, n.Key)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		o.LeafNode.TLSConfig, o.LeafNode.TLSTimeout = &tls.Config{Certificates: []tls.Certificate{cert}}, 30
	}
	for _, host := range []string{"main_pc", "pc2"} {
		o.LeafNode.Users = append(o.LeafNode.Users, &server.User{Username: host, Password: cmp.Or(n.Password, hubPassword), Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: hubRights(host).publish},
			Subscribe: &server.SubjectPermission{Allow: hubRights(host).subscribe},
		}})
	}
	o.Cluster = server.ClusterOpts{Name: "hub", Host: "127.0.0.1", Port: n.Cluster}
	for _, port := range n.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	s.Start()
	s.WaitForShutdown()
	return 0
}

type rights struct{ publish, subscribe []string }

// hubRights are what docs/cluster.md says that the user of a host needs.
func hubRights(host string) rights {
	const api = "$JS.hub.API.STREAM."
	return rights{
		publish:   []string{"modelops.v1.hub.*." + host + ".>", "modelops.v1.archive." + host + ".*", api + "NAMES", api + "CREATE.*", api + "INFO.*", api + "MSG.GET.*"},
		subscribe: []string{"modelops.v1.hub." + host + ".>", "_INBOX_" + host + ".>"},
	}
}

func startHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t}
	var routes []int
	for i := range 3 {
		n := &node{Name: fmt.Sprint("hub", i), Client: freePort(t), Leaf: freePort(t), Cluster: freePort(t), Dir: t.TempDir()}
		h.nodes, routes = append(h.nodes, n), append(routes, n.Cluster)
	}
	t.Cleanup(func() { h.kill(h.nodes...) })
	for _, n := range h.nodes {
		n.Routes = routes
	}
	h.start(h.nodes...)
	return h
}

// start starts servers, and waits until the cluster keeps streams.
func (h *hub) start(nodes ...*node) {
	h.t.Helper()
	for _, n := range nodes {
		text, err := json.Marshal(n)
		if err != nil {
			h.t.Fatal(err)
		}
		n.cmd = exec.Command(os.Args[0], hubNodeWord, string(text))
		n.cmd.Stderr = os.Stderr
		if err := n.cmd.Start(); err != nil {
			h.t.Fatal(err)
		}
	}
	until(h.t, startLimit, "the hub has a leader", func() bool {
		nc, js, err := h.client()
		if err != nil {
			return false
		}
		defer nc.Close()
		_, err = js.AccountInfo(h.t.Context())
		return err == nil
	})
}

// kill ends servers as kill -9 does.
func (h *hub) kill(nodes ...*node) {
	for _, n := range nodes {
		if n.cmd != nil {
			_ = n.cmd.Process.Kill()
			_ = n.cmd.Wait()
			n.cmd = nil
		}
	}
}

// client is a connection to whatever server of the hub runs.
func (h *hub) client(opts ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	var urls []string
	for _, n := range h.nodes {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", n.Client))
	}
	nc, err := nats.Connect(strings.Join(urls, ","), append([]nats.Option{nats.UserInfo(hubUser, hubPassword)}, opts...)...)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// section is what a host's configuration says of the hub. The file of the password is beside it.
func (h *hub) section(host, more string) string {
	var urls []string
	for _, n := range h.nodes {
		at := fmt.Sprintf("127.0.0.1:%d", n.Leaf)
		if h.at != nil {
			at = h.at(host, n.Leaf)
		}
		urls = append(urls, "'nats://"+at+"'")
	}
	return fmt.Sprintf("nats: {hub: [%s], hub_user: %s, hub_password_file: hub.password%s}\n", strings.Join(urls, ", "), host, more)
}
