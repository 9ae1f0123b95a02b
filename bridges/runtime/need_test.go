package runtime

import (
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

const tinySize = 4050432

// sized makes files that take no room on disk.
func sized(t *testing.T, path string, n int) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(n)); err != nil {
		t.Fatal(err)
	}
	return path
}

// safetensors writes a file whose header names weights of n bytes, and has so many.
func safetensors(t *testing.T, path string, named, n int) {
	t.Helper()
	header := `{"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[1],"data_offsets":[0,` + itoa(named) + `]}}`
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(b)+n)); err != nil {
		t.Fatal(err)
	}
}

func TestNeed(t *testing.T) {
	r := New(Options{Slots: 2})
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	safetensors(t, filepath.Join(folder, "a.safetensors"), 600<<20, 600<<20)
	safetensors(t, filepath.Join(folder, "b.safetensors"), 600<<20, 600<<20)
	sized(t, filepath.Join(folder, "pytorch_model.bin"), 900<<20)
	st, _ := os.Stat(filepath.Join(folder, "a.safetensors"))
	weights := 2 * uint64(st.Size())
	sized(t, filepath.Join(dir, "others", "a.bin"), 600<<20)
	sized(t, filepath.Join(dir, "others", "b.bin"), 600<<20)
	tiny := modelFile(t)
	served := filepath.Join(dir, "served")
	safetensors(t, filepath.Join(served, "a.safetensors"), 1000, 1000)
	if err := os.WriteFile(filepath.Join(served, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	st, _ = os.Stat(filepath.Join(served, "a.safetensors"))
	servedBytes := uint64(st.Size())
	tests := []struct {
		name string
		spec *messages.ModelSpec
		want Estimate
	}{
		{"declared", &messages.ModelSpec{Runtime: "embedded", Path: tiny, VramBytes: 77}, Estimate{Bytes: 77, From: Declared}},
		{"remote", &messages.ModelSpec{Runtime: "openai", Url: "https://example.org", VramBytes: 77}, Estimate{From: Declared}},
		{"command without a file", &messages.ModelSpec{Runtime: "command", Cmd: "x"}, Estimate{From: Unknown}},
		{"command with a file of a container", &messages.ModelSpec{Runtime: "command", Cmd: "docker run -m 8g llama -m /models/no.gguf"}, Estimate{From: Unknown}},
		{"arguments without a file", &messages.ModelSpec{Runtime: "llama.cpp", Args: []string{"-hf", "some/model"}}, Estimate{From: Unknown}},
		{"command with a folder", &messages.ModelSpec{Runtime: "command", Cmd: "vllm serve " + served}, Estimate{Bytes: 1000 << 20, From: FromSize, Weights: servedBytes}},
		{"command with another file", &messages.ModelSpec{Runtime: "command", Cmd: "sh -c 'exec whisper-server -m " + filepath.Join(dir, "others", "a.bin") + "'"},
			Estimate{Bytes: 1000 << 20, From: FromSize, Weights: 600 << 20}},
		{"declared command", &messages.ModelSpec{Runtime: "command", Cmd: "x", VramBytes: 9}, Estimate{Bytes: 9, From: Declared}},
		{"small other file", &messages.ModelSpec{Runtime: "command", Path: sized(t, filepath.Join(dir, "x.bin"), 10)},
			Estimate{Bytes: 1000 << 20, From: FromSize, Weights: 10}},
		{"folder of others", &messages.ModelSpec{Runtime: "command", Path: filepath.Join(dir, "others")},
			Estimate{Bytes: 1800 << 20, From: FromSize, Weights: 1200 << 20}},
		{"folder of safetensors", &messages.ModelSpec{Runtime: "transformers", Path: folder},
			Estimate{Bytes: weights + weights/5, From: FromSize, Weights: weights}},
		{"vllm with a known cache", &messages.ModelSpec{Runtime: "vllm", Path: folder, Args: []string{"--kv-cache-memory-bytes=5000"}},
			Estimate{Bytes: weights + weights/5 + 5000, From: FromSize, Weights: weights, KV: 5000}},
	}
	for _, c := range tests {
		if got, err := r.Estimate(t.Context(), c.spec); err != nil || got != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, err, c.want)
		}
		if need, err := r.Need(t.Context(), c.spec); err != nil || need.Bytes != c.want.Bytes && c.want.From != Unknown {
			t.Errorf("%s: %v %v", c.name, need, err)
		}
	}
}

// What the cache takes follows from context, slots and number format: 4 layers, 2 key-value heads of 32, keys and values.
// llama.cpp rounds the context of all slots up to 256.
func TestEstimateReadsTheFile(t *testing.T) {
	r := New(Options{Slots: 2})
	tiny := modelFile(t)
	const token = 4 * 2 * 64
	mmproj := sized(t, filepath.Join(t.TempDir(), "mmproj.gguf"), 1<<20)
	tests := []struct {
		name   string
		kind   string
		args   string
		spec   *messages.ModelSpec
		kv     uint64
		weight uint64
	}{
		{"embedded, 32 bits", "embedded", "", &messages.ModelSpec{}, token * 256 * 2 * 4, tinySize},
		{"embedded reads no arguments", "embedded", "-c 64 -ctk q8_0", &messages.ModelSpec{}, token * 256 * 2 * 4, tinySize},
		{"llama.cpp, 16 bits", "llama.cpp", "", &messages.ModelSpec{}, token * 256 * 2 * 2, tinySize},
		{"declared context", "llama.cpp", "", &messages.ModelSpec{ContextLength: 64}, token * 256 * 2, tinySize},
		{"more than it was trained for", "llama.cpp", "", &messages.ModelSpec{ContextLength: 1024}, token * 1024 * 2 * 2, tinySize},
		{"the embedded engine trims", "embedded", "", &messages.ModelSpec{ContextLength: 1024}, token * 256 * 2 * 4, tinySize},
		{"one slot", "llama.cpp", "", &messages.ModelSpec{Parallel: 1}, token * 256 * 2, tinySize},
		{"slots by argument", "llama.cpp", "--parallel 4", &messages.ModelSpec{}, token * 256 * 4 * 2, tinySize},
		{"context by argument", "llama.cpp", "-c=128", &messages.ModelSpec{}, token * 256 * 2, tinySize},
		{"the last argument counts", "llama.cpp", "-c 8 --ctx-size 128", &messages.ModelSpec{}, token * 256 * 2, tinySize},
		{"8 bits", "llama.cpp", "--cache-type-k q8_0 -ctv q8_0", &messages.ModelSpec{}, token * 256 * 2 * 34 / 32, tinySize},
		{"projector", "llama.cpp", "--mmproj " + mmproj, &messages.ModelSpec{}, token * 256 * 2 * 2, tinySize + 1<<20},
		{"command", "command", "", &messages.ModelSpec{Cmd: "llama-server -c 128 --port ${PORT}"}, token * 256 * 2, tinySize},
		{"all that it was trained for, of all slots", "llama.cpp", "-c 0", &messages.ModelSpec{}, token * 256 * 2, tinySize},
		{"the same in other words", "llama.cpp", "--ctx-size=-1", &messages.ModelSpec{}, token * 256 * 2, tinySize},
		{"the engine's own slots", "llama.cpp", "-np -1", &messages.ModelSpec{}, token * 256 * 4 * 2, tinySize},
		{"the engine's own layers", "llama.cpp", "-ngl -1 -fa auto", &messages.ModelSpec{}, token * 256 * 2 * 2, tinySize},
		{"by variables", "llama.cpp", "", &messages.ModelSpec{Env: []string{"LLAMA_ARG_CTX_SIZE=128"}}, token * 256 * 2, tinySize},
		{"a shell's command", "command", "", &messages.ModelSpec{Cmd: `bash -c "exec llama-server -c 128 --port ${PORT}"`}, token * 256 * 2, tinySize},
		{"split by argument", "llama.cpp", "-ts 3,1", &messages.ModelSpec{}, token * 256 * 2 * 2, tinySize},
		{"split over shards", "llama.cpp", "", &messages.ModelSpec{Shards: 2}, token * 256 * 2 * 2, tinySize},
	}
	for _, c := range tests {
		spec := c.spec
		spec.Runtime, spec.Path, spec.Args = c.kind, tiny, strings.Fields(c.args)
		got, err := r.Estimate(t.Context(), spec)
		if err != nil || got.From != Estimated || got.KV != c.kv || got.Weights != c.weight {
			t.Errorf("%s: %+v %v, want kv %d, weights %d", c.name, got, err, c.kv, c.weight)
		}
		if got.Compute == 0 || got.Compute > 64<<20 || got.Bytes < got.Weights+got.KV+got.Compute {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestNeedRefuses(t *testing.T) {
	r := New(Options{OllamaURL: "http://127.0.0.1:1"})
	dir := t.TempDir()
	empty := sized(t, filepath.Join(dir, "empty.gguf"), 0)
	cut := filepath.Join(dir, "cut")
	safetensors(t, filepath.Join(cut, "m.safetensors"), 100, 99)
	tests := map[string]*messages.ModelSpec{
		"Model file not found: /no/such.gguf": {Name: "m", Runtime: "embedded", Path: "/no/such.gguf"},
		"Model file not found: ":              {Name: "m", Runtime: "llama.cpp"},
		"Model file not found: /no/mmproj":    {Name: "m", Runtime: "llama.cpp", Path: modelFile(t), Args: []string{"--mmproj", "/no/mmproj"}},
		"Model file is empty":                 {Name: "m", Runtime: "embedded", Path: empty},
		"Model file is malformed":             {Name: "m", Runtime: "llama.cpp", Path: sized(t, filepath.Join(dir, "zeros.gguf"), 1<<20)},
		"it ends before the weights \"w\"":    {Name: "m", Runtime: "vllm", Path: cut},
		`unknown runtime "tensorrt"`:          {Name: "m", Runtime: "tensorrt"},
		"ollama does not answer":              {Name: "m", Runtime: "ollama"},
	}
	for want, spec := range tests {
		_, err := r.Need(t.Context(), spec)
		e := messages.AsError(err)
		if e == nil || e.Code != messages.ModelLoadError || e.Hint == "" || e.Subject != "model/m" || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestNeedOfOllama(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/api/tags" {
			_, _ = w.Write([]byte(`{"models":[{"name":"gemma3:latest","model":"gemma3:latest","size":1000}]}`))
		}
	}))
	defer server.Close()
	r := New(Options{OllamaURL: server.URL})
	got, err := r.Estimate(t.Context(), &messages.ModelSpec{Name: "x", Runtime: "ollama", UseModelName: "gemma3"})
	if err != nil || got != (Estimate{Bytes: 1200, From: FromSize, Weights: 1000}) {
		t.Error(got, err)
	}
	_, err = r.Estimate(t.Context(), &messages.ModelSpec{Name: "x", Runtime: "ollama"})
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), `no model "x"`) {
		t.Error(err)
	}
}

// A command's file is estimated as a declared one is.
func TestEstimateOfACommandsFile(t *testing.T) {
	tiny := modelFile(t)
	r := New(Options{Slots: 2, Env: []string{"MODELS=" + filepath.Dir(tiny)}, UnknownBytes: 77})
	want, err := r.Estimate(t.Context(), &messages.ModelSpec{Runtime: "command", Cmd: "llama-server -c 128", Path: tiny})
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []string{"llama-server -c 128 -m " + tiny, "llama-server --model=" + tiny + " --ctx-size 128", "llama-server -c 128 --model ${env.MODELS}/tiny.gguf", "my-engine " + tiny + " -c 128"} {
		if got, err := r.Estimate(t.Context(), &messages.ModelSpec{Runtime: "command", Cmd: cmd}); err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", cmd, got, err, want)
		}
	}
	need, err := r.Need(t.Context(), &messages.ModelSpec{Runtime: "command", Cmd: "my-engine"})
	if err != nil || need.Bytes != 77 || need.Source != messages.Need_assumed {
		t.Errorf("unknown: %v %v", need, err)
	}
}
