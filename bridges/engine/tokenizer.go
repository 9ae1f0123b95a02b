package engine

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Token types of tokenizer.ggml.token_type.
const (
	tokenNormal      = 1
	tokenUnknown     = 2
	tokenControl     = 3
	tokenUserDefined = 4
	tokenUnused      = 5
	tokenByte        = 6
)

// spaceMark stands for a space inside pieces.
const spaceMark = "\u2581"

// Tokenizer is the "llama" tokenizer of GGUF files: pieces are merged by score, and what no piece covers is spelt in
// bytes. It is immutable and safe for concurrent use.
type Tokenizer struct {
	pieces      []string // with spaces written out; "" for an unknown or unused piece's text is kept as stored
	kinds       []int64
	scores      []float64
	ids         map[string]int32 // mergeable pieces, with the space mark
	bytes       [256]int32       // -1: the vocabulary has no such byte
	special     []int32          // control, user-defined and unknown tokens, longest text first
	bos, eos    int32            // -1: none
	unknown     int32
	ends        map[int32]bool // tokens that end a generation
	addBOS      bool
	addEOS      bool
	spacePrefix bool
}

func newTokenizer(meta map[string]any) (*Tokenizer, error) {
	m := &metaReader{meta: meta}
	if model := m.str("tokenizer.ggml.model", ""); model != "llama" {
		return nil, fmt.Errorf("tokenizer %q is not supported, only \"llama\" (SentencePiece-style) is", model)
	}
	pieces := lookup[[]string](m, "tokenizer.ggml.tokens", nil)
	t := &Tokenizer{
		scores:      lookup[[]float64](m, "tokenizer.ggml.scores", nil),
		kinds:       lookup[[]int64](m, "tokenizer.ggml.token_type", nil),
		bos:         int32(m.integer("tokenizer.ggml.bos_token_id", 1)),
		eos:         int32(m.integer("tokenizer.ggml.eos_token_id", 2)),
		unknown:     int32(m.integer("tokenizer.ggml.unknown_token_id", 0)),
		addBOS:      m.boolean("tokenizer.ggml.add_bos_token", true),
		addEOS:      m.boolean("tokenizer.ggml.add_eos_token", false),
		spacePrefix: m.boolean("tokenizer.ggml.add_space_prefix", true),
		ids:         make(map[string]int32, len(pieces)),
		ends:        map[int32]bool{},
	}
	if m.err != nil {
		return nil, m.err
	}
	n := len(pieces)
	if n == 0 || len(t.scores) != n || len(t.kinds) != n {
		return nil, fmt.Errorf("tokenizer: %d tokens, %d scores, %d types; want as many of each", n, len(t.scores), len(t.kinds))
	}
	for name, id := range map[string]int32{"bos": t.bos, "eos": t.eos, "unknown": t.unknown} {
		if int(id) >= n || id < -1 {
			return nil, fmt.Errorf("tokenizer: %s token %d is not in the vocabulary of %d", name, id, n)
		}
	}
	for i := range t.bytes {
		t.bytes[i] = -1
	}
	for id, piece := range pieces {
		t.add(int32(id), piece)
	}
	t.ends[t.eos] = true
	t.endBy(m)
	slices.SortStableFunc(t.special, func(a, b int32) int { return cmp.Compare(len(t.pieces[b]), len(t.pieces[a])) })
	return t, m.err
}

func (t *Tokenizer) add(id int32, piece string) {
	t.pieces = append(t.pieces, piece)
	switch t.kinds[id] {
	case tokenByte:
		if len(piece) == 6 && strings.HasPrefix(piece, "<0x") {
			if b, err := strconv.ParseUint(piece[3:5], 16, 8); err == nil {
				t.bytes[b] = id
				t.pieces[id] = string([]byte{byte(b)})
			}
		}
		return
	case tokenControl, tokenUnknown:
		if piece != "" {
			t.special = append(t.special, id)
		}
		return
	case tokenUserDefined:
		if piece != "" {
			t.special = append(t.special, id)
		}
	}
	if _, twice := t.ids[piece]; !twice {
		t.ids[piece] = id
	}
	t.pieces[id] = strings.ReplaceAll(piece, spaceMark, " ")
}

// endBy collects the tokens besides EOS that end a turn, by the file's keys and by the names that model families use.
func (t *Tokenizer) endBy(m *metaReader) {
	for _, key := range []string{"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"} {
		if id := m.integer(key, -1); id >= 0 && id < int64(len(t.pieces)) {
			t.ends[int32(id)] = true
		}
	}
	for _, id := range t.special {
		switch t.pieces[id] {
		case "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>":
			t.ends[id] = true
		}
	}
}

// Size is the number of tokens in the vocabulary.
func (t *Tokenizer) Size() int { return len(t.pieces) }

// Encode turns text into tokens. addSpecial puts BOS (EOS) around it where the model wants that; parseSpecial reads the
// names of control tokens in the text as these tokens.
func (t *Tokenizer) Encode(text string, addSpecial, parseSpecial bool) []int32 {
	var out []int32
	if addSpecial && t.addBOS && t.bos >= 0 {
		out = append(out, t.bos)
	}
	afterSpecial := true
	for _, part := range t.split(text, parseSpecial) {
		if part.id >= 0 {
			out = append(out, part.id)
			afterSpecial = true
			continue
		}
		raw := part.text
		if t.spacePrefix && afterSpecial {
			raw = " " + raw
		}
		out = t.merge(out, strings.ReplaceAll(raw, " ", spaceMark))
		afterSpecial = false
	}
	if addSpecial && t.addEOS && t.eos >= 0 {
		out = append(out, t.eos)
	}
	return out
}

// fragment is plain text (id -1) or one special token.
type fragment struct {
	text string
	id   int32
}

// split cuts text at special tokens; longer names win over shorter ones wherever they stand. User-defined tokens are
// always found, control tokens only when asked.
func (t *Tokenizer) split(text string, parseSpecial bool) []fragment {
	if text == "" {
		return nil
	}
	parts := []fragment{{text: text, id: -1}}
	for _, id := range t.special {
		name := t.pieces[id]
		if !parseSpecial && t.kinds[id] != tokenUserDefined || !strings.Contains(text, name) {
			continue
		}
		var next []fragment
		for _, part := range parts {
			for part.id < 0 {
				before, after, found := strings.Cut(part.text, name)
				if !found {
					break
				}
				if before != "" {
					next = append(next, fragment{text: before, id: -1})
				}
				next = append(next, fragment{id: id})
				part.text = after
			}
			if part.id >= 0 || part.text != "" {
				next = append(next, part)
			}
		}
		parts = next
	}
	return parts
}

// symbol is a stretch of text in a doubly linked list; merging swallows the right neighbour.
type symbol struct {
	start, end int
	prev, next int
}

// pair is a possible merge of two neighbours. It is stale once either has changed, which its length betrays.
type pair struct {
	left, right int
	score       float64
	size        int
}

type pairHeap []pair

func (h pairHeap) Len() int      { return len(h) }
func (h pairHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *pairHeap) Push(x any)   { *h = append(*h, x.(pair)) }
func (h *pairHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// Less puts the best score first and, among equals, the leftmost.
func (h pairHeap) Less(i, j int) bool {
	if h[i].score != h[j].score {
		return h[i].score > h[j].score
	}
	return h[i].left < h[j].left
}

// merge appends the tokens of text (spaces already marked) to out.
func (t *Tokenizer) merge(out []int32, text string) []int32 {
	symbols := make([]symbol, 0, len(text))
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		symbols = append(symbols, symbol{i, i + n, len(symbols) - 1, len(symbols) + 1})
		i += n
	}
	if len(symbols) == 0 {
		return out
	}
	symbols[len(symbols)-1].next = -1
	queue := make(pairHeap, 0, len(symbols))
	consider := func(left, right int) {
		if left < 0 || right < 0 {
			return
		}
		a, b := symbols[left], symbols[right]
		if id, ok := t.ids[text[a.start:b.end]]; ok {
			heap.Push(&queue, pair{left, right, t.scores[id], b.end - a.start})
		}
	}
	for i := range len(symbols) - 1 {
		consider(i, i+1)
	}
	for queue.Len() > 0 {
		p := heap.Pop(&queue).(pair)
		a, b := &symbols[p.left], &symbols[p.right]
		if a.start == a.end || b.start == b.end || b.end-a.start != p.size {
			continue
		}
		a.end, a.next = b.end, b.next
		b.start = b.end
		if b.next >= 0 {
			symbols[b.next].prev = p.left
		}
		consider(a.prev, p.left)
		consider(p.left, a.next)
	}
	for i := 0; i >= 0; i = symbols[i].next {
		out = t.spell(out, text[symbols[i].start:symbols[i].end])
	}
	return out
}

// spell appends one piece's token, or its bytes when it is not a piece.
func (t *Tokenizer) spell(out []int32, piece string) []int32 {
	if id, ok := t.ids[piece]; ok {
		return append(out, id)
	}
	for i := range len(piece) {
		id := t.bytes[piece[i]]
		if id < 0 {
			id = t.unknown
		}
		if id >= 0 {
			out = append(out, id)
		}
	}
	return out
}

// Piece is the text that a token adds to an output, which may be part of a UTF-8 sequence. Control and unknown tokens
// show their name only when special is set. An id outside the vocabulary has no text.
func (t *Tokenizer) Piece(id int32, special bool) string {
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	if k := t.kinds[id]; (k == tokenControl || k == tokenUnknown || k == tokenUnused) && !special {
		return ""
	}
	return t.pieces[id]
}

// Decode joins the tokens' texts, with the names of control tokens.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(t.Piece(id, true))
	}
	return b.String()
}
