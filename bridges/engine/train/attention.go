package train

import "math"

// queryBlock is how many queries of a row are compared with its keys at a time. The probabilities aren't kept for the
// backward pass but computed again, so that memory grows with the tokens and not with their square.
const queryBlock = 128

// heads are the views of one row's queries, keys and values for one head.
func (n *network[T]) head(x []T, heads, h, from, count int) view[T] {
	size, width := n.shape.HeadSize, heads*n.shape.HeadSize
	return view[T]{x[from*width+h*size:], count, size, width, 1}
}

// probabilities computes, for count queries from position first of a row, how each weighs the keys before it.
func (n *network[T]) probabilities(w *worker[T], q, k view[T], first int) view[T] {
	p := dense(grown(&w.scores[0], q.rows*k.rows), q.rows, k.rows)
	w.mul(p, q, k.transposed(), false)
	scale := 1 / math.Sqrt(float64(n.shape.HeadSize))
	for r := range p.rows {
		scores := p.v[r*p.cols : (r+1)*p.cols]
		seen := scores[:first+r+1]
		top := seen[0]
		for _, v := range seen {
			top = max(top, v)
		}
		var sum float64
		for i, v := range seen {
			e := math.Exp(float64(v-top) * scale)
			seen[i] = T(e)
			sum += e
		}
		for i := range seen {
			seen[i] = T(float64(seen[i]) / sum)
		}
		clear(scores[first+r+1:])
	}
	return p
}

// eachHead calls f for each row and each head of its keys, with the row's first token and length.
func (n *network[T]) eachHead(f func(w *worker[T], kv, start, length int)) {
	b := n.batch
	n.team.each((len(b.starts)-1)*n.shape.KV, func(w *worker[T], i int) {
		r, kv := i/n.shape.KV, i%n.shape.KV
		f(w, kv, b.starts[r], b.starts[r+1]-b.starts[r])
	})
}

// attend mixes the values of each row by the probabilities of its queries.
func (n *network[T]) attend(p *pass[T], out []T) {
	s := &n.shape
	group := s.Heads / s.KV
	n.eachHead(func(w *worker[T], kv, start, length int) {
		for h := kv * group; h < (kv+1)*group; h++ {
			for at := 0; at < length; at += queryBlock {
				count := min(queryBlock, length-at)
				k, v := n.head(p.k, s.KV, kv, start, at+count), n.head(p.v, s.KV, kv, start, at+count)
				weights := n.probabilities(w, n.head(p.q, s.Heads, h, start+at, count), k, at)
				w.mul(n.head(out, s.Heads, h, start+at, count), weights, v, false)
			}
		}
	})
}

// attendBack computes the gradients dq, dk and dv from datt, that of what attend wrote. Heads that share keys are taken one
// after the other by one worker, so that the sums have one order.
func (n *network[T]) attendBack(p *pass[T], datt, dq, dk, dv []T) {
	s := &n.shape
	group := s.Heads / s.KV
	scale := T(1 / math.Sqrt(float64(s.HeadSize)))
	n.eachHead(func(w *worker[T], kv, start, length int) {
		for h := kv * group; h < (kv+1)*group; h++ {
			for at := 0; at < length; at += queryBlock {
				count := min(queryBlock, length-at)
				keys := func(x []T) view[T] { return n.head(x, s.KV, kv, start, at+count) }
				queries := func(x []T) view[T] { return n.head(x, s.Heads, h, start+at, count) }
				weights := n.probabilities(w, queries(p.q), keys(p.k), at)
				w.mul(keys(dv), weights.transposed(), queries(datt), true)
				d := dense(grown(&w.scores[1], count*(at+count)), count, at+count)
				w.mul(d, queries(datt), keys(p.v).transposed(), false)
				softmaxBack(d, weights, scale)
				w.mul(queries(dq), d, keys(p.k), false)
				w.mul(keys(dk), d.transposed(), queries(p.q), true)
			}
		}
	})
}

// softmaxBack turns d, the gradients of the weights, into those of the scaled scores.
func softmaxBack[T real](d, weights view[T], scale T) {
	for r := range d.rows {
		row, w := d.v[r*d.cols:(r+1)*d.cols], weights.v[r*d.cols:(r+1)*d.cols]
		var sum float64
		for i, v := range row {
			sum += float64(v) * float64(w[i])
		}
		for i := range row {
			row[i] = w[i] * (row[i] - T(sum)) * scale
		}
	}
}
