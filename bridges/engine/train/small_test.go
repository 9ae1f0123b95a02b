package train

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/bridges/engine"
)

const chatTemplate = "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}{% endfor %}" +
	"{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"

// entry is one of a file's metadata, as bytes.
func entry(key string, kind uint32, parts ...any) engine.Entry {
	le := binary.LittleEndian
	raw := le.AppendUint32(append(le.AppendUint64(nil, uint64(len(key))), key...), kind)
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			raw = append(le.AppendUint64(raw, uint64(len(v))), v...)
		case uint32:
			raw = le.AppendUint32(raw, v)
		case bool:
			raw = append(raw, map[bool]byte{true: 1}[v])
		case int:
			raw = le.AppendUint64(raw, uint64(v))
		case float32:
			raw = le.AppendUint32(raw, math.Float32bits(v))
		}
	}
	return engine.Entry{Key: key, Raw: raw}
}

// smallWeights are a model of two layers and width 16 with a vocabulary of bytes.
func smallWeights(t require, template string) *engine.Weights {
	const text, array, f32, i32 = 8, 9, 6, 5
	n := small[float32](t, rand.New(rand.NewPCG(11, 12)), true, 1)
	names := []string{"<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"}
	tokens, scores, kinds := []any{uint32(text), 262}, []any{uint32(f32), 262}, []any{uint32(i32), 262}
	for i := range 262 {
		if i < len(names) {
			tokens, kinds = append(tokens, names[i]), append(kinds, uint32(3))
		} else {
			tokens, kinds = append(tokens, fmt.Sprintf("<0x%02X>", i-len(names))), append(kinds, uint32(6))
		}
		scores = append(scores, float32(0))
	}
	w := &engine.Weights{Entries: []engine.Entry{entry("general.architecture", text, "llama"), entry("general.file_type", 4, uint32(7)), entry("general.alignment", 4, uint32(64))}}
	for key, v := range map[string]int{"context_length": 96, "embedding_length": 16, "block_count": 2, "feed_forward_length": 20, "attention.head_count": 4,
		"attention.head_count_kv": 2, "rope.dimension_count": 4} {
		w.Entries = append(w.Entries, entry("llama."+key, 4, uint32(v)))
	}
	w.Entries = append(w.Entries, entry("tokenizer.ggml.model", text, "llama"), entry("tokenizer.ggml.tokens", array, tokens...), entry("tokenizer.ggml.scores", array, scores...),
		entry("tokenizer.ggml.token_type", array, kinds...), entry("tokenizer.chat_template", text, template), entry("tokenizer.ggml.add_space_prefix", 7, false), entry("a.note", text, "kept as it is"))
	for _, p := range n.tensors {
		values, dims := p.w, []int64{int64(p.cols), int64(p.rows)}
		if p.rows == 1 {
			dims = dims[:1]
		}
		if p.name == "token_embd.weight" {
			values, dims[1] = random[float32](rand.New(rand.NewPCG(13, 14)), 262*16), 262
		}
		w.Tensors = append(w.Tensors, engine.Tensor{Name: p.name, Dims: dims, Values: values})
	}
	return w
}

func smallFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.gguf")
	if _, err := writeModel(path, smallWeights(t, chatTemplate)); err != nil {
		t.Fatal(err)
	}
	return path
}

// written puts text into a new file.
func written(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	smallChats = `{"user": "ab", "assistant": "ba"}
{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "aa"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "cc"}]}

{"user": "c", "assistant": "a b"}
`
	smallPairs = `{"prompt": "ab", "chosen": "ba", "rejected": "xyz"}
{"messages": [{"role": "user", "content": "c"}], "chosen": "cc", "rejected": "b"}
{"prompt": "q", "chosen": "a", "rejected": "b"}
`
)

// smallRun are the options of a short run of the small model.
func smallRun(t testing.TB, method string) Options {
	t.Helper()
	o := Defaults()
	o.Base, o.Out, o.Method, o.Steps, o.Batch, o.Threads, o.LR, o.WeightDecay = smallFile(t), filepath.Join(t.TempDir(), "out.gguf"), method, 6, 2, 1, 1e-3, 0.01
	o.Data = written(t, smallChats)
	if method == DPO {
		o.Data = written(t, smallPairs)
	}
	o.Eval = written(t, smallChats)
	return o
}

// heard collects the events of a run, as a reader of its lines sees them.
type heard struct {
	t      testing.TB
	events []map[string]any
	on     func(event map[string]any)
}

func (h *heard) report(event any) {
	b, err := json.Marshal(event)
	if err != nil {
		h.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		h.t.Fatal(err)
	}
	h.events = append(h.events, m)
	if h.on != nil {
		h.on(m)
	}
}

// names are the events in order, those of progress left out.
func (h *heard) names() string {
	var out []string
	for _, e := range h.events {
		if e["event"] != "progress" {
			out = append(out, e["event"].(string))
		}
	}
	return strings.Join(out, " ")
}

func (h *heard) last(name string) map[string]any {
	for i := len(h.events) - 1; i >= 0; i-- {
		if h.events[i]["event"] == name {
			return h.events[i]
		}
	}
	return nil
}
