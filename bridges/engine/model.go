package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// denseLimit is how large (in float32 bytes) a quantised model may become to be widened once at load. Larger ones stay
// as stored and are widened row by row, so that their memory is near the file's size.
const denseLimit = 64 << 20

// readChunk is how much of a tensor is read at a time; progress is reported and cancellation seen once a chunk.
const readChunk = 64 << 10

type layer struct {
	attnNorm, ffnNorm []float32
	q, k, v, o        matrix
	gate, up, down    matrix
}

// Model is a loaded network with its tokenizer. It is immutable and safe for concurrent use; what changes lives in a slot.
type Model struct {
	Name      string
	Template  string // tokenizer.chat_template, "" when the file has none
	Context   int    // tokens a sequence may have here
	Trained   int    // tokens a sequence had in training
	Width     int
	Params    int64 // number of weights
	FileBytes int64
	Tokens    *Tokenizer

	layers     []layer
	heads, kv  int
	headSize   int
	ffn        int
	rotated    int
	eps        float64
	embedding  matrix
	output     matrix // shares the embedding's storage when tied
	outputNorm []float32
	cos, sin   []float32 // [position][rotated/2]
}

// Load reads a model. contextLength caps the model's own (0: 4096 at most). progress, when not nil, is called in order
// with the bytes read so far and their total. Cancelling ctx ends it early.
func Load(ctx context.Context, path string, contextLength int, progress func(read, total int64)) (*Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open model: %s is not a regular file", path)
	}
	m, err := loadFrom(ctx, f, st.Size(), contextLength, progress)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return m, nil
}

func loadFrom(ctx context.Context, src io.ReaderAt, size int64, contextLength int, progress func(read, total int64)) (*Model, error) {
	f, err := parseGGUF(src, size)
	if err != nil {
		return nil, err
	}
	return loadFile(ctx, f, size, contextLength, denseLimit, progress)
}

// loadFile reads the tensors of a parsed file; those of a model of at most denseBytes, as float32, are widened at once.
func loadFile(ctx context.Context, f *ggufFile, size int64, contextLength int, denseBytes int64, progress func(read, total int64)) (m *Model, err error) {
	m = &Model{FileBytes: size}
	if err := m.shape(&metaReader{meta: f.meta}, contextLength); err != nil {
		return nil, err
	}
	if m.Tokens, err = newTokenizer(f.meta); err != nil {
		return nil, err
	}
	l := &loader{ctx: ctx, file: f, read: f.header, total: f.header, progress: progress}
	var values int64
	for _, t := range f.tensors {
		l.total += t.size
		values += t.values()
	}
	l.dense = values*4 <= denseBytes
	m.Params = values
	l.report(0)
	m.weights(l)
	if l.err != nil {
		return nil, l.err
	}
	// Only now: the sizes have been checked against tensors that are really there, so this can't be made to allocate much.
	if err := m.rope(&metaReader{meta: f.meta}); err != nil {
		return nil, err
	}
	l.report(l.total - l.read)
	return m, nil
}

// shape reads the sizes and refuses what this engine would compute wrongly.
func (m *Model) shape(r *metaReader, contextLength int) error {
	if arch := r.str("general.architecture", ""); arch != "llama" {
		return fmt.Errorf("architecture %q is not supported, only \"llama\" is", arch)
	}
	key := func(k string) string { return "llama." + k }
	m.Name = r.str("general.name", "")
	m.Template = r.str("tokenizer.chat_template", "")
	m.Width = r.size(key("embedding_length"), r.need(key("embedding_length")), 1<<17)
	blocks := r.size(key("block_count"), r.need(key("block_count")), 1<<10)
	m.ffn = r.size(key("feed_forward_length"), r.need(key("feed_forward_length")), 1<<20)
	heads := r.need(key("attention.head_count"))
	m.heads = r.size(key("attention.head_count"), heads, 1<<12)
	m.kv = r.size(key("attention.head_count_kv"), r.integer(key("attention.head_count_kv"), heads), 1<<12)
	m.Trained = r.size(key("context_length"), r.need(key("context_length")), 1<<24)
	m.eps = r.float(key("attention.layer_norm_rms_epsilon"), 1e-5)
	if r.err != nil {
		return r.err
	}
	perHead := int64(m.Width / m.heads)
	m.headSize = r.size(key("attention.key_length"), r.integer(key("attention.key_length"), perHead), 1<<12)
	value := r.integer(key("attention.value_length"), int64(m.headSize))
	m.rotated = r.size(key("rope.dimension_count"), r.integer(key("rope.dimension_count"), int64(m.headSize)), 1<<12)
	experts := r.integer(key("expert_count"), 0)
	switch {
	case r.err != nil:
		return r.err
	case m.heads%m.kv != 0:
		return fmt.Errorf("%d attention heads can't share %d key-value heads", m.heads, m.kv)
	case value != int64(m.headSize):
		return fmt.Errorf("value length %d differs from key length %d: not supported", value, m.headSize)
	case m.rotated > m.headSize || m.rotated%2 != 0:
		return fmt.Errorf("rope.dimension_count %d does not fit a head of %d", m.rotated, m.headSize)
	case experts != 0:
		return fmt.Errorf("a mixture of %d experts is not supported", experts)
	}
	m.layers = make([]layer, blocks)
	m.Context = min(m.Trained, 4096)
	if contextLength > 0 {
		m.Context = min(m.Trained, contextLength)
	}
	return r.err
}

// rope precomputes the rotations of every position.
func (m *Model) rope(r *metaReader) error {
	base := r.float("llama.rope.freq_base", 10000)
	scale := 1.0
	switch kind := r.str("llama.rope.scaling.type", "none"); kind {
	case "none":
	case "linear":
		scale = r.float("llama.rope.scaling.factor", 1)
	default:
		return fmt.Errorf("rope scaling %q is not supported, only linear is", kind)
	}
	if r.err != nil {
		return r.err
	}
	if !(base > 0) || !(scale > 0) {
		return fmt.Errorf("rope base %g and scaling factor %g must be positive", base, scale)
	}
	pairs := m.rotated / 2
	m.cos, m.sin = make([]float32, m.Context*pairs), make([]float32, m.Context*pairs)
	for i := range pairs {
		frequency := math.Pow(base, -2*float64(i)/float64(m.rotated)) / scale
		for p := range m.Context {
			sin, cos := math.Sincos(float64(p) * frequency)
			m.cos[p*pairs+i], m.sin[p*pairs+i] = float32(cos), float32(sin)
		}
	}
	return nil
}

// weights reads all tensors. The order is ours, not the file's: a disk cache does not mind, and a missing tensor is named.
func (m *Model) weights(l *loader) {
	vocab, q, kv := m.Tokens.Size(), m.heads*m.headSize, m.kv*m.headSize
	if _, ok := l.file.tensors["rope_freqs.weight"]; ok {
		l.fail(errors.New("rope_freqs.weight: per-frequency rope factors are not supported"))
	}
	m.embedding = l.matrix("token_embd.weight", vocab, m.Width)
	for i := range m.layers {
		name := func(s string) string { return fmt.Sprintf("blk.%d.%s.weight", i, s) }
		m.layers[i] = layer{
			attnNorm: l.vector(name("attn_norm"), m.Width),
			q:        l.matrix(name("attn_q"), q, m.Width),
			k:        l.matrix(name("attn_k"), kv, m.Width),
			v:        l.matrix(name("attn_v"), kv, m.Width),
			o:        l.matrix(name("attn_output"), m.Width, q),
			ffnNorm:  l.vector(name("ffn_norm"), m.Width),
			gate:     l.matrix(name("ffn_gate"), m.ffn, m.Width),
			up:       l.matrix(name("ffn_up"), m.ffn, m.Width),
			down:     l.matrix(name("ffn_down"), m.Width, m.ffn),
		}
		if _, biased := l.file.tensors[fmt.Sprintf("blk.%d.attn_q.bias", i)]; biased {
			l.fail(errors.New("attention biases are not supported"))
		}
	}
	m.outputNorm = l.vector("output_norm.weight", m.Width)
	m.output = m.embedding
	if _, separate := l.file.tensors["output.weight"]; separate {
		m.output = l.matrix("output.weight", vocab, m.Width)
	}
}

// loader reads tensors and remembers the first error.
type loader struct {
	ctx         context.Context
	file        *ggufFile
	dense       bool
	read, total int64
	progress    func(read, total int64)
	err         error
}

func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) report(n int64) {
	l.read += n
	if l.progress != nil {
		l.progress(l.read, l.total)
	}
}

func (t tensorInfo) values() int64 {
	n := int64(1)
	for _, d := range t.dims {
		n *= d
	}
	return n
}

func (l *loader) find(name string, want ...int64) tensorInfo {
	t, ok := l.file.tensors[name]
	if l.err != nil {
		return t
	}
	if !ok {
		l.fail(fmt.Errorf("tensor %q is missing", name))
		return t
	}
	for i := range max(len(want), len(t.dims)) {
		w, d := int64(1), int64(1) // trailing dimensions of one do not matter
		if i < len(want) {
			w = want[i]
		}
		if i < len(t.dims) {
			d = t.dims[i]
		}
		if w != d {
			l.fail(fmt.Errorf("tensor %q has shape %v, want %v", name, t.dims, want))
			return t
		}
	}
	return t
}

func (l *loader) vector(name string, n int) []float32 {
	t := l.find(name, int64(n))
	return l.widened(t)
}

func (l *loader) matrix(name string, rows, cols int) matrix {
	t := l.find(name, int64(cols), int64(rows))
	m := matrix{rows: rows, cols: cols, kind: t.kind}
	if l.dense || t.kind == kindF32 {
		m.dense = l.widened(t)
		return m
	}
	if l.err == nil {
		m.raw = make([]byte, t.size)
		l.chunks(t, func(at int64, b []byte) { copy(m.raw[at:], b) })
	}
	return m
}

func (l *loader) widened(t tensorInfo) []float32 {
	if l.err != nil {
		return nil
	}
	dst := make([]float32, t.values())
	values, size, _ := t.kind.block()
	l.chunks(t, func(at int64, b []byte) {
		first, n := at/size*values, int64(len(b))/size*values
		t.kind.widen(dst[first:first+n], b)
	})
	return dst
}

// chunks hands out a tensor's bytes in pieces of whole blocks.
func (l *loader) chunks(t tensorInfo, use func(at int64, b []byte)) {
	_, size, _ := t.kind.block()
	buf := make([]byte, min(t.size, readChunk/size*size))
	for at := int64(0); at < t.size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), t.size-at)]
		if err := l.ctx.Err(); err != nil {
			l.fail(err)
			return
		}
		if _, err := l.file.src.ReadAt(b, t.offset+at); err != nil {
			l.fail(fmt.Errorf("tensor %q: %w", t.name, err))
			return
		}
		use(at, b)
		l.report(int64(len(b)))
	}
}
