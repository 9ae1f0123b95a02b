package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/bridges/config"
)

func TestAdvise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	text := `
models:
  declare:
    known: {cmd: "engine --port ${PORT}", vram_mb: 10}
    unknown: {cmd: "engine --port ${PORT}"}
    remote: {url: "http://127.0.0.1:1"}
    torn: {cmd: "llama-server --port ${PORT} -dev CUDA1", vram_mb: 10, env: [CUDA_VISIBLE_DEVICES=0]}
    wide: {cmd: "llama-server --port ${PORT}", vram_mb: 10, shards: 2, env: [CUDA_VISIBLE_DEVICES=0]}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, nil, "h")
	if err != nil {
		t.Fatal(err)
	}
	wrong, doubtful := advise(t.Context(), cfg)
	if len(wrong) != 2 || wrong[0].Path != "models.declare.torn" || wrong[1].Path != "models.declare.wide" || !strings.Contains(wrong.Error(), "contradicts itself about devices") {
		t.Errorf("wrong: %v", wrong)
	}
	if len(doubtful) != 1 || !strings.HasPrefix(doubtful[0], "models.declare.unknown: its memory is unknown") || !strings.Contains(doubtful[0], "1000 MiB") {
		t.Errorf("doubtful: %q", doubtful)
	}
}
