package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"modelops/messages"
)

// part writes part no of count of a split model: so many weights of 1024 numbers, of which short bytes are missing.
func part(t *testing.T, dir string, no, count, weights, all, short int) string {
	t.Helper()
	text := func(b []byte, s string) []byte {
		return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	b := []byte("GGUF")
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = binary.LittleEndian.AppendUint64(b, uint64(weights))
	b = binary.LittleEndian.AppendUint64(b, 4)
	b = append(binary.LittleEndian.AppendUint32(text(b, "general.architecture"), 8), text(nil, "llama")...)
	for key, value := range map[string]uint32{"split.no": uint32(no - 1), "split.count": uint32(count), "split.tensors.count": uint32(all)} {
		b = binary.LittleEndian.AppendUint32(text(b, key), 4)
		b = binary.LittleEndian.AppendUint32(b, value)
	}
	for i := range weights {
		b = binary.LittleEndian.AppendUint32(text(b, fmt.Sprintf("blk.%d.%d", no, i)), 1)
		b = binary.LittleEndian.AppendUint64(b, 1024)
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint64(b, uint64(i*4096))
	}
	for len(b)%32 > 0 {
		b = append(b, 0)
	}
	path := filepath.Join(dir, fmt.Sprintf("m-%05d-of-%05d.gguf", no, count))
	if err := os.WriteFile(path, append(b, make([]byte, weights*4096-short)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A split model is as damaged as any of its parts, whichever part is named.
func TestSplitFiles(t *testing.T) {
	for name, damage := range map[string]struct {
		short [3]int // missing bytes of each part
		alter func(dir string) error
		bad   bool
	}{
		"whole":                {},
		"the first is cut":     {short: [3]int{1000, 0, 0}, bad: true},
		"the second is cut":    {short: [3]int{0, 1, 0}, bad: true},
		"the last is cut":      {short: [3]int{0, 0, 4000}, bad: true},
		"the second is absent": {alter: func(dir string) error { return os.Remove(filepath.Join(dir, "m-00002-of-00003.gguf")) }, bad: true},
		"the last is empty":    {alter: func(dir string) error { return os.Truncate(filepath.Join(dir, "m-00003-of-00003.gguf"), 0) }, bad: true},
		"the second is zeros": {alter: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "m-00002-of-00003.gguf"), make([]byte, 9000), 0o600)
		}, bad: true},
		"one is padded and another cut": {short: [3]int{-8000, 0, 4000}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var paths []string
			for i, weights := range []int{3, 2, 1} {
				paths = append(paths, part(t, dir, i+1, 3, weights, 6, damage.short[i]))
			}
			if damage.alter != nil {
				if err := damage.alter(dir); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range paths {
				_, err := parseGGUF(path)
				if bad := errors.Is(err, errMalformed); bad != damage.bad || !bad && err != nil {
					t.Errorf("%s: %v", filepath.Base(path), err)
				}
			}
			_, err := New(Options{}).Need(t.Context(), &messages.ModelSpec{Name: "m", Runtime: "llama.cpp", Path: paths[0]})
			if damage.bad && messages.CodeOf(err) != messages.ModelLoadError {
				t.Errorf("its need: %v", err)
			}
		})
	}
}
