package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// ggufWriter builds files for tests: valid ones, quantised ones and broken ones.
type ggufWriter struct {
	meta    bytes.Buffer
	pairs   int
	tensors []writtenTensor
}

type writtenTensor struct {
	name string
	dims []int64
	kind tensorKind
	data []byte
}

func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if s, ok := v.(string); ok {
			binary.Write(b, binary.LittleEndian, uint64(len(s)))
			b.WriteString(s)
			continue
		}
		binary.Write(b, binary.LittleEndian, v)
	}
}

func (w *ggufWriter) set(key string, kind uint32, values ...any) {
	put(&w.meta, append([]any{key, kind}, values...)...)
	w.pairs++
}

func (w *ggufWriter) bytes(version uint32) []byte {
	var b bytes.Buffer
	put(&b, uint32(0x46554747), version, uint64(len(w.tensors)), uint64(w.pairs))
	b.Write(w.meta.Bytes())
	offset := 0
	for _, t := range w.tensors {
		put(&b, t.name, uint32(len(t.dims)))
		for _, d := range t.dims {
			put(&b, uint64(d))
		}
		put(&b, uint32(t.kind), uint64(offset))
		offset += (len(t.data) + 31) / 32 * 32
	}
	pad := func() { b.Write(make([]byte, (32-b.Len()%32)%32)) }
	pad()
	for _, t := range w.tensors {
		b.Write(t.data)
		pad()
	}
	return b.Bytes()
}

// narrow stores values in another type, the plain way.
func narrow(kind tensorKind, x []float32) []byte {
	var b bytes.Buffer
	for len(x) > 0 {
		switch kind {
		case kindF32:
			put(&b, x[0])
			x = x[1:]
		case kindF16:
			put(&b, toHalf(x[0]))
			x = x[1:]
		case kindBF16:
			put(&b, uint16((math.Float32bits(x[0])+0x8000)>>16))
			x = x[1:]
		case kindQ8_0, kindQ4_0:
			narrowBlock(&b, kind, x[:32])
			x = x[32:]
		}
	}
	return b.Bytes()
}

func narrowBlock(b *bytes.Buffer, kind tensorKind, x []float32) {
	var top float32
	for _, v := range x {
		if max(v, -v) > max(top, -top) {
			top = v
		}
	}
	scale := top / 127
	if kind == kindQ4_0 {
		scale = top / -8
	}
	put(b, toHalf(scale))
	if scale == 0 {
		scale = 1
	}
	if kind == kindQ8_0 {
		for _, v := range x {
			put(b, int8(math.Round(float64(v/scale))))
		}
		return
	}
	level := func(v float32) byte { return byte(min(15, max(0, math.Round(float64(v/scale))+8))) }
	for i := range 16 {
		b.WriteByte(level(x[i]) | level(x[i+16])<<4)
	}
}

// converted is tiny.gguf with its matrices in another type.
func converted(t testing.TB, kind tensorKind, version uint32) []byte {
	t.Helper()
	raw, err := os.ReadFile(tinyPath)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseGGUF(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	w := &ggufWriter{}
	start := 24
	w.meta.Write(raw[start : start+metaLength(t, raw)])
	w.pairs = len(f.meta)
	for _, name := range f.order {
		info := f.tensors[name]
		values := make([]float32, info.values())
		info.kind.widen(values, raw[info.offset:info.offset+info.size])
		to := kind
		if len(info.dims) == 1 {
			to = kindF32
		}
		w.tensors = append(w.tensors, writtenTensor{name, info.dims, to, narrow(to, values)})
	}
	return w.bytes(version)
}

// metaLength finds where the metadata ends: the first tensor's name follows it.
func metaLength(t testing.TB, raw []byte) int {
	t.Helper()
	var name bytes.Buffer
	put(&name, "token_embd.weight")
	at := bytes.Index(raw, name.Bytes())
	if at < 0 {
		t.Fatal("no first tensor")
	}
	return at - 24
}

// The two chats hold under quantisation (their margins are large), the prose does not have to.
func TestStoredTypes(t *testing.T) {
	for _, kind := range []tensorKind{kindF32, kindF16, kindBF16, kindQ8_0, kindQ4_0} {
		raw := converted(t, kind, 2+uint32(kind)%2)
		m, err := loadFrom(context.Background(), bytes.NewReader(raw), int64(len(raw)), 0, nil)
		if err != nil {
			t.Fatalf("type %d: %v", kind, err)
		}
		for _, g := range goldens(t).Greedy[3:] {
			s := newSequence(m)
			m.eval(s, g.PromptTokens)
			m.predict(s, len(g.PromptTokens)-1)
			var got []int32
			for range g.Tokens {
				id := likeliest(s.logits)
				got = append(got, id)
				m.eval(s, []int32{id})
				m.predict(s, 0)
			}
			if !slices.Equal(got, g.Tokens) {
				t.Errorf("type %d: %q", kind, m.Tokens.Decode(got))
			}
		}
	}
}

// A model kept as stored must compute the same bits as one widened at load.
func TestRawEqualsDense(t *testing.T) {
	for _, kind := range []tensorKind{kindF16, kindBF16, kindQ8_0, kindQ4_0} {
		rows, cols := 7, 64
		x := make([]float32, rows*cols)
		for i := range x {
			x[i] = float32(math.Sin(float64(i * i)))
		}
		raw := matrix{rows: rows, cols: cols, kind: kind, raw: narrow(kind, x)}
		dense := matrix{rows: rows, cols: cols, kind: kind, dense: make([]float32, len(x))}
		kind.widen(dense.dense, raw.raw)
		a, b, scratch := make([]float32, rows*2), make([]float32, rows*2), make([]float32, 4*cols)
		raw.mul(a, x[:2*cols], 2, scratch)
		dense.mul(b, x[:2*cols], 2, scratch)
		if !slices.Equal(a, b) {
			t.Errorf("type %d: %v, want %v", kind, a, b)
		}
	}
}

func TestLoadReportsProgressAndStops(t *testing.T) {
	var last, total int64
	_, err := Load(t.Context(), tinyPath, 0, func(read, of int64) {
		if read < last || read > of || total != 0 && of != total {
			t.Errorf("progress %d of %d after %d of %d", read, of, last, total)
		}
		last, total = read, of
	})
	if err != nil || last != total || total < 4_000_000 {
		t.Errorf("ended at %d of %d: %v", last, total, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Load(ctx, tinyPath, 0, func(read, _ int64) {
		if read > 1_000_000 {
			cancel()
		}
	})
	if ctx.Err() == nil || err == nil {
		t.Errorf("cancelled load: %v", err)
	}
}

func TestContextLengthIsCapped(t *testing.T) {
	for ask, want := range map[int]int{0: 256, 100: 100, 1000: 256} {
		m, err := Load(t.Context(), tinyPath, ask, nil)
		if err != nil || m.Context != want {
			t.Errorf("asked for %d: %v, %v", ask, m, err)
		}
	}
}

func TestMalformedFilesAreErrors(t *testing.T) {
	good := func() *ggufWriter {
		w := &ggufWriter{}
		w.set("general.architecture", ggufString, "llama")
		w.tensors = []writtenTensor{{"t", []int64{32}, kindF32, make([]byte, 128)}}
		return w
	}
	tensor := func(change func(*writtenTensor)) []byte {
		w := good()
		change(&w.tensors[0])
		return w.bytes(3)
	}
	meta := func(key string, kind uint32, values ...any) []byte {
		w := good()
		w.set(key, kind, values...)
		return w.bytes(3)
	}
	whole := good().bytes(3)
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":           {nil, "EOF"},
		"other magic":     {[]byte("PK\x03\x04 something else"), "not a GGUF"},
		"old version":     {good().bytes(1), "version 1"},
		"truncated":       {whole[:len(whole)-64], "truncated"},
		"header cut":      {whole[:40], "does not fit"},
		"huge string":     {meta("k", ggufString, uint64(1)<<60), "does not fit"},
		"huge array":      {meta("k", ggufArray, uint32(ggufU8), uint64(1)<<60), "does not fit"},
		"array of arrays": {meta("k", ggufArray, uint32(ggufArray), uint64(1)), "not supported"},
		"unknown value":   {meta("k", 77), "unknown value type 77"},
		"odd alignment":   {meta("general.alignment", ggufU32, uint32(33)), "alignment"},
		"unknown type":    {tensor(func(t *writtenTensor) { t.kind = 99 }), "type 99"},
		"no dimensions":   {tensor(func(t *writtenTensor) { t.dims = nil }), "0 dimensions"},
		"zero dimension":  {tensor(func(t *writtenTensor) { t.dims = []int64{0} }), "dimension 0 is 0"},
		"overflow":        {tensor(func(t *writtenTensor) { t.dims = []int64{1 << 30, 1 << 30, 1 << 30} }), "too large"},
		"broken blocks":   {tensor(func(t *writtenTensor) { t.kind, t.dims = kindQ8_0, []int64{33} }), "whole blocks"},
		"no model in it":  {whole, "embedding_length is missing"},
		"other family":    {bytes.Replace(whole, []byte("llama"), []byte("gemma"), 1), "architecture"},
	} {
		_, err := loadFrom(t.Context(), bytes.NewReader(c.raw), int64(len(c.raw)), 0, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Each number in the real file's header, made absurd, must give an error or a working model, and no large allocation.
func TestDamagedHeadersAreHarmless(t *testing.T) {
	raw, err := os.ReadFile(tinyPath)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	for at := 0; at < 600; at += 5 {
		for _, b := range []byte{0, 0x7f, 0xff} {
			damaged := slices.Clone(raw)
			damaged[at] = b
			runtime.ReadMemStats(&before)
			_, _ = loadFrom(t.Context(), bytes.NewReader(damaged), int64(len(damaged)), 0, nil)
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
				t.Errorf("byte %d = %#x: %d bytes allocated", at, b, grown)
			}
		}
	}
}

func FuzzGGUF(f *testing.F) {
	w := &ggufWriter{}
	w.set("general.architecture", ggufString, "llama")
	w.set("tokenizer.ggml.tokens", ggufArray, uint32(ggufString), uint64(2), "a", "b")
	w.set("f", ggufF32, float32(1))
	w.tensors = []writtenTensor{{"t", []int64{32}, kindQ4_0, make([]byte, 18)}}
	f.Add(w.bytes(3))
	f.Add(smallModel())
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := loadFrom(context.Background(), bytes.NewReader(raw), int64(len(raw)), 16, nil)
		if err != nil {
			return
		}
		s := newSequence(m) // what loads must also run
		m.eval(s, []int32{0})
		m.predict(s, 0)
		m.Tokens.Encode("some text", true, true)
	})
}

// smallModel is a whole model of a few hundred bytes, for the fuzzer to damage.
func smallModel() []byte {
	w := &ggufWriter{}
	w.set("general.architecture", ggufString, "llama")
	for key, v := range map[string]uint32{"embedding_length": 4, "block_count": 1, "feed_forward_length": 4, "attention.head_count": 2,
		"attention.head_count_kv": 1, "context_length": 16} {
		w.set("llama."+key, ggufU32, v)
	}
	w.set("tokenizer.ggml.model", ggufString, "llama")
	w.set("tokenizer.ggml.tokens", ggufArray, uint32(ggufString), uint64(4), "<unk>", "<s>", "</s>", "a")
	w.set("tokenizer.ggml.scores", ggufArray, uint32(ggufF32), uint64(4), [4]float32{})
	w.set("tokenizer.ggml.token_type", ggufArray, uint32(ggufI32), uint64(4), [4]int32{2, 3, 3, 1})
	add := func(name string, dims ...int64) {
		n := int64(4)
		for _, d := range dims {
			n *= d
		}
		w.tensors = append(w.tensors, writtenTensor{name, dims, kindF32, make([]byte, n)})
	}
	add("token_embd.weight", 4, 4)
	for name, dims := range map[string][]int64{"attn_norm": {4}, "ffn_norm": {4}, "attn_q": {4, 4}, "attn_k": {4, 2}, "attn_v": {4, 2},
		"attn_output": {4, 4}, "ffn_gate": {4, 4}, "ffn_up": {4, 4}, "ffn_down": {4, 4}} {
		add(fmt.Sprintf("blk.0.%s.weight", name), dims...)
	}
	add("output_norm.weight", 4)
	return w.bytes(3)
}

func TestSmallModelLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.WriteFile(path, smallModel(), 0o600); err != nil {
		t.Fatal(err)
	}
	if m := mustLoad(t, path); m.Tokens.Size() != 4 || m.Context != 16 {
		t.Errorf("%+v", m)
	}
}
