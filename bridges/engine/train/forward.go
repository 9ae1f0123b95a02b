package train

import "math"

// forward computes the loss of each token of the batch's answers: its negative log-probability, in nats.
func (n *network[T]) forward(b *batch) []float64 {
	n.batch = b
	s, tokens := &n.shape, len(b.tokens)
	x := n.into(0, tokens)
	for t, id := range b.tokens {
		copy(x[t*s.Width:(t+1)*s.Width], n.embedding.w[int(id)*s.Width:])
	}
	for i := range n.layers {
		next := n.into(i+1, tokens)
		n.layerForward(&n.layers[i], &n.passes[i], next, tokens)
	}
	return n.losses()
}

// into is where layer i reads its input: the output of the one before.
func (n *network[T]) into(i, tokens int) []T {
	if i == len(n.layers) {
		return grown(&n.final, tokens*n.shape.Width)
	}
	return grown(&n.passes[i].x, tokens*n.shape.Width)
}

func (n *network[T]) layerForward(l *layer[T], p *pass[T], out []T, tokens int) {
	s := &n.shape
	q, kv := s.Heads*s.HeadSize, s.KV*s.HeadSize
	h := grown(&p.h, tokens*s.Width)
	n.rmsNorm(h, grown(&p.inv, tokens), p.x, l.attnNorm)
	n.linear(grown(&p.q, tokens*q), h, l.q)
	n.linear(grown(&p.k, tokens*kv), h, l.k)
	n.linear(grown(&p.v, tokens*kv), h, l.v)
	n.rotate(p.q, s.Heads, 1)
	n.rotate(p.k, s.KV, 1)
	n.attend(p, grown(&p.att, tokens*q))
	mid := grown(&p.mid, tokens*s.Width)
	copy(mid, p.x)
	n.addLinear(mid, p.att, l.o)

	h2 := grown(&p.h2, tokens*s.Width)
	n.rmsNorm(h2, grown(&p.inv2, tokens), mid, l.ffnNorm)
	n.linear(grown(&p.gate, tokens*s.FFN), h2, l.gate)
	n.linear(grown(&p.up, tokens*s.FFN), h2, l.up)
	act := grown(&p.act, tokens*s.FFN)
	n.team.spans(tokens, span, func(from, to int) {
		for i := from * s.FFN; i < to*s.FFN; i++ {
			act[i] = p.gate[i] * sigmoid(p.gate[i]) * p.up[i]
		}
	})
	copy(out, mid)
	n.addLinear(out, act, l.down)
}

func sigmoid[T real](x T) T { return T(1 / (1 + math.Exp(-float64(x)))) }

// linear computes y = x W^T for every token.
func (n *network[T]) linear(y, x []T, w *tensor[T]) {
	tokens := len(x) / w.cols
	n.team.mul(dense(y, tokens, w.rows), dense(x, tokens, w.cols), w.view().transposed(), false)
}

func (n *network[T]) addLinear(y, x []T, w *tensor[T]) {
	tokens := len(x) / w.cols
	n.team.mul(dense(y, tokens, w.rows), dense(x, tokens, w.cols), w.view().transposed(), true)
}

// rotate turns neighbouring pairs of each head by the angles of the token's position in its row; direction -1 turns back.
func (n *network[T]) rotate(x []T, heads int, direction T) {
	s, b := &n.shape, n.batch
	pairs, width := s.Rotated/2, heads*s.HeadSize
	n.team.each(len(b.starts)-1, func(_ *worker[T], r int) {
		for t := b.starts[r]; t < b.starts[r+1]; t++ {
			pos := t - b.starts[r]
			cos, sin := n.cos[pos*pairs:(pos+1)*pairs], n.sin[pos*pairs:(pos+1)*pairs]
			for h := range heads {
				v := x[t*width+h*s.HeadSize:]
				for i := range pairs {
					a, c, turn := v[2*i], v[2*i+1], sin[i]*direction
					v[2*i], v[2*i+1] = a*cos[i]-c*turn, a*turn+c*cos[i]
				}
			}
		}
	})
}
