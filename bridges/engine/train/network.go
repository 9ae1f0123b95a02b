package train

import (
	"fmt"
	"math"

	"modelops/bridges/engine"
)

// tensor is one tensor of the network: rows by cols, a vector has one row. grad is nil for one that isn't trained.
type tensor[T real] struct {
	name       string
	rows, cols int
	w, grad    []T
}

func (t *tensor[T]) view() view[T]  { return dense(t.w, t.rows, t.cols) }
func (t *tensor[T]) gview() view[T] { return dense(t.grad, t.rows, t.cols) }

type layer[T real] struct {
	attnNorm, ffnNorm *tensor[T]
	q, k, v, o        *tensor[T]
	gate, up, down    *tensor[T]
}

// network computes losses and gradients of a batch. It isn't safe for concurrent use; its team is what runs in parallel.
type network[T real] struct {
	shape      engine.Shape
	cos, sin   []T // [position][pair]
	embedding  *tensor[T]
	outputNorm *tensor[T]
	output     *tensor[T] // the embedding itself when they are tied
	layers     []layer[T]
	tensors    []*tensor[T] // in the file's order
	team       *team[T]

	batch  *batch
	passes []pass[T] // per layer, what the backward pass needs of the forward one
	final  []T       // [token][width], after the last layer
	scratch[T]
}

// pass is what one layer computed, [token][...] each.
type pass[T real] struct {
	x, h, q, k, v, att, mid, h2, gate, up, act []T
	inv, inv2                                  []T // 1/rms
}

// scratch is memory of the backward pass and of the output.
type scratch[T real] struct {
	dx, dh, dq, dk, dv, dgate, dup []T
	state, inv, dstate             []T // [answer][width]: the normalised final states at answers
	logits                         []T // one chunk
	logSum                         []float64
}

// newNetwork builds the network on tensors by the names of the file, which it keeps and computes with.
func newNetwork[T real](shape engine.Shape, tensors []*tensor[T], threads int) (*network[T], error) {
	n := &network[T]{shape: shape, tensors: tensors, team: newTeam[T](threads), cos: widened[T](shape.Cos), sin: widened[T](shape.Sin)}
	byName := map[string]*tensor[T]{}
	for _, t := range tensors {
		byName[t.name] = t
	}
	var err error
	take := func(name string, rows, cols int) *tensor[T] {
		t := byName[name+".weight"]
		if t == nil || t.rows != rows || t.cols != cols || len(t.w) != rows*cols {
			err = fmt.Errorf("tensor %s.weight is missing or isn't %d by %d", name, rows, cols)
		}
		return t
	}
	q, kv := shape.Heads*shape.HeadSize, shape.KV*shape.HeadSize
	n.embedding = take("token_embd", shape.Vocab, shape.Width)
	for i := range shape.Layers {
		at := fmt.Sprintf("blk.%d.", i)
		n.layers = append(n.layers, layer[T]{
			attnNorm: take(at+"attn_norm", 1, shape.Width), ffnNorm: take(at+"ffn_norm", 1, shape.Width),
			q: take(at+"attn_q", q, shape.Width), k: take(at+"attn_k", kv, shape.Width), v: take(at+"attn_v", kv, shape.Width),
			o:    take(at+"attn_output", shape.Width, q),
			gate: take(at+"ffn_gate", shape.FFN, shape.Width), up: take(at+"ffn_up", shape.FFN, shape.Width), down: take(at+"ffn_down", shape.Width, shape.FFN),
		})
	}
	n.outputNorm = take("output_norm", 1, shape.Width)
	n.output = n.embedding
	if !shape.Tied {
		n.output = take("output", shape.Vocab, shape.Width)
	}
	n.passes = make([]pass[T], shape.Layers)
	return n, err
}

func widened[T real](from []float32) []T {
	out := make([]T, len(from))
	for i, v := range from {
		out[i] = T(v)
	}
	return out
}

// batch is some rows, one after the other without gaps.
type batch struct {
	tokens []int32 // what the network reads
	starts []int   // where each row begins, and the end
	at     []int   // the positions that predict a token of an answer
	want   []int32 // these tokens
	owner  []int   // the row of each
}

// newBatch joins rows. What follows the last token to be learnt isn't computed.
func newBatch(rows []row) *batch {
	b := &batch{starts: []int{0}}
	for i, r := range rows {
		last := 0
		for p, learn := range r.learn {
			if learn && p > 0 {
				last = p
				b.at = append(b.at, len(b.tokens)+p-1)
				b.want = append(b.want, r.tokens[p])
				b.owner = append(b.owner, i)
			}
		}
		b.tokens = append(b.tokens, r.tokens[:last]...)
		b.starts = append(b.starts, len(b.tokens))
	}
	return b
}

// grown gives n values of memory, the old ones when there are enough. Their content is arbitrary.
func grown[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// span is how many rows of a matrix one worker takes at a time where work isn't a product.
const span = 32

// rmsNorm writes x, scaled to a root mean square of one, times the weights, and the scales to inv.
func (n *network[T]) rmsNorm(dst, inv, x []T, weight *tensor[T]) {
	width := n.shape.Width
	n.team.spans(len(x)/width, span, func(from, to int) {
		for t := from; t < to; t++ {
			in, out := x[t*width:(t+1)*width], dst[t*width:(t+1)*width]
			var sum float64
			for _, v := range in {
				sum += float64(v) * float64(v)
			}
			scale := T(1 / math.Sqrt(sum/float64(width)+n.shape.Eps))
			inv[t] = scale
			for i, v := range in {
				out[i] = v * scale * weight.w[i]
			}
		}
	})
}

// rmsNormBack adds to dx what dy means for x, and to the gradient of the weights.
func (n *network[T]) rmsNormBack(dx, dy, x, inv []T, weight *tensor[T]) {
	width := n.shape.Width
	count := len(x) / width
	n.team.spans(count, span, func(from, to int) {
		for t := from; t < to; t++ {
			in, up, out := x[t*width:(t+1)*width], dy[t*width:(t+1)*width], dx[t*width:(t+1)*width]
			var sum float64
			for i, v := range in {
				sum += float64(v) * float64(up[i]) * float64(weight.w[i])
			}
			scale := inv[t]
			common := T(sum/float64(width)) * scale * scale * scale
			for i, v := range in {
				out[i] += up[i]*weight.w[i]*scale - v*common
			}
		}
	})
	if weight.grad == nil {
		return
	}
	n.team.spans(width, span, func(from, to int) { // each worker has columns of its own: one order for each sum
		for t := range count {
			in, up, scale := x[t*width:(t+1)*width], dy[t*width:(t+1)*width], inv[t]
			for i := from; i < to; i++ {
				weight.grad[i] += up[i] * in[i] * scale
			}
		}
	})
}
