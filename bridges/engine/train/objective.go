package train

import (
	"math"
	"math/rand/v2"
)

// Streams of random numbers. Each has its own, so that a change of one draws nothing from another.
const (
	orderStream   = 1
	adapterStream = 2
)

// tokensAtOnce bounds the memory of a pass: a batch with more is computed in parts, whose gradients are added.
const tokensAtOnce = 4096

// outcome is what one step found.
type outcome struct {
	loss    float64
	tokens  int // read
	metrics map[string]float64
}

// parts cuts a batch into pieces of at most limit examples (0: any) and about tokensAtOnce tokens.
func parts(examples []*example, limit int) (out [][]*example) {
	tokens := 0
	for _, e := range examples {
		n := 0
		for _, r := range e.rows() {
			n += len(r.tokens)
		}
		if last := len(out) - 1; last < 0 || limit > 0 && len(out[last]) >= limit || tokens+n > tokensAtOnce {
			out, tokens = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], e)
		tokens += n
	}
	return out
}

func joined(examples []*example) *batch {
	var rows []row
	for _, e := range examples {
		rows = append(rows, e.rows()...)
	}
	return newBatch(rows)
}

// supervised adds the gradient of the mean loss of all answer tokens of a batch, as if it were computed in one piece.
func supervised[T real](n *network[T], examples []*example, limit int) outcome {
	answers := 0
	for _, e := range examples {
		answers += e.chat.answers()
	}
	var out outcome
	for _, part := range parts(examples, limit) {
		b := joined(part)
		weights := make([]float64, len(b.at))
		for i := range weights {
			weights[i] = 1 / float64(answers)
		}
		for i, loss := range n.forward(b) {
			out.loss += loss * weights[i]
		}
		n.backward(weights)
		out.tokens += len(b.tokens)
	}
	return out
}

// order is the data in the order in which it is learnt: each epoch all of it, shuffled by the seed and the epoch's number. So
// the position alone says what comes next, and nothing more has to be kept.
type order struct {
	seed  uint64
	rows  int
	epoch int
	perm  []int
}

func (o *order) at(position int) int {
	if epoch := position / o.rows; o.perm == nil || epoch != o.epoch {
		o.epoch = epoch
		o.perm = rand.New(rand.NewPCG(o.seed, orderStream+uint64(epoch)<<8)).Perm(o.rows)
	}
	return o.perm[position%o.rows]
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
