package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"modelops/messages"
)

// follows runs a Files over one model's file until the test ends, and waits for what it says of it.
func follows(t *testing.T, dir string, spec *messages.ModelSpec, wanted bool) (f *Files, until func(what string, ok func(*messages.ModelFile) bool)) {
	t.Helper()
	f = &Files{Runtime: New(Options{LogDir: t.TempDir()}), DataDir: dir, Specs: func() []*messages.ModelSpec { return []*messages.ModelSpec{spec} },
		Wanted: func(string, uint64) bool { return wanted }, Log: slog.New(slog.DiscardHandler)}
	f.Saw(spec)
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	t.Cleanup(func() { end(); running.Wait() })
	return f, func(what string, ok func(*messages.ModelFile) bool) {
		t.Helper()
		limit, tick := time.After(30*time.Second), time.NewTicker(5*time.Millisecond)
		defer tick.Stop()
		for {
			if own := f.Own(); len(own) == 1 && ok(own[0]) {
				return
			}
			select {
			case <-tick.C:
			case <-limit:
				t.Fatalf("%s: %v", what, f.Own())
			}
		}
	}
}

func sumOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// The size is known with the declaration, the hash when it is wanted and read. A file that changes is read again, and a next start reads none twice.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "m.gguf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	spec := &messages.ModelSpec{Name: "m", Runtime: "llama.cpp", Path: at}
	f, until := follows(t, dir, spec, true)
	if own := f.Own(); len(own) != 1 || own[0].Bytes != 3 {
		t.Errorf("at once: %v", own)
	}
	until("its hash", func(x *messages.ModelFile) bool { return x.Sha256 == sumOf("one") })
	write("twice")
	until("the hash of what it is now", func(x *messages.ModelFile) bool { return x.Bytes == 5 && x.Sha256 == sumOf("twice") })
	_, until = follows(t, dir, spec, false) // nobody wants it: what it knows, it knows from the first
	until("the hash that was kept", func(x *messages.ModelFile) bool { return x.Sha256 == sumOf("twice") })
}

// All parts of a split file are one file, and so are the weights in a folder, whatever else lies there. What isn't here is no file.
func TestFilesOfSeveralParts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"big-00001-of-00002.gguf": "a", "big-00002-of-00002.gguf": "bc", "folder/x.safetensors": "xyz", "folder/README.md": "words"} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, until := follows(t, t.TempDir(), &messages.ModelSpec{Name: "big", Runtime: "llama.cpp", Path: filepath.Join(dir, "big-00001-of-00002.gguf")}, true)
	until("all parts", func(x *messages.ModelFile) bool { return x.Bytes == 3 && x.Sha256 == sumOf("a", "bc") })
	_, until = follows(t, t.TempDir(), &messages.ModelSpec{Name: "folder", Runtime: "vllm", Path: filepath.Join(dir, "folder")}, true)
	until("the weights", func(x *messages.ModelFile) bool { return x.Bytes == 3 && x.Sha256 == sumOf("xyz") })
	for _, spec := range []*messages.ModelSpec{{Name: "gone", Runtime: "llama.cpp", Path: filepath.Join(dir, "gone.gguf")}, {Name: "url", Runtime: "openai", Url: "http://127.0.0.1:1"}} {
		f, _ := follows(t, t.TempDir(), spec, true)
		if own := f.Own(); len(own) != 0 {
			t.Errorf("%v", own)
		}
	}
}
