package runtime

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"modelops/messages"
)

func itoa(n int) string { return strconv.Itoa(n) }

// mutated writes a damaged copy of the tiny model: cut off, bytes changed, bits flipped, or lengths made huge.
func mutated(t *testing.T, whole []byte, seed uint64) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	head := bytes.Index(whole, []byte("blk.0")) + 4096
	b := bytes.Clone(whole)
	switch seed % 4 {
	case 0:
		b = b[:1+r.IntN(head)]
	case 1:
		for range 1 + r.IntN(4) {
			b[r.IntN(400)] = byte(r.IntN(256))
		}
	case 2:
		for range 1 + r.IntN(8) {
			b[r.IntN(head)] ^= 1 << r.IntN(8)
		}
	case 3:
		copy(b[8+r.IntN(head-16):], bytes.Repeat([]byte{0xff}, 8))
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// S26: a malformed file is refused as such or estimated within reason; it never takes us along.
func TestS26MalformedFiles(t *testing.T) {
	whole, err := os.ReadFile(modelFile(t))
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{})
	refused, guessed := 0, 0
	for seed := range uint64(120) {
		spec := &messages.ModelSpec{Name: "m", Runtime: "llama.cpp", Path: mutated(t, whole, seed)}
		e, err := r.Estimate(t.Context(), spec)
		switch {
		case err != nil && (messages.CodeOf(err) != messages.ModelLoadError || !errors.Is(err, errMalformed) || messages.AsError(err).Hint == ""):
			t.Errorf("seed %d: %v", seed, err)
		case err != nil:
			refused++
		case seed%4 == 0:
			t.Errorf("seed %d: a file that was cut off is estimated: %+v", seed, e)
		case e.Bytes < tinySize/2 || e.Bytes > 4*tinySize+2*messages.GiB:
			t.Errorf("seed %d: %+v", seed, e)
		case e.From == FromSize:
			guessed++
		}
	}
	t.Log(refused, "refused,", guessed, "guessed by size")
	if refused < 40 {
		t.Errorf("only %d of 120 were refused", refused)
	}
}

func TestFileCutInItsWeights(t *testing.T) {
	whole, err := os.ReadFile(modelFile(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = New(Options{}).Need(t.Context(), &messages.ModelSpec{Name: "m", Runtime: "embedded", Path: path})
	if !errors.Is(err, errMalformed) {
		t.Error(err)
	}
}

func FuzzGGUF(f *testing.F) {
	whole, err := os.ReadFile("../../testdata/model/tiny.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:2000])
	f.Add(whole[:60000])
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	path := filepath.Join(f.TempDir(), "m.gguf")
	r := New(Options{})
	spec := &messages.ModelSpec{Name: "m", Runtime: "llama.cpp", Path: path}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		e, err := r.Estimate(t.Context(), spec)
		if err == nil && e.Bytes == 0 {
			t.Error("a file that needs nothing")
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Add([]byte("\x24\x00\x00\x00\x00\x00\x00\x00{\"w\":{\"data_offsets\":[0,1844674407]}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := checkTensors(bytes.NewReader(b), uint64(len(b)))
		if err == nil && len(b) < 10 {
			t.Errorf("%d bytes pass", len(b))
		}
	})
}
