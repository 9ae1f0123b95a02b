//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// lan is another network namespace with a cable to this one: a machine of the same network.
type lan struct {
	t    *testing.T
	here string // this machine's address there
	pid  string // of the process that holds the namespace
}

// inside tells the test that it runs in a network of its own.
const inside = "MODELOPS_E2E_NETWORK"

// ownNetwork runs the test again in a network namespace of its own, so that nothing of it is left on the machine, whatever ends it. Who isn't root gets a user
// namespace as well, where the kernel allows one; where it doesn't, the test is skipped, but not in CI. It tells whether this is the inner run.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	how := []string{"--net"}
	if os.Geteuid() != 0 {
		how = []string{"--user", "--map-root-user", "--net"}
	}
	if got := execute(t, nil, "unshare", append(how, "ip", "link", "set", "lo", "up")...); got.code != 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("no network namespace can be made here: %s", got)
		}
		t.Skipf("no network namespace can be made here: %s", got)
	}
	again := append(how, "sh", "-c", `ip link set lo up && exec "$0" "$@"`, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=10m")
	got := execute(t, append(os.Environ(), inside+"=1", "MODELOPS_BIN="+binary), "unshare", again...)
	switch {
	case got.code != 0 || !strings.Contains(got.out, "--- "):
		t.Errorf("in a network of its own: %s", got)
	case strings.Contains(got.out, "--- SKIP"):
		t.Skip(got.out)
	}
	return false
}

// newLAN lays the cable from a network namespace of the test's own.
func newLAN(t *testing.T) *lan {
	t.Helper()
	holder := exec.Command("unshare", "-n", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	l := &lan{t: t, pid: strconv.Itoa(holder.Process.Pid)}
	own := "mo" + l.pid
	n := holder.Process.Pid
	l.here = fmt.Sprintf("10.%d.%d.1", 64+n>>8&63, n&255)
	there := strings.TrimSuffix(l.here, "1") + "2"
	run := func(args ...string) {
		if got := execute(t, nil, args[0], args[1:]...); got.code != 0 {
			t.Fatalf("%v: %s", args, got)
		}
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	until(t, waitLimit, "the namespace is there", func() bool {
		theirs, err := os.Readlink("/proc/" + l.pid + "/ns/net")
		return err == nil && theirs != ours
	})
	run("ip", "link", "add", own, "type", "veth", "peer", "name", "cable", "netns", l.pid)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", own).Run() })
	run("ip", "address", "add", l.here+"/24", "dev", own)
	run("ip", "link", "set", own, "up")
	run("nsenter", "-t", l.pid, "-n", "ip", "address", "add", there+"/24", "dev", "cable")
	run("nsenter", "-t", l.pid, "-n", "ip", "link", "set", "cable", "up")
	run("nsenter", "-t", l.pid, "-n", "ip", "link", "set", "lo", "up")
	return l
}

// run runs a program on the other machine.
func (l *lan) run(env []string, args ...string) output {
	return execute(l.t, env, "nsenter", append([]string{"-t", l.pid, "-n"}, args...)...)
}

const lanKey = "a-key-of-the-lan-1"

// TestAnotherMachine: with TLS of the own CA and a key, the clients that people have work from another machine; without the CA, the key or TLS they
// get nothing.
func TestAnotherMachine(t *testing.T) {
	grpcurl, natsCLI := tool(t, "grpcurl"), tool(t, "nats")
	node, err := exec.LookPath("node")
	sdk := filepath.Join(cache(t), "npm")
	if _, missing := os.Stat(filepath.Join(sdk, "node_modules", "openai")); err != nil || missing != nil {
		t.Skip("node or OpenAI's SDK is missing: make deps installs them")
	}
	if !ownNetwork(t) {
		return
	}
	l := newLAN(t)
	d := prepare(t, `
host: main_pc
data_dir: state
keys: [{name: lan, key: "`+lanKey+`"}]
server:
  {bind: `+l.here+`, zmq_port: 0, grpc_port: 0, rest_port: 0, nats_port: 0, drain_timeout: 5s, tls: {auto: true}, cors: {origins: ["https://chat.example.com"]}}
`+oneTiny)
	d.launch()
	ca := filepath.Join(d.state(), "certs", "ca.crt")
	if !strings.HasPrefix(d.at.HTTP, "https://"+l.here+":") {
		t.Fatal(d.at.HTTP)
	}
	env := append(d.environ(), "HOME="+t.TempDir())
	script := l.run(append(env, "BASE="+d.at.HTTP, "KEY="+lanKey, "SDK_DIR="+sdk, "NODE_EXTRA_CA_CERTS="+ca), node, filepath.Join(root, "testdata", "e2e", "lan.mjs"))
	if script.code != 0 || !strings.Contains(script.out, "ok fetch") {
		t.Errorf("node ended with %d:\n%s", script.code, script)
	}
	infer := `{"model_name":"tiny","prompt":"` + france + `","temperature":0}`
	call := func(more ...string) output {
		return l.run(env, append(append([]string{grpcurl, "-max-time", "60"}, more...), "-d", infer, d.at.GRPC, "modelops.ModelOps/Infer")...)
	}
	req := func(more ...string) output {
		return l.run(env, append(append([]string{natsCLI, "--server", d.at.NATS, "--timeout", "60s"}, more...), "req", "modelops.v1.infer.tiny", infer)...)
	}
	cli := func(key string, more ...string) output {
		return l.run(append(env, "MODELOPS_API_KEY="+key), append([]string{d.binary, "infer", "tiny", france, "--server", d.at.NATS, "--data-dir", t.TempDir()}, more...)...)
	}
	auth := "authorization: Bearer " + lanKey
	for _, c := range []struct {
		what string
		got  output
		in   bool
	}{
		{"grpcurl", call("-cacert", ca, "-H", auth), true},
		{"grpcurl without a key", call("-cacert", ca), false},
		{"grpcurl with a wrong key", call("-cacert", ca, "-H", "authorization: Bearer wrong-key-1"), false},
		{"grpcurl without the CA", call("-H", auth), false},
		{"grpcurl without TLS", call("-plaintext", "-H", auth), false},
		{"nats", req("--tlsca", ca, "--user", "anyone", "--password", lanKey), true},
		{"nats without a key", req("--tlsca", ca), false},
		{"nats with a wrong key", req("--tlsca", ca, "--user", "anyone", "--password", "wrong-key-1"), false},
		{"nats without the CA", req("--user", "anyone", "--password", lanKey), false},
		{"modelops", cli(lanKey, "--ca", ca), true},
		{"modelops by the HTTP address", cli(lanKey, "--ca", ca, "--server", d.at.HTTP), true},
		{"modelops by the HTTP address, with a wrong key", cli("wrong-key-1", "--ca", ca, "--server", d.at.HTTP), false},
		{"modelops by the HTTP address, without the CA", cli(lanKey, "--server", d.at.HTTP), false},
		{"modelops with a wrong key", cli("wrong-key-1", "--ca", ca), false},
		{"modelops without the CA", cli(lanKey), false},
	} {
		if in := c.got.code == 0 && strings.Contains(c.got.out, paris); in != c.in || !c.in && strings.Contains(c.got.String(), paris) {
			t.Errorf("%s: %d %s", c.what, c.got.code, c.got)
		}
	}
	// The command line on the host itself needs no CA: it believes the certificate that the daemon wrote down.
	if got := d.cli("ps"); got.code != 0 || !strings.Contains(got.out, "tiny") {
		t.Errorf("ps here: %d %s", got.code, got)
	}
	if _, err := net.Dial("tcp", strings.Replace(strings.TrimPrefix(d.at.HTTP, "https://"), l.here, "127.0.0.1", 1)); err == nil {
		t.Error("it listens on loopback too")
	}
}
