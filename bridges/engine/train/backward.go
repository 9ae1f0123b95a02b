package train

// backward adds to the gradients of all trained tensors those of the last forward's losses, each times its weight.
func (n *network[T]) backward(weights []float64) {
	s, b := &n.shape, n.batch
	dx := grown(&n.dx, len(b.tokens)*s.Width)
	n.lossesBack(dx, weights)
	for i := len(n.layers) - 1; i >= 0; i-- {
		n.feedForwardBack(&n.layers[i], &n.passes[i], dx)
		n.attentionBack(&n.layers[i], &n.passes[i], dx)
	}
	if grad := n.embedding.grad; grad != nil {
		for t, id := range b.tokens { // the same token may come often: one order
			to := grad[int(id)*s.Width : (int(id)+1)*s.Width]
			for i, v := range dx[t*s.Width : (t+1)*s.Width] {
				to[i] += v
			}
		}
	}
}

// feedForwardBack turns dx from the gradient of the layer's output into that of its middle.
func (n *network[T]) feedForwardBack(l *layer[T], p *pass[T], dx []T) {
	s, tokens := &n.shape, len(n.batch.tokens)
	dgate, dup := grown(&n.dgate, tokens*s.FFN), grown(&n.dup, tokens*s.FFN)
	n.linearBack(dup, dx, p.act, l.down, false)
	n.team.spans(tokens, span, func(from, to int) {
		for i := from * s.FFN; i < to*s.FFN; i++ {
			d, g := dup[i], p.gate[i]
			on := sigmoid(g)
			dup[i] = d * g * on
			dgate[i] = d * p.up[i] * on * (1 + g*(1-on))
		}
	})
	dh := grown(&n.dh, tokens*s.Width)
	n.linearBack(dh, dgate, p.h2, l.gate, false)
	n.linearBack(dh, dup, p.h2, l.up, true)
	n.rmsNormBack(dx, dh, p.mid, p.inv2, l.ffnNorm)
}

// attentionBack turns dx from the gradient of the layer's middle into that of its input.
func (n *network[T]) attentionBack(l *layer[T], p *pass[T], dx []T) {
	s, tokens := &n.shape, len(n.batch.tokens)
	q, kv := s.Heads*s.HeadSize, s.KV*s.HeadSize
	datt, dq := grown(&n.dgate, tokens*q), grown(&n.dq, tokens*q)
	dk, dv := grown(&n.dk, tokens*kv), grown(&n.dv, tokens*kv)
	clear(dk)
	clear(dv)
	n.linearBack(datt, dx, p.att, l.o, false)
	n.attendBack(p, datt, dq, dk, dv)
	n.rotate(dq, s.Heads, -1)
	n.rotate(dk, s.KV, -1)
	dh := grown(&n.dh, tokens*s.Width)
	n.linearBack(dh, dq, p.h, l.q, false)
	n.linearBack(dh, dk, p.h, l.k, true)
	n.linearBack(dh, dv, p.h, l.v, true)
	n.rmsNormBack(dx, dh, p.x, p.inv, l.attnNorm)
}

// linearBack is linear backwards: dx becomes (or, with add, grows by) what dy means for x, and so does the weights' gradient.
func (n *network[T]) linearBack(dx, dy, x []T, w *tensor[T], add bool) {
	tokens := len(x) / w.cols
	d := dense(dy, tokens, w.rows)
	n.team.mul(dense(dx, tokens, w.cols), d, w.view(), add)
	if w.grad != nil {
		n.team.mul(w.gview(), d.transposed(), dense(x, tokens, w.cols), true)
	}
}
