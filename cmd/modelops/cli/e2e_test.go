//go:build e2e

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// field is a daemon in a directory of its own, and the built binary with which it is asked.
type field struct {
	t      *testing.T
	binary string
	dir    string
	serve  *exec.Cmd
	said   *shared
}

// shared is a buffer that a process writes and the test reads.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const question = "What is the capital of France?"

func newField(t *testing.T) *field {
	f := &field{t: t, binary: os.Getenv("MODELOPS_BIN"), dir: t.TempDir()}
	if f.binary == "" {
		f.binary = filepath.Join(t.TempDir(), "modelops")
		if out, err := exec.Command("go", "build", "-o", f.binary, "modelops/cmd/modelops").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	tiny, err := filepath.Abs("../../../testdata/model/tiny.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(tiny, filepath.Join(f.dir, "link.gguf")); err != nil {
		t.Fatal(err)
	}
	config := `
data_dir: state
server: {zmq_port: 0, grpc_port: 0, rest_port: 0, nats_port: 0, drain_timeout: 5s}
models:
  preload: [{name: tiny}]
  declare:
    tiny: {runtime: embedded, path: ` + tiny + `, aliases: [small]}
    other: {runtime: embedded, path: ` + tiny + `}
    broken: {runtime: embedded, path: ./nothing.gguf}
`
	if err := os.WriteFile(filepath.Join(f.dir, "cluster.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs `modelops serve --ask` and waits for the answer.
func (f *field) start() {
	f.t.Helper()
	f.said = &shared{}
	f.serve = exec.Command(f.binary, "serve", "--ask", question)
	f.serve.Dir, f.serve.Stdout, f.serve.Stderr = f.dir, f.said, f.said
	if err := f.serve.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = f.serve.Process.Kill() })
	f.awaits("> " + question + "\nThe capital of France is Paris.")
}

// awaits polls the output of the daemon until it contains text.
func (f *field) awaits(text string) {
	f.t.Helper()
	for end := time.Now().Add(hangLimit); !strings.Contains(f.said.String(), text); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("the daemon never said %q:\n%s", text, f.said)
		}
	}
}

// run runs the program, requires an exit code, and returns stdout and stderr.
func (f *field) run(exit int, stdin string, args ...string) (string, string) {
	f.t.Helper()
	cmd := exec.Command(f.binary, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = f.dir, strings.NewReader(stdin), &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != exit {
		f.t.Errorf("modelops %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, exit, &out, &errs)
	}
	return out.String(), errs.String()
}

// says requires exit code 0 and a pattern on stdout.
func (f *field) says(pattern string, args ...string) {
	f.t.Helper()
	out, _ := f.run(exitOK, "", args...)
	if !regexp.MustCompile(pattern).MatchString(out) {
		f.t.Errorf("modelops %s: no %q in\n%s", strings.Join(args, " "), pattern, out)
	}
}

// fails requires an exit code, a pattern on stderr, and an empty stdout.
func (f *field) fails(exit int, pattern string, args ...string) {
	f.t.Helper()
	out, errs := f.run(exit, "", args...)
	if out != "" || !regexp.MustCompile(pattern).MatchString(errs) {
		f.t.Errorf("modelops %s: no %q in\n%s, or something on stdout: %q", strings.Join(args, " "), pattern, errs, out)
	}
}

func (f *field) stop(signal syscall.Signal) {
	f.t.Helper()
	if err := f.serve.Process.Signal(signal); err != nil {
		f.t.Fatal(err)
	}
	_ = f.serve.Wait()
}

func TestTheCommandLineAgainstADaemon(t *testing.T) {
	f := newField(t)
	f.start()
	t.Run("looks", func(t *testing.T) { f.t = t; looks(f) })
	t.Run("asks", func(t *testing.T) { f.t = t; asks(f) })
	t.Run("loads", func(t *testing.T) { f.t = t; loads(f) })
	t.Run("sends", func(t *testing.T) { f.t = t; sends(f) })
	t.Run("remembers", func(t *testing.T) { f.t = t; remembers(f) })
	f.t = t
	f.stop(syscall.SIGINT)
	if code := f.serve.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("serve ended with %d:\n%s", code, f.said)
	}
	f.fails(exitUnreachable, "no daemon can be reached|no daemon serves", "ps", "--data-dir", "state")
	f.says("^intact: host main_pc", "journal", "verify")
}

func looks(f *field) {
	f.says(`(?m)^tiny +ready +cpu +\d+ MiB measured +0 +0 +\S+ +- +\d+$`, "ps")
	f.says(`(?m)^broken +absent +embedded`, "models")
	f.says(`(?m)^cpu +cpu +`, "gpus")
	f.says(`model/main_pc/tiny`, "gpus", "--leases")
	f.says(`(?m)^models +1 ready, 2 absent$`, "status")
	f.says(`^ok`, "health")
	f.says(`"phase": "ready"`, "ps", "--json")
	f.says(`model loaded`, "logs", "tiny")
	f.says(`(?m)^tiny\tready$`, "__complete", "load", "")
	f.fails(exitRefused, "in use by process", "journal", "verify")
	for _, args := range [][]string{{"ps"}, {"models"}, {"gpus"}, {"status"}, {"health"}, {"version"}, {"state", "host"}, {"replay"}, {"config", "check"}} {
		out, _ := f.run(exitOK, "", append(args, "--json")...)
		if !json.Valid([]byte(out)) {
			f.t.Errorf("%v --json is no JSON:\n%s", args, out)
		}
	}
}

func asks(f *field) {
	f.says(`^The capital of France is Paris\.\n$`, "infer", "tiny", question, "--temperature", "0")
	f.says(`^The capital of France is Paris\.\n$`, "infer", "small", question, "--temperature", "0", "--stream")
	if out, _ := f.run(exitOK, question+"\n/clear\n/quit\nnever read\n", "chat", "tiny", "--temperature", "0"); out != "The capital of France is Paris.\n" {
		f.t.Errorf("%q", out)
	}
	out, _ := f.run(exitOK, question, "infer", "tiny", "-", "--temperature", "0", "--stream", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			f.t.Errorf("%q is no JSON", line)
		}
	}
	if len(lines) < 3 || !strings.Contains(lines[len(lines)-1], `"done":true`) {
		f.t.Errorf("no stream: %s", out)
	}
	f.fails(exitNotFound, "Model 'nope' not found", "infer", "nope", "hi")
	f.fails(exitUsage, "max_tokens", "infer", "tiny", "hi", "--max-tokens", "-1")
	f.fails(exitDeadline, "time was over|deadline", "infer", "tiny", "hi", "--timeout", "1us")
}

func loads(f *field) {
	f.says(`^other is ready, \d+ MiB`, "load", "other")
	f.says(`^other is ready`, "load", "other")
	f.says(`^other is unloaded`, "unload", "other")
	f.says(`^other is unloaded`, "unload", "other", "--force")
	f.says(`mine is ready`, "load", "mine", "--path", "../"+filepath.Base(f.dir)+"/link.gguf")
	f.fails(exitNo, "Failed to load model 'broken'", "load", "broken")
	f.fails(exitNotFound, "not found", "load", "nope")
	f.fails(exitNotFound, "not found", "unload", "nope")
}

func sends(f *field) {
	f.says(`^Done \{"note": ?"already wanted`, "send", "model/tiny", "EnsureModel")
	var out string
	for follow := 3 * time.Second; !strings.Contains(out, "model.ready") && follow < hangLimit; follow *= 3 { // a busy machine loads slowly
		f.says(`^other is unloaded`, "unload", "other", "--force")
		out, _ = f.run(exitOK, "", "send", "model/other", "EnsureModel", `{"reason":"test"}`, "--follow", follow.String())
	}
	for _, event := range []string{"model.wanted", "arbiter.placement_decided", "gpu.vram_reserved", "model.ready"} {
		if !strings.Contains(out, event) {
			f.t.Errorf("no %s follows:\n%s", event, out)
		}
	}
	f.fails(exitUsage, "no such command", "send", "model/tiny", "Nonsense")
	f.fails(exitUsage, "not a JSON object", "send", "model/tiny", "EnsureModel", "{")
	f.fails(exitNotFound, "not found", "send", "model/nope", "EnsureModel")
}

func remembers(f *field) {
	f.says(`(?m)^equal: \d+ actors`, "replay")
	f.says(`"phase": "ready"`, "state", "model/tiny", "--view")
	f.says(`at sequence 1, decided `, "state", "host", "--at", "1")
	f.fails(exitNotFound, "has no decision of it", "state", "model/tiny", "--at", "1h")
	out, _ := f.run(exitOK, "", "journal", "tail", "-n", "3")
	if n := strings.Count(out, "\n"); n < 3 {
		f.t.Errorf("%d lines:\n%s", n, out)
	}
	f.says(`model/main_pc/tiny  model\.ready  \{`, "journal", "tail", "--actor", "model/tiny", "--type", "model.ready")
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		if !regexp.MustCompile(`^\d+  \d{4}-\d\d-\d\d `).MatchString(line) {
			f.t.Errorf("%q", line)
		}
	}
}

// After kill -9 the journal can be folded from its files, and the state of the next daemon equals the fold.
func TestReplayAfterAKill(t *testing.T) {
	f := newField(t)
	f.start()
	f.stop(syscall.SIGKILL)
	f.fails(exitUnreachable, "no longer runs", "ps")
	f.says(`(?m)^the journal can be folded`, "replay", "--data-dir", "state")
	f.says(`"Phase": "ready"`, "state", "model/tiny", "--data-dir", "state")
	f.says(`model\.ready`, "journal", "tail", "--data-dir", "state", "--type", "model.ready")
	f.says(`model loaded`, "logs", "tiny", "--data-dir", "state")
	f.start()
	f.says(`(?m)^equal: \d+ actors`, "replay")
	f.stop(syscall.SIGTERM)
}

// A damaged journal has its own exit code, and nothing changes its files.
func TestADamagedJournal(t *testing.T) {
	f := newField(t)
	f.start()
	f.stop(syscall.SIGTERM)
	blocks, _ := filepath.Glob(filepath.Join(f.dir, "state/journal/jetstream/*/streams/JOURNAL/msgs/*.blk"))
	if len(blocks) == 0 {
		t.Fatal("no blocks are where they should be")
	}
	b, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(blocks[0], b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, errs := f.run(exitDamaged, "", "journal", "verify")
	if !strings.Contains(errs, "sequence ") {
		t.Error(errs)
	}
	f.run(exitDamaged, "", "replay", "--data-dir", "state")
	f.run(exitDamaged, "", "serve")
}
