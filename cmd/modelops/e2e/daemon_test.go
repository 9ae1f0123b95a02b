//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit, stopLimit and waitLimit end a test that hangs. What works takes milliseconds on a calm machine and doesn't wait for them,
// however busy the machine is.
const startLimit, stopLimit, waitLimit = 3 * time.Minute, 3 * time.Minute, 3 * time.Minute

// soonLimit ends a wait whose cause the test has seen already, so that only a heartbeat or a look of a second is left of it.
const soonLimit = 45 * time.Second

// daemon is one `modelops serve` in a directory of its own, started as often as a test likes.
type daemon struct {
	t      *testing.T
	binary string
	dir    string // holds cluster.yaml and state
	env    []string
	args   []string // of serve, beside --config
	site   *site    // nil = on this machine as it is
	at     addresses
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone and reaped
	log    *buffer
}

// addresses is daemon.json.
type addresses struct {
	PID  int    `json:"pid"`
	Host string `json:"host"`
	Boot string `json:"boot"`
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
	NATS string `json:"nats"`
}

// base is what each test's cluster.yaml begins with; the rest is sections that it doesn't have.
const base = `
host: main_pc
data_dir: state
server: {zmq_port: 0, grpc_port: 0, rest_port: 0, nats_port: 0, drain_timeout: 5s}
runtimes:
  llama_cpp: {binary: "${LLAMA_SERVER:llama-server}"}
`

// start runs a daemon on base and the sections, with env (NAME=value) over the environment, and waits until it is up.
func start(t *testing.T, sections string, env ...string) *daemon {
	t.Helper()
	d := prepare(t, base+sections, env...)
	d.launch()
	return d
}

// prepare makes a daemon's directory without starting it. In the sections, TINY is the path of the small model.
func prepare(t *testing.T, config string, env ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, binary: binary, dir: t.TempDir(), env: env, log: &buffer{}}
	d.write("cluster.yaml", strings.ReplaceAll(config, "TINY", tiny()))
	t.Cleanup(d.clean)
	return d
}

// in is the daemon as a subtest sees it: what fails, fails there. It is for looking and asking, not for starting and ending.
func (d *daemon) in(t *testing.T) *daemon {
	c := *d
	c.t = t
	return &c
}

func tiny() string { return filepath.Join(root, "testdata", "model", "tiny.gguf") }

func (d *daemon) state() string { return filepath.Join(d.dir, "state") }

func (d *daemon) write(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// environ is the test's environment without settings that a developer may have, and with the daemon's.
func (d *daemon) environ() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MOC_") && !strings.HasPrefix(kv, "MODELOPS_") {
			out = append(out, kv)
		}
	}
	return append(append(out, "MODELOPS_DRILLS=1"), d.env...) // some tests crash actors
}

// spawn starts the process without waiting for anything.
func (d *daemon) spawn() {
	d.t.Helper()
	d.cmd = exec.Command(d.binary, append([]string{"serve", "--config", filepath.Join(d.dir, "cluster.yaml")}, d.args...)...)
	d.cmd.Dir, d.cmd.Env = d.dir, d.environ()
	d.cmd.Stdout = d.site.said(d.log)
	d.cmd.Stderr = d.cmd.Stdout
	if err := d.site.inside(d.cmd.Start); err != nil {
		d.t.Fatal(err)
	}
	exited, cmd := make(chan struct{}), d.cmd
	d.exited = exited
	go func() { _ = cmd.Wait(); close(exited) }()
}

// launch starts the process and waits until it says where it is.
func (d *daemon) launch() {
	d.t.Helper()
	d.spawn()
	d.until(startLimit, "the daemon is up", func() bool {
		select {
		case <-d.exited:
			d.t.Fatalf("the daemon ended with %v at its start", d.cmd.ProcessState)
		default:
		}
		return d.announced()
	})
}

// announced reads daemon.json if this process wrote it: after kill -9 the former one's is still there.
func (d *daemon) announced() bool {
	raw, err := os.ReadFile(filepath.Join(d.state(), "daemon.json"))
	if err != nil {
		return false
	}
	var at addresses
	if json.Unmarshal(raw, &at) != nil || at.PID != d.cmd.Process.Pid {
		return false
	}
	d.at = at
	return true
}

func (d *daemon) running() bool {
	if d.cmd == nil {
		return false
	}
	select {
	case <-d.exited:
		return false
	default:
		return true
	}
}

// kill is kill -9, and returns when the process is gone.
func (d *daemon) kill() {
	d.t.Helper()
	_ = d.cmd.Process.Kill()
	d.awaitExit(waitLimit)
}

// stop asks the process to end, waits for it and returns its exit code.
func (d *daemon) stop() int {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	d.awaitExit(stopLimit)
	return d.cmd.ProcessState.ExitCode()
}

func (d *daemon) awaitExit(within time.Duration) {
	d.t.Helper()
	select {
	case <-d.exited:
		return
	case <-time.After(within):
	}
	_ = d.cmd.Process.Signal(syscall.SIGQUIT) // where do its goroutines stand?
	select {
	case <-d.exited:
	case <-time.After(time.Minute):
	}
	d.t.Fatalf("the daemon was still there after %s:\n%s", within, d.log.tail(400))
}

// clean ends what the test left running: the daemon, and its workers, which outlive it on purpose.
func (d *daemon) clean() {
	if d.running() {
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
	for _, p := range processesOf(d.dir) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	until(d.t, waitLimit, "the workers are gone", func() bool { return len(processesOf(d.dir)) == 0 })
	if d.t.Failed() {
		d.t.Logf("the daemon in %s said:\n%s", d.dir, d.log.tail(60))
	}
}

// until polls a condition; not to see it come true in time fails the test.
func (d *daemon) until(within time.Duration, what string, condition func() bool) {
	d.t.Helper()
	until(d.t, within, what, condition)
}

// unless is until that ends at once when the opposite shows: a fault is named by what it did, not by the time that passed.
func (d *daemon) unless(fault func() string, what string, condition func() bool) {
	d.t.Helper()
	until(d.t, waitLimit, what, func() bool {
		d.t.Helper()
		if condition() {
			return true
		}
		if said := fault(); said != "" {
			d.t.Fatalf("waited for this: %s; but %s", what, said)
		}
		return false
	})
}

// wontServe runs serve, which has to end by itself. One that comes up, or waits as a standby, fails the test at once.
func (d *daemon) wontServe(args ...string) output {
	d.t.Helper()
	s := &daemon{t: d.t, binary: d.binary, dir: d.dir, env: d.env, args: args, site: d.site, log: &buffer{}}
	s.spawn()
	d.t.Cleanup(s.clean)
	s.unless(func() string {
		if s.announced() || strings.Contains(s.log.String(), "standby: waits") {
			return "the daemon is up or waits:\n" + s.log.tail(20)
		}
		return ""
	}, strings.Join(append([]string{"serve"}, args...), " ")+" is refused", func() bool { return !s.running() })
	return output{err: s.log.String(), code: s.cmd.ProcessState.ExitCode()}
}

func until(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	end := time.NewTimer(within)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-end.C:
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

// buffer keeps what a process said.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) tail(lines int) string {
	all := strings.Split(b.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
