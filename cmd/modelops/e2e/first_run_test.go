//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// anyPorts lets several daemons live beside each other, on any configuration.
var anyPorts = []string{"MOC_SERVER__ZMQ_PORT=0", "MOC_SERVER__GRPC_PORT=0", "MOC_SERVER__REST_PORT=0", "MOC_SERVER__NATS_PORT=0"}

// TestFirstRun takes the configuration that comes with the source, adds a model that is slow and narrow, and looks at it with
// OpenAI's own client.
func TestFirstRun(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is missing: make deps installs it")
	}
	sdk := filepath.Join(cache(t), "npm")
	if _, err := os.Stat(filepath.Join(sdk, "node_modules", "openai")); err != nil {
		t.Skip("the OpenAI SDK is missing: make deps installs it")
	}
	d := prepare(t, firstConfig(t), append(anyPorts, "MOC_DATA_DIR=state", "MOC_SERVER__MAX_BODY_MB=1")...)
	d.launch()
	d.awaitPhase("tiny", "ready")
	d.answers("slow") // loads it, so that its queue is all that a request can wait in
	before := d.handles()
	got := execute(t, append(os.Environ(), "BASE="+d.at.HTTP, "SDK_DIR="+sdk), node, filepath.Join(root, "testdata", "e2e", "openai.mjs"))
	checks := 0
	for line := range strings.Lines(got.out) {
		var c struct {
			Name, Detail string
			OK           bool
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		checks++
		t.Run(c.Name, func(t *testing.T) {
			if !c.OK {
				t.Error(c.Detail)
			}
		})
	}
	if got.code != 0 || checks != 15 {
		t.Errorf("%d checks, exit code %d: %s", checks, got.code, got.err)
	}
	d.until(waitLimit, "no request runs or waits", func() bool {
		m := d.model("slow")
		return m.Active == 0 && m.Queued == 0
	})
	d.settlesAt(before)
}

// firstConfig is the repository's cluster.yaml with one more model.
func firstConfig(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(string(raw), "testdata/model/tiny.gguf", tiny())
	const slow = `  declare:
    slow:
      runtime: embedded
      path: TINY
      args: [--token-delay, 40ms]
      resilience: {bulkhead: {max_concurrent: 1, max_queue_size: 1}}
`
	with := strings.Replace(config, "  declare:\n", slow, 1)
	if with == config {
		t.Fatal("cluster.yaml has no models.declare any more")
	}
	return with
}
