package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write testdata/output anew")

// noon is the time of every golden output.
var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// replying answers requests with the replies of testdata/replies.json, as a daemon writes them on the wire. A reply is found by the
// subject, and for `send` by the command too.
func replying(t *testing.T, change map[string]string) (c *cli, out, errs *bytes.Buffer) {
	t.Helper()
	b, err := os.ReadFile("testdata/replies.json")
	if err != nil {
		t.Fatal(err)
	}
	replies := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &replies); err != nil {
		t.Fatal(err)
	}
	for subject, body := range change {
		replies[subject] = json.RawMessage(body)
	}
	c, out, errs = openDoor(t, nil)
	nc, err := nats.Connect(c.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe(apiRoot+">", func(m *nats.Msg) { reply(m, replies) }); err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return noon }
	return c, out, errs
}

func reply(m *nats.Msg, replies map[string]json.RawMessage) {
	subject := strings.TrimPrefix(m.Subject, apiRoot)
	if subject == "send" {
		var sent struct{ Command string }
		_ = json.Unmarshal(m.Data, &sent)
		subject += " " + sent.Command
	}
	if replies[subject] == nil { // the last token is a name
		subject = subject[:max(0, strings.LastIndex(subject, "."))]
	}
	_ = m.Respond(replies[subject])
}

// outputs are command lines whose output scripts and people read.
var outputs = map[string]string{
	"ps": "ps", "models": "models", "gpus": "gpus --leases", "status": "status", "health": "health",
	"queue": "queue", "queue-of-one": "queue small", "why": "why tiny", "state": "state model/tiny", "state-view": "state model/tiny --view",
	"load": "load tiny", "unload": "unload tiny", "pin": "pin tiny --for 1h --owner alice", "unpin": "unpin tiny",
	"hints": "hint", "hint": "hint big --for 10m", "defrag": "defrag --for big", "config-apply": "config apply",
	"swaps": "swap", "swap": "swap chat=big", "swap-wait": "swap chat=big --wait", "swap-promote": "swap chat --promote", "swap-rollback": "swap chat --rollback --reason slow",
	"jobs": "jobs", "jobs-show": "jobs show lora-1", "jobs-submit": "jobs submit --recipe lora --model tiny --data /data/chats.jsonl", "jobs-cancel": "jobs cancel lora-1", "jobs-metrics": "jobs metrics lora-1",
	"goals": "goals", "goal": "goals show g", "goal-trials": "goals trials g", "goal-pause": "goals pause g --reason weekend", "lineage": "lineage tiny",
	"drain-wait": "drain pc --wait", "infer": "infer tiny hello", "send": "send model/tiny EnsureModel",
}

// TestOutput compares the output of commands, in words and as JSON, with testdata/output. The JSON is what scripts read: its shape stays.
func TestOutput(t *testing.T) {
	c, out, errs := replying(t, nil)
	for name, line := range outputs {
		t.Run(name, func(t *testing.T) {
			got := &txtar.Archive{Comment: []byte("modelops " + line + "\n")}
			for _, form := range []string{"words", "json"} {
				out.Reset()
				errs.Reset()
				args := strings.Fields(line)
				if form == "json" {
					args = append(args, "--json")
				}
				code := c.run(args...)
				got.Files = append(got.Files, txtar.File{Name: form, Data: bytes.Clone(out.Bytes())})
				if errs.Len() > 0 || code != 0 {
					got.Files = append(got.Files, txtar.File{Name: fmt.Sprintf("%s: exit %d, stderr", form, code), Data: bytes.Clone(errs.Bytes())})
				}
				if form == "json" && !json.Valid(out.Bytes()) {
					t.Errorf("it is not JSON: %s", out)
				}
			}
			compare(t, filepath.Join("testdata/output", name+".txtar"), txtar.Format(got))
		})
	}
	files, _ := filepath.Glob("testdata/output/*.txtar")
	if len(files) != len(outputs) {
		t.Errorf("%d golden files for %d command lines: remove what no command line writes", len(files), len(outputs))
	}
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test ./cmd/modelops/cli -update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the output is\n%s\nnot\n%s", got, want)
	}
}
