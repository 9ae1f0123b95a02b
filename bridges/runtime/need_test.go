package runtime

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

func TestNeed(t *testing.T) {
	r := New(Options{Slots: 2})
	dir := t.TempDir()
	write := func(name string, n int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, int64(n)); err != nil { // takes no room on disk
			t.Fatal(err)
		}
		return path
	}
	tiny := modelFile(t)
	// 4 layers, 2 key-value heads of 32, keys and values, 256 tokens, 2 slots.
	const cache = 4 * 2 * 64 * 256 * 2
	weights := uint64(4050432 + 405043)
	part := write("big-00001-of-00002.gguf", 600<<20)
	write("big-00002-of-00002.gguf", 600<<20)
	tests := []struct {
		name string
		spec *messages.ModelSpec
		want uint64
	}{
		{"declared", &messages.ModelSpec{Runtime: "embedded", Path: tiny, VramBytes: 77}, 77},
		{"remote", &messages.ModelSpec{Runtime: "openai", Url: "https://example.org", VramBytes: 77}, 0},
		{"command without a file", &messages.ModelSpec{Runtime: "command", Cmd: "x"}, 0},
		{"gguf, embedded", &messages.ModelSpec{Runtime: "embedded", Path: tiny}, weights + cache*4},
		{"gguf, llama.cpp", &messages.ModelSpec{Runtime: "llama.cpp", Path: tiny}, weights + cache*2},
		{"gguf, short context", &messages.ModelSpec{Runtime: "llama.cpp", Path: tiny, ContextLength: 64}, weights + cache*2/4},
		{"gguf, one slot", &messages.ModelSpec{Runtime: "llama.cpp", Path: tiny, Parallel: 1}, weights + cache*2/2},
		{"small other file", &messages.ModelSpec{Runtime: "command", Path: write("x.bin", 10)}, 1000 << 20},
		{"split file", &messages.ModelSpec{Runtime: "llama.cpp", Path: part}, 1800 << 20},
		{"split file, shards", &messages.ModelSpec{Runtime: "llama.cpp", Path: part, Shards: 2}, 1000 << 20},
		{"folder", &messages.ModelSpec{Runtime: "command", Path: dir}, 1800<<20 + 15},
	}
	for _, c := range tests {
		if got, err := r.Need(t.Context(), c.spec); err != nil || got != c.want {
			t.Errorf("%s: %d %v, want %d", c.name, got, err, c.want)
		}
	}
}

func TestNeedRefuses(t *testing.T) {
	r := New(Options{})
	empty := filepath.Join(t.TempDir(), "empty.gguf")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]*messages.ModelSpec{
		"Model file not found: /no/such.gguf": {Name: "m", Runtime: "embedded", Path: "/no/such.gguf"},
		"Model file not found: ":              {Name: "m", Runtime: "llama.cpp"},
		"Model file is empty":                 {Name: "m", Runtime: "embedded", Path: empty},
		`unknown runtime "vllm"`:              {Name: "m", Runtime: "vllm"},
	}
	for want, spec := range tests {
		_, err := r.Need(t.Context(), spec)
		e := messages.AsError(err)
		if e == nil || e.Code != messages.ModelLoadError || e.Hint == "" || e.Subject != "model/m" || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzShape(f *testing.F) {
	tiny, err := os.ReadFile("../../testdata/model/tiny.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tiny[:2000])
	f.Add(binary.LittleEndian.AppendUint64([]byte("GGUF\x03\x00\x00\x00"), 1<<60))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseShape(bytes.NewReader(b))
		if err == nil && s.layers == 0 {
			t.Error("a shape without layers")
		}
		s.cacheBytes(0, 4, 2)
	})
}
