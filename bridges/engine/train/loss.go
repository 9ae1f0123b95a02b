package train

import "math"

// logitValues is how many logits are held at a time. They aren't kept for the backward pass: with a large vocabulary they
// would be most of the memory.
const logitValues = 4 << 20

// chunks calls f for pieces of the batch's answers, in order.
func (n *network[T]) chunks(f func(from, to int)) {
	size := max(1, logitValues/n.shape.Vocab)
	for from := 0; from < len(n.batch.at); from += size {
		f(from, min(len(n.batch.at), from+size))
	}
}

// predict computes the logits of answers from..to.
func (n *network[T]) predict(from, to int) []T {
	s := &n.shape
	logits := grown(&n.logits, (to-from)*s.Vocab)
	n.linear(logits, n.state[from*s.Width:to*s.Width], n.output)
	return logits
}

// losses predicts the answers from the last layer's output.
func (n *network[T]) losses() []float64 {
	s, answers := &n.shape, len(n.batch.at)
	n.dstate = grown(&n.dstate, answers*s.Width) // the final states at answers, until backward needs the memory
	for i, t := range n.batch.at {
		copy(n.dstate[i*s.Width:(i+1)*s.Width], n.final[t*s.Width:])
	}
	n.rmsNorm(grown(&n.state, answers*s.Width), grown(&n.scratch.inv, answers), n.dstate, n.outputNorm)
	out, logSum := make([]float64, answers), grown(&n.logSum, answers)
	n.chunks(func(from, to int) {
		logits := n.predict(from, to)
		n.team.spans(to-from, 1, func(i, _ int) {
			l := logits[i*s.Vocab : (i+1)*s.Vocab]
			top := l[0]
			for _, v := range l {
				top = max(top, v)
			}
			var sum float64
			for _, v := range l {
				sum += math.Exp(float64(v - top))
			}
			logSum[from+i] = float64(top) + math.Log(sum)
			out[from+i] = logSum[from+i] - float64(l[n.batch.want[from+i]])
		})
	})
	return out
}

// lossesBack begins the backward pass: dx becomes the gradient of the last layer's output, for a loss that is the sum of
// the answers' losses times weights.
func (n *network[T]) lossesBack(dx []T, weights []float64) {
	s, answers := &n.shape, len(n.batch.at)
	dstate := grown(&n.dstate, answers*s.Width)
	n.chunks(func(from, to int) {
		logits := n.predict(from, to)
		n.team.spans(to-from, 1, func(i, _ int) {
			l := logits[i*s.Vocab : (i+1)*s.Vocab]
			for j, v := range l {
				l[j] = T(math.Exp(float64(v)-n.logSum[from+i]) * weights[from+i])
			}
			l[n.batch.want[from+i]] -= T(weights[from+i])
		})
		d := dense(logits, to-from, s.Vocab)
		n.team.mul(dense(dstate[from*s.Width:to*s.Width], to-from, s.Width), d, n.output.view(), false)
		if n.output.grad != nil {
			n.team.mul(n.output.gview(), d.transposed(), dense(n.state[from*s.Width:to*s.Width], to-from, s.Width), true)
		}
	})
	last := make([]T, answers*s.Width)
	for i, t := range n.batch.at {
		copy(last[i*s.Width:(i+1)*s.Width], n.final[t*s.Width:])
	}
	dlast := make([]T, answers*s.Width)
	n.rmsNormBack(dlast, dstate, last, n.scratch.inv, n.outputNorm)
	clear(dx)
	for i, t := range n.batch.at {
		copy(dx[t*s.Width:(t+1)*s.Width], dlast[i*s.Width:(i+1)*s.Width])
	}
}
