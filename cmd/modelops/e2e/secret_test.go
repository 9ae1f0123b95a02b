//go:build e2e

package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"modelops/messages"
)

// TestNoSecretLeaves: no secret, prompt or answer reaches the journal, snapshots, logs, pages, explanations, crash output, process arguments or
// temporary files. A worker's own log is the one place that may hold what the worker writes.
func TestNoSecretLeaves(t *testing.T) {
	far := httptest.NewServer(http.HandlerFunc(quoting))
	defer far.Close()
	tmp := t.TempDir()
	allowCores(t)
	d := start(t, fmt.Sprintf(secrets, strings.TrimPrefix(far.URL, "http://")), "TMPDIR="+tmp, "ALICE_KEY=canary-of-alice", "ENV_TOKEN=canary-of-env", "URL_TOKEN=canary-of-url", "REMOTE_KEY=canary-of-remote",
		"DEATH_TOKEN=canary-of-death", "NAMED_TOKEN=canary-of-name", "MOC_RUNTIMES__OLLAMA__URL=http://me:canary-of-ollama@127.0.0.1:1", "PLACE=canary-of-place", "DOCKER_AUTH=canary-of-docker", "HTTPS_PROXY=http://me:canary-of-proxy@127.0.0.1:1")
	shown := func(when string) {
		t.Helper()
		for where, text := range d.everythingShown() {
			if i := strings.Index(text, "canary-"); i >= 0 {
				t.Errorf("%s: %s shows %q", when, where, text[max(0, i-80):min(len(text), i+30)])
			}
		}
	}
	say := func(model, text string) answer {
		return d.post("/v1/chat/completions", object{"model": model, "max_tokens": 4, "messages": []object{{"role": "user", "content": text}}}, "Authorization", "Bearer canary-of-alice")
	}
	if a := say("tiny", "canary-of-prompt"); a.status != 200 {
		t.Fatal(a)
	}
	for _, text := range []string{"canary-of-prompt", "fail canary-of-prompt"} {
		say("far", text)
	}
	if a := say("far", "x"); !strings.Contains(string(a.body), "canary-of-answer") {
		t.Fatal(a)
	}
	for _, model := range []string{"attached", "nowhere", "dumps"} {
		if a := say(model, "canary-of-prompt"); a.status == 200 || strings.Contains(string(a.body), "canary-") {
			t.Errorf("%s: the caller is told %s", model, a)
		}
	}
	// Callers learn what the engine said, the log doesn't.
	if _, err := d.control(t).Infer(t.Context(), &messages.InferenceRequest{ModelName: "far", Prompt: "fail canary-of-prompt"}); err == nil || !strings.Contains(err.Error(), "can't do") {
		t.Errorf("over gRPC: %v", err)
	}
	if out := d.cli("infer", "far", "fail canary-of-prompt"); !strings.Contains(out.err, "can't do") {
		t.Errorf("over NATS: %s", out)
	}
	if out := d.cli("send", "model/secret", "DeclareModel", `{"spec":{"name":"secret","cmd":"sh --api-key canary-of-spec"}}`); out.code == 0 || !strings.Contains(out.err, "a secret stands") {
		t.Errorf("a declaration with a secret: %s", out)
	}
	a := say("dies", "canary-of-prompt")
	if a.status == 200 || strings.Contains(string(a.body), "canary-") || !strings.Contains(string(a.body), "error: [redacted]") {
		t.Errorf("the caller is told %s", a)
	}
	logs, err := filepath.Glob(filepath.Join(d.state(), "logs", "dies", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	if words, err := os.ReadFile(logs[0]); err != nil || string(words) != "error: canary-of-death canary-of-name .\n" {
		t.Errorf("the worker got another environment: %q %v", words, err)
	}
	shown("while it runs")
	d.kill()
	d.launch()
	d.answers("tiny")
	shown("after a crash")
	_ = d.cmd.Process.Signal(syscall.SIGQUIT) // the runtime writes the stacks of all goroutines
	<-d.exited
	if files := filesOf(t, d.journalDir()); len(files) == 0 {
		t.Error("no file of the journal was read")
	}
	for _, folder := range []string{d.state(), tmp} {
		for path, text := range filesOf(t, folder) {
			if own, _ := filepath.Rel(filepath.Join(d.state(), "logs"), path); !strings.HasPrefix(own, "..") {
				continue
			}
			if i := strings.Index(text, "canary-"); i >= 0 {
				t.Errorf("%s holds %q", path, text[max(0, i-40):min(len(text), i+30)])
			}
		}
	}
	if strings.Contains(d.log.String(), "canary-") {
		t.Error("the daemon's output holds a secret")
	}
}

// secrets is a configuration whose secrets begin with canary-.
const secrets = `
keys: [{name: alice, key: "${ALICE_KEY}"}]
log: {level: debug}
models:
  declare:
    tiny: {path: TINY, env: ["HIDDEN=${ENV_TOKEN}", "SECRET_KEY=canary-in-file", "NAMED_TOKEN"]}
    far: {url: "http://me:${URL_TOKEN}@%s/v1", api_key_env: REMOTE_KEY}
    attached: {runtime: ollama}
    nowhere: {cmd: "/nowhere/${PLACE} ${PORT} -H x-api-key:canary-in-header", env: ["DB_PW=canary-in-pw"], vram_mb: 1}
    dumps: {cmd: "sh -c 'env | grep canary; exit 3' ${PORT}", vram_mb: 1}
    dies: {cmd: "sh -c 'echo error: ${DEATH_TOKEN} $NAMED_TOKEN $ALICE_KEY.; exit 3' ${PORT}", env: [NAMED_TOKEN], vram_mb: 1}
load: {retries: 0}
`

// quoting is an engine that repeats a request that fails, as some do.
func quoting(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, `{"data":[{"id":"far"}]}`)
		return
	}
	if body, _ := io.ReadAll(r.Body); bytes.Contains(body, []byte("fail")) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, `{"error":{"message":%q}}`, "can't do "+string(body)) // as engines do that quote the request
		return
	}
	_, _ = io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"canary-of-answer"}}]}`)
}

// allowCores lets processes that are started from now on write core files, for as long as the test runs.
func allowCores(t *testing.T) {
	before := syscall.Rlimit{}
	if err := errors.Join(syscall.Getrlimit(syscall.RLIMIT_CORE, &before), syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: before.Max, Max: before.Max})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &before) })
}

// everythingShown is what pages, commands and the system show of the daemon, by its place.
func (d *daemon) everythingShown() map[string]string {
	d.t.Helper()
	out := map[string]string{"the log": d.log.String()}
	for _, path := range []string{"/status", "/running", "/health?verbose", "/metrics", "/v1/models", "/why/tiny", "/why/far", "/why/dies", "/why/attached", "/why/nowhere", "/why/dumps", "/api/journal", "/api/config", "/api/queue"} {
		out[path] = d.get(path).String() + string(d.get(path).body)
	}
	for _, args := range []string{"config check --show", "config show", "status --json", "models --json", "ps --json", "journal --json", "why dies", "why far", "why tiny", "state model/dies", "state model/far", "state model/tiny"} {
		out[args] = d.cli(strings.Fields(args)...).String()
	}
	for _, pid := range append(d.pidsOf("tiny"), d.cmd.Process.Pid) {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		out[fmt.Sprintf("the arguments of process %d", pid)] = string(raw)
		if limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid)); err == nil && !regexp.MustCompile(`Max core file size +0 `).Match(limits) {
			d.t.Errorf("process %d may write a core file, which holds keys and prompts: %s", pid, limits)
		}
	}
	return out
}

// filesOf reads every file below a folder.
func filesOf(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // it went away meanwhile
		}
		raw, err := os.ReadFile(path)
		out[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
