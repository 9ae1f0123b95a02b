package train

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modelops/bridges/engine"
)

func opened(t testing.TB, path string) *engine.Weights {
	t.Helper()
	w, err := engine.OpenWeights(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The small real model, written again, is the same file: every entry, every tensor, every byte.
func TestWrittenUnchangedIsTheSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "again.gguf")
	file, err := writeModel(path, opened(t, tinyPath))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(tinyPath)
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Error("it differs", err)
	}
	if sum, _ := hashFile(tinyPath); file.SHA256 != sum || file.Bytes != int64(len(want)) {
		t.Error(file, sum)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Error("left are", left)
	}
}

// What is kept of a file: entries of every kind but the type of the tensors, alignment, tensors that the engine doesn't know.
func TestWhatAFileKeeps(t *testing.T) {
	w := smallWeights(t, chatTemplate)
	foreign := []byte("\x00\x3c\x00\x40") // two values of 16 bits
	w.Tensors = append(w.Tensors, engine.Tensor{Name: "foreign.weight", Dims: []int64{2}, Kind: 1, Raw: foreign})
	path := filepath.Join(t.TempDir(), "small.gguf")
	if _, err := writeModel(path, w); err != nil {
		t.Fatal(err)
	}
	again := opened(t, path)
	if len(again.Entries) != len(w.Entries) || len(again.Tensors) != len(w.Tensors) {
		t.Fatal(len(again.Entries), "entries and", len(again.Tensors), "tensors")
	}
	for i, e := range w.Entries {
		want := e.Raw
		if e.Key == "general.file_type" {
			want = binary.LittleEndian.AppendUint32(slices.Clone(want[:len(want)-4]), kindF32)
		}
		if got := again.Entries[i]; got.Key != e.Key || !bytes.Equal(got.Raw, want) {
			t.Errorf("%s: %q, want %q", e.Key, got.Raw, want)
		}
	}
	for i, p := range w.Tensors {
		if got := again.Tensors[i]; got.Name != p.Name || !slices.Equal(got.Values, p.Values) || !bytes.Equal(got.Raw, p.Raw) {
			t.Error(p.Name, "changed")
		}
	}
	if st, _ := os.Stat(path); st.Size() != layout(w).size() {
		t.Errorf("%d bytes were announced, %d written", layout(w).size(), st.Size())
	}
}

// A file that can't be written whole isn't there at all, and the one that was there before stays.
func TestHalfAFileIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if _, err := replaceFile(path, func(w io.Writer) error { _, err := w.Write([]byte("old")); return err }); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	if _, err := replaceFile(path, func(w io.Writer) error { _, _ = w.Write([]byte("ne")); return full }); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the file is %q", b)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Error("left are", left)
	}
}

func randomParams(rng *rand.Rand) (out []*param[float32]) {
	for _, name := range []string{"a", "b"} {
		p := newParam[float32](name, random[float32](rng, 37), nil, true)
		p.mean, p.vary = random[float32](rng, 37), random[float32](rng, 37)
		out = append(out, p)
	}
	return out
}

// A checkpoint gives back what was put in; one with a byte changed, cut off or added gives nothing and changes nothing.
func TestCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ckpt")
	h := header{Step: 3, Position: 6, Settings: settings{Steps: 5, Batch: 2, Method: Full}}
	want := randomParams(rand.New(rand.NewPCG(1, 2)))
	if _, err := writeCheckpoint(path, h, want); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := randomParams(rand.New(rand.NewPCG(3, 4)))
	if back, err := readCheckpoint(path, h.Settings, got); err != nil || back.Step != 3 || back.Position != 6 {
		t.Fatal(back, err)
	}
	for i, p := range want {
		if !slices.Equal(p.w, got[i].w) || !slices.Equal(p.mean, got[i].mean) || !slices.Equal(p.vary, got[i].vary) {
			t.Error(p.name, "came back changed")
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := slices.Clone(whole)
		switch at := rapid.IntRange(0, len(b)-1).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "damage") {
		case 0:
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 1:
			b = b[:at]
		case 2:
			b = append(b, b[at:]...)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		into := randomParams(rand.New(rand.NewPCG(5, 6)))
		var damaged *damagedError
		if _, err := readCheckpoint(path, h.Settings, into); !errors.As(err, &damaged) {
			t.Fatalf("it was read: %v", err)
		}
		for i, p := range randomParams(rand.New(rand.NewPCG(5, 6))) {
			if !slices.Equal(p.w, into[i].w) {
				t.Fatal("it restored something")
			}
		}
	})
}

// FuzzCheckpoint has no garbage make the reader panic or allocate without bound.
func FuzzCheckpoint(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.ckpt")
	if _, err := writeCheckpoint(path, header{}, randomParams(rand.New(rand.NewPCG(1, 2)))); err != nil {
		f.Fatal(err)
	}
	whole, _ := os.ReadFile(path)
	f.Add(whole)
	f.Add([]byte(checkpointMark))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h header
		if err := verifyCheckpoint(bytes.NewReader(b), &h); err == nil && !bytes.HasPrefix(b, []byte(checkpointMark)) {
			t.Fatal("it was taken for a checkpoint")
		}
	})
}

// The last few up to the present step stay; later ones, of a run that was resumed from an earlier one, are left alone.
func TestShelf(t *testing.T) {
	s := shelf{t.TempDir(), 2}
	params := randomParams(rand.New(rand.NewPCG(1, 2)))
	for _, step := range []int{1, 2, 3, 9, 2, 4} {
		if _, err := s.write(header{Step: step}, params); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.path(5)+unfinished, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	steps, err := s.steps()
	if err != nil || !slices.Equal(steps, []int{9, 4, 3}) {
		t.Error(steps, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left) != 3 {
		t.Error("left are", left)
	}
}

// A base whose matrices are stored in another precision is trained and written in float32.
func TestABaseInHalfPrecision(t *testing.T) {
	w := smallWeights(t, chatTemplate)
	for i := range w.Tensors {
		if p := &w.Tensors[i]; len(p.Dims) == 2 {
			p.Raw, p.Kind = nil, 1
			for range p.Values {
				p.Raw = binary.LittleEndian.AppendUint16(p.Raw, 0x2c00+uint16(len(p.Raw)*37%0x400)) // between 1/16 and 1/8
			}
			p.Values = nil
		}
	}
	o := smallRun(t, LoRA)
	if _, err := writeModel(o.Base, w); err != nil {
		t.Fatal(err)
	}
	trained(t, o)
	before, after := opened(t, o.Base), opened(t, o.Out)
	for i, p := range after.Tensors {
		adapted := adapted(p.Name, Targets)
		if p.Kind != kindF32 || slices.Equal(p.Values, before.Tensors[i].Values) == adapted {
			t.Errorf("%s is of kind %d; trained is %v", p.Name, p.Kind, adapted)
		}
	}
}
