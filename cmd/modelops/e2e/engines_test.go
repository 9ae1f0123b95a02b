//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// golden is what the real engine said.
type golden struct {
	Chat []struct {
		User, Assistant string
		FinishReason    string `json:"finish_reason"`
		Usage           struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
		}
	}
	Embeddings []struct {
		Text   string
		Vector []float64
	}
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "testdata", "model", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Chat) == 0 || len(g.Embeddings) == 0 {
		t.Fatal("golden.json is empty")
	}
	return g
}

// TestEngines: whatever runs the model, its answers are the real engine's, token for token.
func TestEngines(t *testing.T) {
	engine := llamaServer(t)
	far := start(t, "models:\n  declare:\n    tiny: {runtime: embedded, path: TINY}\n")
	d := start(t, fmt.Sprintf(`
models:
  declare:
    embedded: {runtime: embedded, path: TINY}
    llama: {runtime: llama.cpp, path: TINY, args: [--embeddings, --pooling, mean], parallel: 4}
    command:
      cmd: |
        %s --model TINY --host 127.0.0.1 --port ${PORT}
        -np 4 -t 1 --alias ${MODEL_ID}
      aliases: [by-another-name]
    remote: {runtime: openai, url: "%s/v1", useModelName: tiny}
    remote-of-remote: {runtime: openai, url: "%s", useModelName: tiny}
`, engine, far.at.HTTP, far.at.HTTP), "LLAMA_SERVER="+engine)
	g := readGolden(t)
	for _, model := range []string{"embedded", "llama", "command", "by-another-name", "remote", "remote-of-remote"} {
		t.Run(model, func(t *testing.T) {
			d := d.in(t)
			for _, c := range g.Chat {
				a := d.post("/v1/chat/completions", question(model, c.User))
				var got struct {
					Choices []struct {
						FinishReason string `json:"finish_reason"`
					}
					Usage struct {
						Prompt     int `json:"prompt_tokens"`
						Completion int `json:"completion_tokens"`
					}
				}
				if err := json.Unmarshal(a.body, &got); err != nil || len(got.Choices) != 1 {
					t.Fatalf("%q: %s", c.User, a)
				}
				if said(a) != c.Assistant || got.Choices[0].FinishReason != c.FinishReason || got.Usage.Prompt != c.Usage.Prompt || got.Usage.Completion != c.Usage.Completion {
					t.Errorf("%q: %s", c.User, a)
				}
			}
		})
	}
	for _, model := range []string{"embedded", "llama", "remote"} {
		t.Run(model+" embeds", func(t *testing.T) {
			d := d.in(t)
			for _, e := range g.Embeddings {
				a := d.post("/v1/embeddings", object{"model": model, "input": e.Text})
				var got struct {
					Data []struct{ Embedding []float64 }
				}
				if err := json.Unmarshal(a.body, &got); err != nil || len(got.Data) != 1 {
					t.Fatalf("%s", a)
				}
				if c := cosine(got.Data[0].Embedding, e.Vector); c < 0.999 {
					t.Errorf("%q: cosine %v", e.Text, c)
				}
			}
		})
	}
	// An attached server holds no memory here; each local engine has one process.
	for model, processes := range map[string]int{"embedded": 1, "llama": 1, "command": 1, "remote": 0} {
		if got := len(d.pidsOf(model)); got != processes {
			t.Errorf("%s has %d processes", model, got)
		}
	}
	for _, model := range []string{"llama", "command"} {
		d.unload(model)
		if pids := d.pidsOf(model); len(pids) != 0 {
			t.Errorf("%s is unloaded, its processes are %v", model, pids)
		}
	}
}

func cosine(a, b []float64) float64 {
	if len(a) != len(b) {
		return 0
	}
	var dot, aa, bb float64
	for i := range a {
		dot, aa, bb = dot+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return dot / math.Sqrt(aa*bb)
}

// TestRealEngineKilled: adoption and reload with the real llama-server.
func TestRealEngineKilled(t *testing.T) {
	engine := llamaServer(t)
	d := start(t, `
models:
  preload: [{name: llama}]
  declare:
    llama: {runtime: llama.cpp, path: TINY, parallel: 2, args: [-t, "1"]}
`, "LLAMA_SERVER="+engine)
	v := d.awaitPhase("llama", "ready")
	d.answers("llama")
	d.kill()
	d.launch()
	d.answers("llama")
	if now := d.model("llama").Worker; now.Pid != v.Worker.Pid {
		t.Errorf("worker %d, before %d", now.Pid, v.Worker.Pid)
	}
	d.killPid(int(v.Worker.Pid))
	d.until(waitLimit, "its end is seen", func() bool { return d.model("llama").Attempt > v.Attempt })
	d.answers("llama")
}

// TestS26BrokenModelFile: a file that is no model is contained; the daemon serves on.
func TestS26BrokenModelFile(t *testing.T) {
	d := prepare(t, base+`
load: {retries: 1}
models:
  declare:
    broken: {runtime: embedded, path: broken.gguf}
    cut: {runtime: embedded, path: cut.gguf}
    missing: {runtime: embedded, path: missing.gguf}
    tiny: {runtime: embedded, path: TINY}
`)
	whole, err := os.ReadFile(tiny())
	if err != nil {
		t.Fatal(err)
	}
	d.write("broken.gguf", "GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x7f")
	d.write("cut.gguf", string(whole[:len(whole)/2]))
	d.launch()
	for _, model := range []string{"broken", "cut", "missing"} {
		a := d.post("/v1/chat/completions", question(model, france))
		if a.status != 503 || a.code() != "MODEL_LOAD_ERROR" {
			t.Errorf("%s: %s", model, a)
		}
		d.awaitPhase(model, "failed") // what is shown follows the answer
	}
	d.answers("tiny")
	if got := len(d.leases()); got != 1 {
		t.Errorf("%d leases: %v", got, d.leases())
	}
}
