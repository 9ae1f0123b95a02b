package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// programs makes files that can be executed, and a Runtime that looks for its engines there.
func programs(t *testing.T, names ...string) *Runtime {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	return New(Options{LlamaServer: at("llama-server"), VLLM: at("vllm"), Transformers: at("transformers"), WhisperServer: at("whisper-server")})
}

func TestChoose(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	safetensors(t, filepath.Join(folder, "model.safetensors"), 1, 1)
	if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(dir, "bare")
	safetensors(t, filepath.Join(bare, "model.safetensors"), 1, 1)
	whisper, other := filepath.Join(dir, "ggml-base.bin"), filepath.Join(dir, "pytorch_model.bin")
	for _, p := range []string{whisper, other} {
		if err := os.WriteFile(p, []byte("lmgg\x01\x00\x00\x00"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	large := sized(t, filepath.Join(dir, "large.gguf"), 65<<20)
	all := []string{"llama-server", "vllm", "transformers", "whisper-server"}
	tests := []struct {
		name      string
		installed []string
		spec      *messages.ModelSpec
		want      string // a runtime, or words of the refusal
	}{
		{"declared", nil, &messages.ModelSpec{Runtime: "openai", Path: large}, "openai"},
		{"cmd", nil, &messages.ModelSpec{Cmd: "x", Path: large}, "command"},
		{"url", nil, &messages.ModelSpec{Url: "http://x"}, "openai"},
		{"gguf", all, &messages.ModelSpec{Path: large}, "llama.cpp"},
		{"small gguf", all, &messages.ModelSpec{Path: modelFile(t)}, "llama.cpp"},
		{"small gguf alone", nil, &messages.ModelSpec{Path: modelFile(t)}, "embedded"},
		{"large gguf alone", nil, &messages.ModelSpec{Path: large}, "llama-server is not installed; embedded: the file has 65 MiB"},
		{"folder", all, &messages.ModelSpec{Path: folder}, "vllm"},
		{"folder without vllm", []string{"transformers"}, &messages.ModelSpec{Path: folder}, "transformers"},
		{"folder alone", nil, &messages.ModelSpec{Path: folder}, "transformers is not installed"},
		{"folder without config", all, &messages.ModelSpec{Path: bare}, "no runtime is known"},
		{"whisper", all, &messages.ModelSpec{Path: whisper}, "whisper.cpp"},
		{"whisper alone", nil, &messages.ModelSpec{Path: whisper}, "whisper-server is not installed"},
		{"another .bin", all, &messages.ModelSpec{Path: other}, "no runtime is known"},
		{"nothing there", all, &messages.ModelSpec{Path: filepath.Join(dir, "no.bin")}, "Model file not found"},
	}
	for _, c := range tests {
		c.spec.Name = "m"
		got, err := programs(t, c.installed...).Choose(c.spec)
		if e := messages.AsError(err); err != nil && (e.Code != messages.ModelLoadError || e.Hint == "" || !strings.Contains(e.Message, c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestFlags(t *testing.T) {
	f := flagsOf(&messages.ModelSpec{Cmd: "run -c 1 --x='a b'", Args: []string{"--ctx-size=2", "--on", "-c"}})
	if v, ok := f.value("-c", "--ctx-size"); !ok || v != "2" {
		t.Error(v, ok)
	}
	if v, ok := f.value("--x"); !ok || v != "a b" {
		t.Error(v, ok)
	}
	if n, ok := f.number("--x"); ok {
		t.Error(n)
	}
	if !f.has("--on") || f.has("--off") {
		t.Error(f)
	}
	if _, ok := f.value("--none"); ok {
		t.Error("a flag that isn't there has a value")
	}
}
