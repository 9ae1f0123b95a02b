//go:build e2e

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// TestBadConfig: exit code 2, the mistake with its line, and nothing was started or made.
func TestBadConfig(t *testing.T) {
	for _, c := range []struct {
		name, config string
		env          []string
		says         []string
	}{
		{"unknown key", "host: main_pc\ndata_dir: state\nserver:\n  grpc_prot: 1\n", nil, []string{"cluster.yaml:4:", "grpc_prot", "grpc_port"}},
		{"wrong type", "host: main_pc\ndata_dir: state\nserver:\n  grpc_port: many\n", nil, []string{"cluster.yaml:4:", "grpc_port", "expected"}},
		{"not YAML", "host: main_pc\ndata_dir: state\nserver: [\n", nil, []string{"cluster.yaml:"}},
		{"impossible", "host: main_pc\ndata_dir: state\nmodels:\n  declare:\n    a: {runtime: openai}\n", nil, []string{"cluster.yaml:5:", "url"}},
		{"reachable from outside", "host: main_pc\ndata_dir: state\nserver:\n  bind: 0.0.0.0\n", nil, []string{"cluster.yaml:4:", "0.0.0.0", "server.tls: {auto: true}", "server.insecure: true"}},
		{"a preload that isn't declared", "host: main_pc\ndata_dir: state\nmodels:\n  preload:\n    - name: nobody\n", nil, []string{"cluster.yaml:5:", "nobody"}},
		{"wrong type in a variable", base, []string{"MOC_SERVER__GRPC_PORT=many"}, []string{"MOC_SERVER__GRPC_PORT", "many"}},
		{"unknown key in a variable", base, []string{"MOC_SERVER__GRPC_PROT=1"}, []string{"MOC_SERVER__GRPC_PROT"}},
		{"bind in a variable", base, []string{"MOC_SERVER__BIND=0.0.0.0"}, []string{"MOC_SERVER__BIND", "0.0.0.0", "server.tls: {auto: true}", "server.insecure: true"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := prepare(t, c.config, c.env...)
			serve, check := d.fails(2), d.cli("config", "check")
			if check.code != 2 {
				t.Errorf("config check: exit code %d", check.code)
			}
			for _, want := range c.says {
				if !strings.Contains(serve, want) || !strings.Contains(check.String(), want) {
					t.Errorf("no %q in\n%s\nand\n%s", want, serve, check)
				}
			}
			if _, err := os.Stat(d.state()); !os.IsNotExist(err) {
				t.Errorf("the data directory is there: %v", err)
			}
		})
	}
}

// TestOverrides: variables win over the file, in both their forms, and defaults fill in for variables that aren't set.
func TestOverrides(t *testing.T) {
	rest, grpc := freePort(t), freePort(t)
	d := start(t, `
models:
  declare:
    tiny: {runtime: "${E2E_RUNTIME:embedded}", path: "${E2E_MODEL}"}
`, fmt.Sprintf("MOC_SERVER__REST_PORT=%d", rest), fmt.Sprintf("MOC_GRPC_PORT=%d", grpc), "E2E_MODEL="+tiny(), "MOC_LOG__FORMAT=json")
	if want := fmt.Sprintf("http://127.0.0.1:%d", rest); d.at.HTTP != want {
		t.Errorf("HTTP at %s, want %s", d.at.HTTP, want)
	}
	if want := fmt.Sprintf("127.0.0.1:%d", grpc); d.at.GRPC != want {
		t.Errorf("gRPC at %s, want %s", d.at.GRPC, want)
	}
	d.answers("tiny")
	if !strings.Contains(d.log.String(), `{"time":`) {
		t.Error("the log isn't JSON")
	}
	if got := d.cli("config", "check", "--show"); got.code != 0 || !strings.Contains(got.out, "MOC_GRPC_PORT") {
		t.Errorf("config check: exit code %d, %s", got.code, got)
	}
}

// TestTakenPort: a start that fails at a port leaves nothing behind, and says which.
func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for _, door := range []string{"REST", "GRPC", "NATS"} {
		t.Run(door, func(t *testing.T) {
			d := prepare(t, base+oneTiny, fmt.Sprintf("MOC_SERVER__%s_PORT=%d", door, port))
			if said := d.fails(3); !strings.Contains(said, fmt.Sprint(port)) {
				t.Errorf("it said %s", said)
			}
			if _, err := os.Stat(d.state() + "/daemon.json"); !os.IsNotExist(err) {
				t.Errorf("daemon.json: %v", err)
			}
		})
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	for range portsTo - portsFrom {
		port := portsFrom + int(nextPort.Add(1))%(portsTo-portsFrom)
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Ports for daemons come from below those that the kernel gives to connections and to listeners on port 0: one of those can take a port that was free a moment before.
const portsFrom, portsTo = 20000, 32000

var nextPort = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(rand.Int64N(portsTo - portsFrom))
	return &n
}()
