package train

import "math"

// param is one array that is trained, with the two moments of its gradient.
type param[T real] struct {
	name       string
	w, grad    []T
	mean, vary []T // moving averages of the gradient and of its square
	decay      bool
}

func newParam[T real](name string, w, grad []T, decay bool) *param[T] {
	return &param[T]{name, w, grad, make([]T, len(w)), make([]T, len(w)), decay}
}

// Constants of AdamW, as in the reference trainer.
const (
	beta1, beta2 = 0.9, 0.98
	epsilon      = 1e-8
)

// piece is how many values of a parameter are summed or updated together. Sums of pieces are added in order, so that the
// result doesn't depend on who summed which.
const piece = 1 << 14

// pieces calls f for every piece of every parameter, with its number.
func pieces[T real](team *team[T], params []*param[T], f func(number int, p *param[T], from, to int)) int {
	type span struct {
		p        *param[T]
		from, to int
	}
	var all []span
	for _, p := range params {
		for from := 0; from < len(p.w); from += piece {
			all = append(all, span{p, from, min(len(p.w), from+piece)})
		}
	}
	if f != nil {
		team.each(len(all), func(_ *worker[T], i int) { f(i, all[i].p, all[i].from, all[i].to) })
	}
	return len(all)
}

// gradientNorm is the length of the gradient of all parameters together.
func gradientNorm[T real](team *team[T], params []*param[T]) float64 {
	sums := make([]float64, pieces(team, params, nil))
	pieces(team, params, func(number int, p *param[T], from, to int) {
		var sum float64
		for _, g := range p.grad[from:to] {
			sum += float64(g) * float64(g)
		}
		sums[number] = sum
	})
	var total float64
	for _, s := range sums {
		total += s
	}
	return math.Sqrt(total)
}

// update does AdamW's step number step (from 1) with gradients scaled by scale, and clears them.
func update[T real](team *team[T], params []*param[T], lr, decay, scale float64, step int) {
	rate := T(lr / (1 - math.Pow(beta1, float64(step))))
	root := T(1 / math.Sqrt(1-math.Pow(beta2, float64(step))))
	pieces(team, params, func(_ int, p *param[T], from, to int) {
		keep := T(1)
		if p.decay {
			keep = T(1 - lr*decay)
		}
		w, grad, mean, vary := p.w[from:to], p.grad[from:to], p.mean[from:to], p.vary[from:to]
		for i, g := range grad {
			g *= T(scale)
			m := beta1*mean[i] + (1-beta1)*g
			v := beta2*vary[i] + (1-beta2)*g*g
			mean[i], vary[i] = m, v
			w[i] = w[i]*keep - rate*m/(T(math.Sqrt(float64(v)))*root+epsilon)
		}
		clear(grad)
	})
}

// rateAt is the learning rate of a step (from 1): it rises over warmup steps, then falls to a tenth at the last one.
func rateAt(schedule string, peak float64, warmup, step, steps int) float64 {
	lr := peak * min(1, float64(step)/float64(max(1, warmup)))
	done := float64(step-1) / float64(steps)
	switch schedule {
	case "linear":
		lr *= 1 - 0.9*done
	case "cosine":
		lr *= 0.1 + 0.9*(1+math.Cos(math.Pi*done))/2
	}
	return lr
}
