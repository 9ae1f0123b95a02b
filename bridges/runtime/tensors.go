package runtime

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"modelops/messages"
)

// estimateFiles estimates what isn't GGUF: the safetensors of a folder and a fifth, else half as much again as the size.
// vLLM takes a share of its device whatever the model needs: a model that doesn't limit it by arguments declares its memory.
func estimateFiles(spec *messages.ModelSpec, size uint64) (Estimate, error) {
	parts, _ := filepath.Glob(filepath.Join(escapeGlob(spec.Path), "*.safetensors"))
	if len(parts) == 0 {
		return bySize(size), nil
	}
	var sum uint64
	for _, p := range parts {
		n, err := tensorsIn(p)
		if err != nil {
			return Estimate{}, messages.Errorf(messages.ModelLoadError, subject(spec), "Model file is malformed: %s: %w", p, err).
				WithHint("copy or download it again")
		}
		sum += n
	}
	cache, _ := flagsOf(spec).number("--kv-cache-memory-bytes", "--kv-cache-memory")
	return Estimate{Bytes: max(sum+sum/5+cache, leastOther), From: FromSize, Weights: sum, KV: cache}, nil
}

// tensorHeader is the most that is read of a header to see whether the file is whole; larger ones are believed.
const tensorHeader = 16 << 20

// tensorsIn is the size of a safetensors file whose weights are all there.
func tensorsIn(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := uint64(st.Size())
	return size, checkTensors(f, size)
}

// checkTensors compares the header (its length in 8 bytes, then JSON) with the size of the file.
func checkTensors(r io.Reader, size uint64) error {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return malformed("it has no header")
	}
	n := binary.LittleEndian.Uint64(b[:])
	if n < 2 || size < 8 || n > size-8 {
		return malformed("a header of %d bytes in a file of %d", n, size)
	}
	if n > tensorHeader {
		return nil
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return malformed("%v", err)
	}
	var tensors map[string]struct {
		Offsets []uint64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(text, &tensors); err != nil {
		return malformed("its header is no JSON: %v", err)
	}
	for name, t := range tensors {
		if len(t.Offsets) == 2 && t.Offsets[1] > size-8-n {
			return malformed("it ends before the weights %.64q do", name)
		}
	}
	return nil
}
