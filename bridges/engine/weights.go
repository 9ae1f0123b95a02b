package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
)

// Weights is a model taken apart for a trainer. The values of Tensors are the Model's own: what a trainer writes into
// them is what Model.Greedy and Model.Chat use next. Nothing may be written while these run.
type Weights struct {
	Model   *Model
	Shape   Shape
	Tensors []Tensor // in the file's order
	Entries []Entry  // the metadata, in the file's order
}

// Shape is what a trainer has to know of the network. Cos and Sin are the rotations by position and pair:
// Cos[position*Rotated/2 + pair].
type Shape struct {
	Vocab, Width, Layers, FFN    int
	Heads, KV, HeadSize, Rotated int
	Context                      int // tokens a sequence may have
	Eps                          float64
	Cos, Sin                     []float32
	Tied                         bool // the embedding is the output matrix too
}

// Tensor is one tensor of the file. Dims are innermost first. Values is nil for a tensor that the engine doesn't use; Raw
// then holds its bytes, of the storage type Kind.
type Tensor struct {
	Name   string
	Dims   []int64
	Values []float32
	Kind   uint32
	Raw    []byte
}

// Entry is one entry of the metadata; Raw is its bytes in the file: key, type and value.
type Entry struct {
	Key string
	Raw []byte
}

// maxEntry is how large one entry of the metadata may be to be kept, in bytes. A vocabulary of a million tokens has 32 MB.
const maxEntry = 256 << 20

// OpenWeights reads a model with all its values widened to float32. contextLength caps the model's own (0: 4096 at most).
func OpenWeights(ctx context.Context, path string, contextLength int) (*Weights, error) {
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
	file, err := parseGGUF(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	m, err := loadFile(ctx, file, st.Size(), contextLength, math.MaxInt64, nil)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	w := &Weights{Model: m, Shape: m.trainingShape()}
	if err := w.keep(file); err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return w, nil
}

func (m *Model) trainingShape() Shape {
	return Shape{Vocab: m.Tokens.Size(), Width: m.Width, Layers: len(m.layers), FFN: m.ffn, Heads: m.heads, KV: m.kv, HeadSize: m.headSize,
		Rotated: m.rotated, Context: m.Context, Eps: m.eps, Cos: m.cos, Sin: m.sin, Tied: &m.output.dense[0] == &m.embedding.dense[0]}
}

// keep remembers what a file needs to be written again: entries and tensors in their order.
func (w *Weights) keep(f *ggufFile) error {
	for _, e := range f.entries {
		if e.to-e.from > maxEntry {
			return fmt.Errorf("metadata %s has %d bytes, at most %d can be kept", e.key, e.to-e.from, maxEntry)
		}
		raw := make([]byte, e.to-e.from)
		if _, err := f.src.ReadAt(raw, e.from); err != nil {
			return fmt.Errorf("metadata %s: %w", e.key, err)
		}
		w.Entries = append(w.Entries, Entry{e.key, raw})
	}
	used := w.Model.named()
	for _, name := range f.order {
		info := f.tensors[name]
		t := Tensor{Name: name, Dims: info.dims, Values: used[name], Kind: uint32(info.kind)}
		if t.Values == nil {
			t.Raw = make([]byte, info.size)
			if _, err := f.src.ReadAt(t.Raw, info.offset); err != nil {
				return fmt.Errorf("tensor %q: %w", name, err)
			}
		}
		w.Tensors = append(w.Tensors, t)
	}
	return nil
}

// named are the values that the model computes with, by the names of the file.
func (m *Model) named() map[string][]float32 {
	out := map[string][]float32{"token_embd.weight": m.embedding.dense, "output_norm.weight": m.outputNorm}
	if &m.output.dense[0] != &m.embedding.dense[0] {
		out["output.weight"] = m.output.dense
	}
	for i, l := range m.layers {
		for name, values := range map[string][]float32{"attn_norm": l.attnNorm, "ffn_norm": l.ffnNorm, "attn_q": l.q.dense, "attn_k": l.k.dense,
			"attn_v": l.v.dense, "attn_output": l.o.dense, "ffn_gate": l.gate.dense, "ffn_up": l.up.dense, "ffn_down": l.down.dense} {
			out[fmt.Sprintf("blk.%d.%s.weight", i, name)] = values
		}
	}
	return out
}

// Turn is one message of a chat.
type Turn struct{ Role, Content string }

// Template is a model's chat template, ready to render.
type Template struct {
	parsed *chatTemplate
	tokens *Tokenizer
}

// ChatTemplate parses the model's template, or ChatML where the file has none.
func (m *Model) ChatTemplate() (*Template, error) {
	text := m.Template
	if text == "" {
		text = chatML
	}
	parsed, err := parseTemplate(text)
	if err != nil {
		return nil, fmt.Errorf("the model's chat template can't be used: %w", err)
	}
	return &Template{parsed, m.Tokens}, nil
}

// Render writes a chat as the engine shows it to the model; generate adds the beginning of an answer. A BOS that the
// tokenizer adds by itself is left out.
func (t *Template) Render(turns []Turn, generate bool) (string, error) {
	messages := make([]any, len(turns))
	for i, turn := range turns {
		messages[i] = map[string]any{"role": turn.Role, "content": turn.Content}
	}
	tok := t.tokens
	text, err := t.parsed.render(map[string]any{"messages": messages, "bos_token": tok.Piece(tok.bos, true), "eos_token": tok.Piece(tok.eos, true),
		"add_generation_prompt": generate})
	if err != nil {
		return "", fmt.Errorf("the chat template: %w", err)
	}
	if tok.addBOS {
		text = strings.TrimPrefix(text, tok.Piece(tok.bos, true))
	}
	return text, nil
}

// Ends tells whether a token ends an answer.
func (t *Tokenizer) Ends(id int32) bool { return t.ends[id] }

// Answerer answers prompts one after the other, always with the likeliest token, in one cache. It isn't safe for
// concurrent use.
type Answerer struct {
	model *Model
	seq   *sequence
}

// NewAnswerer makes one. It is made anew when the weights have changed, because the cache belongs to them.
func (m *Model) NewAnswerer() *Answerer { return &Answerer{m, newSequence(m)} }

// Greedy returns the text of the likeliest answer to a prompt, without the token that ends it. It has at most limit tokens.
func (a *Answerer) Greedy(ctx context.Context, prompt []int32, limit int) (string, error) {
	m, s := a.model, a.seq
	if len(prompt) == 0 || len(prompt) > m.Context {
		return "", errors.New("the prompt is empty or longer than the context")
	}
	s.tokens = s.tokens[:min(s.keep(prompt), len(prompt)-1)]
	for next := prompt[len(s.tokens):]; len(next) > 0; {
		n := min(batch, len(next))
		if err := ctx.Err(); err != nil {
			return "", err
		}
		m.eval(s, next[:n])
		if next = next[n:]; len(next) == 0 {
			m.predict(s, n-1)
		}
	}
	var text strings.Builder
	for range limit {
		id := likeliest(s.logits)
		if m.Tokens.Ends(id) {
			break
		}
		text.WriteString(m.Tokens.Piece(id, false))
		if len(s.tokens) >= m.Context {
			break
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		m.eval(s, []int32{id})
		m.predict(s, 0)
	}
	return text.String(), nil
}
