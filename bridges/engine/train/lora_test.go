package train

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The gradients of adapters are the slopes of the loss, and what isn't trained stays as it is.
func TestAdapterGradientsAreSlopes(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	n := small[float64](t, rng, true, 2)
	l := newLearner(n, 3, 5, []string{"attn_q", "attn_v", "attn_output", "ffn_down"}, 1)
	if len(l.params) != 2*2*4 {
		t.Fatal(len(l.params), "parameters")
	}
	for _, p := range l.params { // B begins with zeros, which would hide A
		for i := range p.w {
			p.w[i] = rng.NormFloat64() / 4
		}
	}
	l.merge()
	b := newBatch(randomRows(rng, n.shape.Vocab, 9, 17))
	weights := mean(len(b.at))
	n.forward(b)
	n.backward(weights)
	l.collect()
	const step = 1e-5
	for _, p := range l.params {
		for range 6 {
			i := rng.IntN(len(p.w))
			at := func(v float64) float64 {
				was := p.w[i]
				p.w[i] = was + v
				l.merge()
				p.w[i] = was
				return weighed(n.forward(b), weights)
			}
			if slope := (at(step) - at(-step)) / (2 * step); math.Abs(slope-p.grad[i]) > 1e-6*max(1, math.Abs(slope)) {
				t.Errorf("%s[%d]: the gradient is %v, the loss's slope %v", p.name, i, p.grad[i], slope)
			}
		}
	}
}

// Adapters begin as nothing: the first merge leaves the model as it was, and only the targets ever change.
func TestAdaptersBeginAsNothing(t *testing.T) {
	n := small[float32](t, rand.New(rand.NewPCG(23, 24)), true, 1)
	var before [][]float32
	for _, p := range n.tensors {
		before = append(before, slices.Clone(p.w))
	}
	l := newLearner(n, 2, 16, []string{"ffn_up"}, 7)
	l.merge()
	for i, p := range n.tensors {
		if !slices.Equal(p.w, before[i]) {
			t.Fatal(p.name, "changed")
		}
	}
	examples := []*example{{chat: randomRows(rand.New(rand.NewPCG(1, 1)), 23, 12)[0]}}
	for step := range 3 {
		supervised(n, examples, 0)
		l.collect()
		update(n.team, l.params, 1e-2, 0, 1, step+1)
		l.merge()
	}
	for i, p := range n.tensors {
		trained := p.name == "blk.0.ffn_up.weight" || p.name == "blk.1.ffn_up.weight"
		if trained == (p.grad == nil) {
			t.Error(p.name, "has a gradient that nobody needs, or none")
		}
		if slices.Equal(p.w, before[i]) == trained {
			t.Error(p.name, "trained is", trained)
		}
	}
}

// The gradient of preferences is the slope of their loss, in one piece and in parts.
func TestPreferenceGradientsAreSlopes(t *testing.T) {
	rng := rand.New(rand.NewPCG(25, 26))
	n := small[float64](t, rng, false, 2)
	var pairs []*example
	var refs []reference
	for _, length := range []int{6, 11, 8} {
		rows := randomRows(rng, n.shape.Vocab, length, length+3)
		pairs = append(pairs, &example{chat: rows[0], rejected: &rows[1]})
		refs = append(refs, reference{-float64(length) * 2, -float64(length) * 3})
	}
	loss := func() float64 { return preferred(n, pairs, refs, 0.4, 0).loss }
	clearGradients := func() {
		for _, p := range n.tensors {
			clear(p.grad)
		}
	}
	whole := preferred(n, pairs, refs, 0.4, 0)
	var want [][]float64
	for _, p := range n.tensors {
		want = append(want, slices.Clone(p.grad))
	}
	clearGradients()
	if parts := preferred(n, pairs, refs, 0.4, 2); math.Abs(parts.loss-whole.loss) > 1e-12 || math.Abs(parts.metrics["margin"]-whole.metrics["margin"]) > 1e-12 {
		t.Error("parts give", parts, "and the whole", whole)
	}
	for k, p := range n.tensors {
		for i, g := range p.grad {
			if math.Abs(g-want[k][i]) > 1e-12 {
				t.Fatalf("%s[%d]: parts give %v, the whole %v", p.name, i, g, want[k][i])
			}
		}
	}
	const step = 1e-5
	for k, p := range n.tensors {
		for range 4 {
			i := rng.IntN(len(p.w))
			was := p.w[i]
			p.w[i] = was + step
			up := loss()
			p.w[i] = was - step
			slope := (up - loss()) / (2 * step)
			p.w[i] = was
			if math.Abs(slope-want[k][i]) > 1e-6*max(1, math.Abs(slope)) {
				t.Errorf("%s[%d]: the gradient is %v, the loss's slope %v", p.name, i, want[k][i], slope)
			}
		}
	}
}

func TestSoftplus(t *testing.T) {
	for x, want := range map[float64]float64{0: math.Ln2, 1000: 1000, -1000: 0, 2: math.Log(1 + math.Exp(2))} {
		if got := softplus(x); math.Abs(got-want) > 1e-12 {
			t.Errorf("softplus(%v) = %v", x, got)
		}
	}
}

// Decay shrinks matrices by rate times decay in each step, and leaves vectors alone.
func TestDecay(t *testing.T) {
	matrix, vector := newParam("m", []float64{2}, make([]float64, 1), true), newParam("v", []float64{2}, make([]float64, 1), false)
	update(newTeam[float64](1), []*param[float64]{matrix, vector}, 0.1, 0.5, 1, 1)
	if math.Abs(matrix.w[0]-2*0.95) > 1e-15 || vector.w[0] != 2 {
		t.Error(matrix.w, vector.w)
	}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		schedule     string
		warmup, step int
		want         float64
	}{{"constant", 0, 1, 1}, {"constant", 4, 1, 0.25}, {"constant", 4, 100, 1}, {"linear", 0, 1, 1}, {"linear", 0, 51, 0.55}, {"linear", 0, 100, 0.109},
		{"cosine", 0, 1, 1}, {"cosine", 0, 51, 0.55}, {"cosine", 10, 5, 0.5 * (0.1 + 0.45*(1+math.Cos(math.Pi*0.04)))}} {
		if got := rateAt(c.schedule, 1, c.warmup, c.step, 100); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
