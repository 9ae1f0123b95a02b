package engine

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Metadata value types of the GGUF format.
const (
	ggufU8 = iota
	ggufI8
	ggufU16
	ggufI16
	ggufU32
	ggufI32
	ggufF32
	ggufBool
	ggufString
	ggufArray
	ggufU64
	ggufI64
	ggufF64
)

// valueSize is the least number of bytes that one value of a type takes in the file; 0 marks an unknown type. It bounds
// what a count may make us allocate.
var valueSize = [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

const (
	maxTensorDims = 4
	maxNameLength = 1 << 16
)

// tensorInfo places one tensor in the file. Dims are innermost first, as stored.
type tensorInfo struct {
	name   string
	dims   []int64
	kind   tensorKind
	offset int64 // from the start of the file, in bytes
	size   int64 // bytes
}

// ggufFile is a parsed header. Integers are int64 (uint64 beyond that is refused), floats float64, arrays are []string,
// []float64 or []int64.
type ggufFile struct {
	version uint32
	meta    map[string]any
	tensors map[string]tensorInfo
	order   []string // tensor names in file order
	header  int64    // bytes before the first tensor
	entries []entrySpan
	src     io.ReaderAt
}

// entrySpan is where one entry of the metadata stands in the file: key, type and value.
type entrySpan struct {
	key      string
	from, to int64
}

// parseGGUF reads the header of a GGUF file of the given size. It never reads tensors, and no count or length in the
// file makes it allocate more than a small multiple of size.
func parseGGUF(src io.ReaderAt, size int64) (*ggufFile, error) {
	r := &ggufReader{r: bufio.NewReaderSize(io.NewSectionReader(src, 0, size), 64<<10), left: size}
	f := &ggufFile{src: src, meta: map[string]any{}, tensors: map[string]tensorInfo{}}
	magic := r.u32()
	if r.err == nil && magic != 0x46554747 {
		return nil, fmt.Errorf("not a GGUF file: it starts with %08x", magic)
	}
	f.version = r.u32()
	if r.err == nil && f.version != 2 && f.version != 3 {
		return nil, fmt.Errorf("GGUF version %d is not supported (2 and 3 are); big-endian files are not either", f.version)
	}
	tensors, pairs := r.count(24), r.count(13)
	for i := int64(0); i < pairs && r.err == nil; i++ {
		from := size - r.left
		key := r.str(maxNameLength)
		value := r.value(r.u32())
		if r.err != nil {
			return nil, fmt.Errorf("metadata entry %d (%q): %w", i, key, r.err)
		}
		f.meta[key] = value
		f.entries = append(f.entries, entrySpan{key, from, size - r.left})
	}
	var infos []tensorInfo
	for i := int64(0); i < tensors && r.err == nil; i++ {
		infos = append(infos, r.tensor())
	}
	if r.err != nil {
		return nil, fmt.Errorf("GGUF header: %w", r.err)
	}
	return f, f.place(infos, size-r.left, size)
}

// place turns the tensors' relative offsets into absolute ones and checks that each lies inside the file.
func (f *ggufFile) place(infos []tensorInfo, headerEnd, size int64) error {
	align := int64(32)
	if v, ok := f.meta["general.alignment"].(int64); ok {
		align = v
	}
	if align <= 0 || align > 1<<20 || align&(align-1) != 0 {
		return fmt.Errorf("general.alignment is %d, want a power of two", align)
	}
	f.header = (headerEnd + align - 1) / align * align
	for _, t := range infos {
		if _, twice := f.tensors[t.name]; twice {
			return fmt.Errorf("tensor %q is in the file twice", t.name)
		}
		if t.offset%align != 0 {
			return fmt.Errorf("tensor %q: offset %d is not a multiple of the alignment %d", t.name, t.offset, align)
		}
		if t.offset > size-f.header || t.size > size-f.header-t.offset {
			return fmt.Errorf("tensor %q needs bytes %d to %d but the file ends at %d: truncated?",
				t.name, f.header+t.offset, f.header+t.offset+t.size, size)
		}
		t.offset += f.header
		f.tensors[t.name] = t
		f.order = append(f.order, t.name)
	}
	return nil
}

// ggufReader reads little-endian values and remembers the first error; after it every read yields zero.
type ggufReader struct {
	r    *bufio.Reader
	left int64
	err  error
	buf  [8]byte
}

func (r *ggufReader) take(n int) []byte {
	b := r.buf[:n]
	clear(b)
	if r.err != nil {
		return b
	}
	if int64(n) > r.left {
		r.err = io.ErrUnexpectedEOF
		return b
	}
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.err = err
		clear(b)
		return b
	}
	r.left -= int64(n)
	return b
}

func (r *ggufReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *ggufReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// count reads a number of things that take at least unit bytes each, and refuses one that the rest of the file can't hold.
func (r *ggufReader) count(unit int64) int64 {
	n := r.u64()
	if r.err == nil && n > uint64(r.left/unit) {
		r.err = fmt.Errorf("a count of %d does not fit into the %d bytes left", n, r.left)
	}
	if r.err != nil {
		return 0
	}
	return int64(n)
}

func (r *ggufReader) str(limit int64) string {
	n := r.count(1)
	if r.err == nil && n > limit {
		r.err = fmt.Errorf("a string of %d bytes, at most %d are allowed here", n, limit)
	}
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.err = err
		return ""
	}
	r.left -= n
	return string(b)
}

func (r *ggufReader) tensor() tensorInfo {
	t := tensorInfo{name: r.str(maxNameLength)}
	n := r.u32()
	if r.err == nil && (n == 0 || n > maxTensorDims) {
		r.err = fmt.Errorf("tensor %q has %d dimensions, want 1 to %d", t.name, n, maxTensorDims)
	}
	for i := uint32(0); i < n && r.err == nil; i++ {
		d := r.u64()
		if r.err == nil && (d == 0 || d > math.MaxInt32) {
			r.err = fmt.Errorf("tensor %q: dimension %d is %d", t.name, i, d)
		}
		t.dims = append(t.dims, int64(d))
	}
	t.kind = tensorKind(r.u32())
	offset := r.u64()
	if r.err != nil {
		return t
	}
	if offset > math.MaxInt64/2 {
		r.err = fmt.Errorf("tensor %q: offset %d", t.name, offset)
		return t
	}
	t.offset = int64(offset)
	t.size, r.err = t.kind.bytes(t.name, t.dims)
	return t
}

func (r *ggufReader) value(kind uint32) any {
	if r.err != nil {
		return nil
	}
	switch kind {
	case ggufString:
		return r.str(math.MaxInt32)
	case ggufArray:
		return r.array()
	case ggufF32, ggufF64:
		return r.float(kind)
	case ggufBool:
		return r.take(1)[0] != 0
	}
	return r.integer(kind)
}

func (r *ggufReader) float(kind uint32) float64 {
	if kind == ggufF32 {
		return float64(math.Float32frombits(r.u32()))
	}
	return math.Float64frombits(r.u64())
}

func (r *ggufReader) integer(kind uint32) int64 {
	switch kind {
	case ggufU8, ggufBool:
		return int64(r.take(1)[0])
	case ggufI8:
		return int64(int8(r.take(1)[0]))
	case ggufU16:
		return int64(binary.LittleEndian.Uint16(r.take(2)))
	case ggufI16:
		return int64(int16(binary.LittleEndian.Uint16(r.take(2))))
	case ggufU32:
		return int64(r.u32())
	case ggufI32:
		return int64(int32(r.u32()))
	case ggufI64:
		return int64(r.u64())
	case ggufU64:
		v := r.u64()
		if v > math.MaxInt64 {
			r.err = fmt.Errorf("integer %d is out of range", v)
		}
		return int64(v)
	}
	if r.err == nil {
		r.err = fmt.Errorf("unknown value type %d", kind)
	}
	return 0
}

func (r *ggufReader) array() any {
	kind := r.u32()
	if r.err == nil && (kind >= uint32(len(valueSize)) || kind == ggufArray) {
		r.err = fmt.Errorf("arrays of value type %d are not supported", kind)
	}
	if r.err != nil {
		return nil
	}
	n := r.count(valueSize[kind])
	switch kind {
	case ggufString:
		return fill(r, n, func() string { return r.str(math.MaxInt32) })
	case ggufF32, ggufF64:
		return fill(r, n, func() float64 { return r.float(kind) })
	}
	return fill(r, n, func() int64 { return r.integer(kind) })
}

func fill[T any](r *ggufReader, n int64, next func() T) []T {
	out := make([]T, 0, n)
	for i := int64(0); i < n && r.err == nil; i++ {
		out = append(out, next())
	}
	return out
}
