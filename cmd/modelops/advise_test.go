package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"modelops/bridges/config"
)

func TestAdvise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	text := `
models:
  declare:
    known: {cmd: "engine --port ${PORT}", vram_mb: 10}
    unknown: {cmd: "engine --port ${PORT}"}
    telling: {cmd: "engine --port ${PORT} --api-key ${PATH}", vram_mb: 10}
    concealed: {cmd: "llama-server --port ${PORT} --api-key ${PATH}", vram_mb: 10}
    remote: {url: "http://127.0.0.1:1"}
    torn: {cmd: "llama-server --port ${PORT} -dev CUDA1", vram_mb: 10, env: [CUDA_VISIBLE_DEVICES=0]}
    embed: {cmd: "llama-server --port ${PORT} --embeddings -c 8192", vram_mb: 10}
    long: {cmd: "llama-server --port ${PORT} --embeddings -c 8192 -b 8192 -ub 8192", vram_mb: 10}
    slots: {cmd: "llama-server --port ${PORT} --embeddings -c 8192 -np 16", vram_mb: 10}
    cut: {cmd: "llama-server --port ${PORT} --rerank -c 8192 -ub 8192", vram_mb: 10}
    chat: {cmd: "llama-server --port ${PORT} -c 8192", vram_mb: 10}
    two: {path: x.gguf, runtime: embedded, shards: 2}
    wide: {cmd: "llama-server --port ${PORT}", vram_mb: 10, shards: 2, env: [CUDA_VISIBLE_DEVICES=0]}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, []string{"PATH=/bin"}, "h")
	if err != nil {
		t.Fatal(err)
	}
	wrong, doubtful := advise(t.Context(), cfg)
	if len(wrong) != 3 || wrong[0].Path != "models.declare.torn" || wrong[1].Path != "models.declare.two.shards" || wrong[2].Path != "models.declare.wide" || !strings.Contains(wrong.Error(), "contradicts itself about devices") {
		t.Errorf("wrong: %v", wrong)
	}
	if len(doubtful) != 4 || !strings.HasPrefix(doubtful[0], "models.declare.cut: an input of an embedding or a ranking has at most 2048 tokens, which is the engine's batch, and the context has 8192") ||
		!strings.HasPrefix(doubtful[1], "models.declare.embed: an input of an embedding or a ranking has at most 512 tokens") ||
		!strings.HasPrefix(doubtful[2], "models.declare.telling: it gives a secret as an argument") ||
		!strings.HasPrefix(doubtful[3], "models.declare.unknown: its memory is unknown") || !strings.Contains(doubtful[3], "1000 MiB") {
		t.Errorf("doubtful: %q", doubtful)
	}
}

// What config check warns of is logged when a configuration begins to rule: each sentence once, and again when it comes back.
func TestWarningsAreLoggedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	read := func(models string) *config.Config {
		if err := os.WriteFile(path, []byte("models: {declare: {"+models+"}}"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path, nil, "h")
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	unknown := func(name string) string { return name + `: {cmd: "engine --port ${PORT}"}` }
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &daemon{cfg: read(unknown("a")), log: slog.New(slog.NewTextHandler(&out, nil)), advised: make(chan *config.Config, 1)}
		ctx, end := context.WithCancel(t.Context())
		go d.advising(ctx)
		for i, c := range []struct{ models, want string }{
			{unknown("a"), "a"}, {unknown("a"), ""}, {unknown("a") + "," + unknown("b"), "b"}, {"", ""}, {unknown("a"), "a"},
			{`c: {path: x.gguf, runtime: embedded, shards: 2}`, "c.shards: 2, and embedded runs on one device"},
		} {
			out.Reset()
			d.advises(read(c.models))
			synctest.Wait()
			if got := strings.Count(out.String(), "models.declare."); got != min(len(c.want), 1) || !strings.Contains(out.String(), c.want) {
				t.Errorf("apply %d: %s, want a line about %q", i, &out, c.want)
			}
		}
		end()
		synctest.Wait()
	})
}
