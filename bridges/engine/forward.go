package engine

import "math"

// batch is how many prompt tokens are evaluated together. Larger does not help a small model, and cancellation is seen
// once a batch.
const batch = 32

// sequence is the memory of one running text: the keys and values of its tokens, and scratch space. Not safe for
// concurrent use.
type sequence struct {
	tokens []int32     // what the cache holds, in order
	keys   [][]float32 // [layer][position*kv*headSize]
	values [][]float32
	logits []float32 // after the last token evaluated

	x, h, q, att []float32 // [token][width] or [token][heads*headSize]
	gate, up     []float32 // [token][ffn]
	scores       []float32 // [position]
	rows         []float32 // four widened rows
}

func newSequence(m *Model) *sequence {
	s := &sequence{
		logits: make([]float32, m.Tokens.Size()),
		x:      make([]float32, batch*m.Width), h: make([]float32, batch*m.Width),
		q: make([]float32, batch*m.heads*m.headSize), att: make([]float32, batch*m.heads*m.headSize),
		gate: make([]float32, batch*m.ffn), up: make([]float32, batch*m.ffn),
		rows: make([]float32, 4*max(m.Width, m.ffn, m.heads*m.headSize)),
	}
	for range m.layers {
		s.keys = append(s.keys, make([]float32, m.Context*m.kv*m.headSize))
		s.values = append(s.values, make([]float32, m.Context*m.kv*m.headSize))
	}
	return s
}

// keep forgets all but the longest prefix that the cache shares with tokens, and returns its length.
func (s *sequence) keep(tokens []int32) int {
	n := shared(s.tokens, tokens)
	s.tokens = s.tokens[:n]
	return n
}

func shared(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// eval appends at most batch tokens to the sequence and leaves their final hidden states, normalised, in s.h. The caller
// sees to it that ids are in the vocabulary and that the context has room.
func (m *Model) eval(s *sequence, tokens []int32) {
	n, pos := len(tokens), len(s.tokens)
	for t, id := range tokens {
		copy(s.x[t*m.Width:(t+1)*m.Width], m.embedding.row(int(id), 1, s.rows))
	}
	for i := range m.layers {
		m.attention(s, i, n, pos)
		m.feedForward(s, i, n)
	}
	for t := range n {
		rmsNorm(s.h[t*m.Width:(t+1)*m.Width], s.x[t*m.Width:(t+1)*m.Width], m.outputNorm, m.eps)
	}
	s.tokens = append(s.tokens, tokens...)
}

// predict fills s.logits from the n-th hidden state (counted from zero) of the last eval.
func (m *Model) predict(s *sequence, n int) {
	m.output.mul(s.logits, s.h[n*m.Width:(n+1)*m.Width], 1, s.rows)
}

func (m *Model) attention(s *sequence, index, n, pos int) {
	l := &m.layers[index]
	width := m.kv * m.headSize
	keys, values := s.keys[index], s.values[index]
	m.norm(s, n, l.attnNorm)
	l.q.mul(s.q, s.h, n, s.rows)
	l.k.mul(keys[pos*width:], s.h, n, s.rows)
	l.v.mul(values[pos*width:], s.h, n, s.rows)
	for t := range n {
		m.rotate(s.q[t*m.heads*m.headSize:], m.heads, pos+t)
		roundHalf(s.q[t*m.heads*m.headSize : (t+1)*m.heads*m.headSize])
		m.rotate(keys[(pos+t)*width:], m.kv, pos+t)
		roundHalf(keys[(pos+t)*width : (pos+t+1)*width])
		roundHalf(values[(pos+t)*width : (pos+t+1)*width])
		for h := range m.heads {
			at := (t*m.heads + h) * m.headSize
			m.attend(s.att[at:at+m.headSize], s.q[at:at+m.headSize], keys, values, h*m.kv/m.heads, pos+t+1)
		}
	}
	l.o.mul(s.h, s.att, n, s.rows)
	addScaled(s.x[:n*m.Width], s.h[:n*m.Width], 1)
}

// attend mixes the first count values of one key-value head by how well their keys match q. The running sum is rounded to
// half precision at every step and rescaled when a larger score turns up: that is what the reference engine does for short
// prompts and single tokens, and it is worth up to 0.003 in a log-probability.
func (m *Model) attend(out, q, keys, values []float32, head, count int) {
	scale := float32(1 / math.Sqrt(float64(m.headSize)))
	stride, at := m.kv*m.headSize, head*m.headSize
	clear(out)
	top, sum := float32(math.Inf(-1)), float32(0)
	for p := range count {
		k := keys[p*stride+at:]
		v := values[p*stride+at:]
		score, weight := dot(q, k[:len(q)])*scale, float32(1)
		if score > top {
			shrink := exp32(top - score)
			top = score
			sum = sum*shrink + 1
			scaleHalf(out, shrink)
		} else {
			weight = exp32(score - top)
			sum += weight
		}
		addScaledHalf(out, v[:len(out)], weight)
	}
	for i := range out {
		out[i] /= sum
	}
}

// rotate turns neighbouring pairs of each head by the position's angles.
func (m *Model) rotate(x []float32, heads, pos int) {
	pairs := m.rotated / 2
	cos, sin := m.cos[pos*pairs:(pos+1)*pairs], m.sin[pos*pairs:(pos+1)*pairs]
	for h := range heads {
		v := x[h*m.headSize : h*m.headSize+m.rotated]
		for i := range pairs {
			a, b := v[2*i], v[2*i+1]
			v[2*i], v[2*i+1] = a*cos[i]-b*sin[i], a*sin[i]+b*cos[i]
		}
	}
}

func (m *Model) feedForward(s *sequence, index, n int) {
	l := &m.layers[index]
	m.norm(s, n, l.ffnNorm)
	l.gate.mul(s.gate, s.h, n, s.rows)
	l.up.mul(s.up, s.h, n, s.rows)
	gate, up := s.gate[:n*m.ffn], s.up[:n*m.ffn]
	for i, g := range gate {
		gate[i] = g / (1 + exp32(-g)) * up[i]
	}
	l.down.mul(s.h, gate, n, s.rows)
	addScaled(s.x[:n*m.Width], s.h[:n*m.Width], 1)
}

func (m *Model) norm(s *sequence, n int, weight []float32) {
	for t := range n {
		rmsNorm(s.h[t*m.Width:(t+1)*m.Width], s.x[t*m.Width:(t+1)*m.Width], weight, m.eps)
	}
}
