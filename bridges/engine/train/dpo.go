package train

import "math"

// reference are the log-probabilities that the model gave to the two answers of a pair before it was trained.
type reference struct{ chosen, rejected float64 }

// logProbabilities sums the answers of each row of a batch.
func logProbabilities(b *batch, losses []float64) []float64 {
	out := make([]float64, len(b.starts)-1)
	for i, loss := range losses {
		out[b.owner[i]] -= loss
	}
	return out
}

// references computes those of all pairs. They are computed again when a run is resumed: from the same model they are the same.
func references[T real](n *network[T], examples []example, limit int, stop func() bool) []reference {
	out := make([]reference, 0, len(examples))
	all := make([]*example, len(examples))
	for i := range examples {
		all[i] = &examples[i]
	}
	for _, part := range parts(all, limit) {
		if stop() {
			return nil
		}
		b := joined(part)
		logs := logProbabilities(b, n.forward(b))
		for i := range part {
			out = append(out, reference{logs[2*i], logs[2*i+1]})
		}
	}
	return out
}

// preferred adds the gradient of the mean loss of direct preference optimisation: -log sigmoid(beta * margin), where the
// margin is by how much more than the reference the model prefers the chosen answer.
func preferred[T real](n *network[T], examples []*example, refs []reference, beta float64, limit int) outcome {
	out := outcome{metrics: map[string]float64{"accuracy": 0, "margin": 0}}
	each := 1 / float64(len(examples))
	for _, part := range parts(examples, limit) {
		b := joined(part)
		logs := logProbabilities(b, n.forward(b))
		pull := make([]float64, len(logs)) // the loss's slope along the sum of a row's losses
		for i := range part {
			margin := (logs[2*i] - refs[0].chosen) - (logs[2*i+1] - refs[0].rejected)
			refs = refs[1:]
			out.loss += each * softplus(-beta*margin)
			out.metrics["margin"] += each * beta * margin
			if margin > 0 {
				out.metrics["accuracy"] += each
			}
			slope := each * beta / (1 + math.Exp(beta*margin))
			pull[2*i], pull[2*i+1] = slope, -slope
		}
		weights := make([]float64, len(b.at))
		for i := range weights {
			weights[i] = pull[b.owner[i]]
		}
		n.backward(weights)
		out.tokens += len(b.tokens)
	}
	return out
}

// softplus is log(1+e^x), also for a large x.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
