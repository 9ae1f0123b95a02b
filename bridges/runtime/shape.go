package runtime

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
)

// shape is what the estimate of a model's cache needs from a GGUF header.
type shape struct {
	layers, width, heads, kvHeads, keyLen, valueLen, trained uint64
}

// cacheBytes is the size of the key-value cache for all slots. context 0 means what the engines take by themselves: what
// the model was trained for, at most 4096. Figures beyond reason count as nothing: the estimate is advice, not a promise.
func (s shape) cacheBytes(context, slots uint32, width uint64) uint64 {
	tokens := uint64(context)
	if tokens == 0 {
		tokens = min(s.trained, 4096)
	}
	if s.trained > 0 {
		tokens = min(tokens, s.trained)
	}
	heads := s.kvHeads
	if heads == 0 {
		heads = s.heads
	}
	key, value := s.keyLen, s.valueLen
	if s.heads > 0 {
		if key == 0 {
			key = s.width / s.heads
		}
		if value == 0 {
			value = s.width / s.heads
		}
	}
	if s.layers > 1<<12 || heads > 1<<12 || key > 1<<14 || value > 1<<14 || tokens > 1<<24 {
		return 0
	}
	return s.layers * heads * (key + value) * tokens * uint64(max(slots, 1)) * width
}

var errNotGGUF = errors.New("not a GGUF header")

// headerLimit bounds how much of a file is read in search of the figures: vocabularies come after them or within it.
const headerLimit = 64 << 20

// readShape reads the figures from the header of a GGUF file. It stops as soon as it has them all.
func readShape(path string) (shape, error) {
	f, err := os.Open(path)
	if err != nil {
		return shape{}, err
	}
	defer f.Close()
	return parseShape(io.LimitReader(f, headerLimit))
}

func parseShape(in io.Reader) (shape, error) {
	r := &headerReader{in: bufio.NewReaderSize(in, 64<<10)}
	if magic := r.u32(); r.err != nil || magic != 0x46554747 {
		return shape{}, errNotGGUF
	}
	if version := r.u32(); version < 2 || version > 3 {
		return shape{}, errNotGGUF
	}
	r.u64() // tensors
	pairs := r.u64()
	var s shape
	for range pairs {
		key := r.text()
		value := r.value(r.u32(), 0)
		if r.err != nil {
			break
		}
		if field := s.field(key); field != nil {
			*field = value
		}
	}
	if s.layers == 0 {
		return shape{}, errNotGGUF
	}
	return s, nil
}

func (s *shape) field(key string) *uint64 {
	_, name, _ := strings.Cut(key, ".")
	switch name {
	case "block_count":
		return &s.layers
	case "embedding_length":
		return &s.width
	case "attention.head_count":
		return &s.heads
	case "attention.head_count_kv":
		return &s.kvHeads
	case "attention.key_length":
		return &s.keyLen
	case "attention.value_length":
		return &s.valueLen
	case "context_length":
		return &s.trained
	}
	return nil
}

// headerReader reads little-endian values and keeps the first error.
type headerReader struct {
	in  *bufio.Reader
	err error
}

func (r *headerReader) bytes(n int) []byte {
	b := make([]byte, n)
	if r.err == nil {
		_, r.err = io.ReadFull(r.in, b)
	}
	return b
}

func (r *headerReader) u32() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *headerReader) u64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

func (r *headerReader) text() string {
	n := r.u64()
	if n > 1<<16 {
		r.err = errors.Join(r.err, errNotGGUF)
	}
	if r.err != nil {
		return ""
	}
	return string(r.bytes(int(n)))
}

func (r *headerReader) skip(n uint64) {
	if n > headerLimit {
		r.err = errors.Join(r.err, errNotGGUF)
	}
	if r.err == nil {
		_, r.err = r.in.Discard(int(n))
	}
}

// scalarBytes is the size of each GGUF type that has one.
var scalarBytes = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// value reads one value. Whole numbers come back as they are, of an array the largest (layers may differ), all else as 0.
func (r *headerReader) value(kind uint32, depth int) uint64 {
	switch kind {
	case 4, 5:
		return uint64(r.u32())
	case 10, 11:
		return r.u64()
	case 8:
		r.skip(r.u64())
		return 0
	case 9:
		return r.array(depth)
	}
	size, known := scalarBytes[kind]
	if !known {
		r.err = errors.Join(r.err, errNotGGUF)
		return 0
	}
	r.skip(size)
	return 0
}

func (r *headerReader) array(depth int) uint64 {
	kind, n := r.u32(), r.u64()
	if depth > 2 || n > headerLimit {
		r.err = errors.Join(r.err, errNotGGUF)
		return 0
	}
	var largest uint64
	for range n {
		if r.err != nil {
			return 0
		}
		largest = max(largest, r.value(kind, depth+1))
	}
	return largest
}
