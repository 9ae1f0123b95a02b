package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modelops/bridges/engine"
)

// small is a network of random weights, with the rotations that the engine would make.
func small[T real](t require, rng *rand.Rand, tied bool, threads int) *network[T] {
	s := engine.Shape{Vocab: 23, Width: 16, Layers: 2, FFN: 20, Heads: 4, KV: 2, HeadSize: 4, Rotated: 4, Context: 300, Eps: 1e-5, Tied: tied}
	for pos := range s.Context {
		for pair := range s.Rotated / 2 {
			sin, cos := math.Sincos(float64(pos) * math.Pow(100, -2*float64(pair)/float64(s.Rotated)))
			s.Sin, s.Cos = append(s.Sin, float32(sin)), append(s.Cos, float32(cos))
		}
	}
	var tensors []*tensor[T]
	add := func(name string, rows, cols int) {
		w := random[T](rng, rows*cols)
		for i := range w {
			if rows == 1 {
				w[i] = 1 + w[i]/4
			} else {
				w[i] /= T(math.Sqrt(float64(cols)))
			}
		}
		tensors = append(tensors, &tensor[T]{name + ".weight", rows, cols, w, make([]T, len(w))})
	}
	add("token_embd", s.Vocab, s.Width)
	for i := range s.Layers {
		at := fmt.Sprintf("blk.%d.", i)
		add(at+"attn_norm", 1, s.Width)
		add(at+"attn_q", s.Heads*s.HeadSize, s.Width)
		add(at+"attn_k", s.KV*s.HeadSize, s.Width)
		add(at+"attn_v", s.KV*s.HeadSize, s.Width)
		add(at+"attn_output", s.Width, s.Heads*s.HeadSize)
		add(at+"ffn_norm", 1, s.Width)
		add(at+"ffn_gate", s.FFN, s.Width)
		add(at+"ffn_up", s.FFN, s.Width)
		add(at+"ffn_down", s.Width, s.FFN)
	}
	add("output_norm", 1, s.Width)
	if !tied {
		add("output", s.Vocab, s.Width)
	}
	n, err := newNetwork(s, tensors, threads)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// require is what *testing.T and *rapid.T share.
type require interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// randomRows are chats of random tokens, of which the second half is to be learnt.
func randomRows(rng *rand.Rand, vocab int, lengths ...int) (out []row) {
	for _, n := range lengths {
		r := row{}
		for i := range n {
			r.tokens = append(r.tokens, rng.Int32N(int32(vocab)))
			r.learn = append(r.learn, i >= n/2)
		}
		out = append(out, r)
	}
	return out
}

// mean weighs all answer tokens alike.
func mean(n int) []float64 {
	return slices.Repeat([]float64{1 / float64(n)}, n)
}

func weighed(losses, weights []float64) (sum float64) {
	for i, l := range losses {
		sum += l * weights[i]
	}
	return sum
}

// The gradient of every kind of parameter is the slope of the loss: tied and not, rows of several lengths (one longer than a
// block of queries), answers of different weight. A fault in any piece of the backward pass fails here.
func TestGradientsAreSlopes(t *testing.T) {
	for _, tied := range []bool{true, false} {
		rng := rand.New(rand.NewPCG(3, 4))
		n := small[float64](t, rng, tied, 1)
		b := newBatch(randomRows(rng, n.shape.Vocab, 7, queryBlock+20, 2, 12))
		weights := random[float64](rng, len(b.at))
		n.forward(b)
		n.backward(weights)
		for _, p := range n.tensors {
			for range 4 {
				i := rng.IntN(len(p.w))
				if p.name == "token_embd.weight" { // a token that is there
					i = int(b.tokens[rng.IntN(len(b.tokens))])*p.cols + i%p.cols
				}
				compareSlope(t, n, b, weights, p, i)
			}
		}
	}
}

func compareSlope(t require, n *network[float64], b *batch, weights []float64, p *tensor[float64], i int) {
	const step = 1e-5
	was := p.w[i]
	p.w[i] = was + step
	up := weighed(n.forward(b), weights)
	p.w[i] = was - step
	down := weighed(n.forward(b), weights)
	p.w[i] = was
	if slope := (up - down) / (2 * step); math.Abs(slope-p.grad[i]) > 1e-6*max(1, math.Abs(slope)) {
		t.Fatalf("%s[%d]: the gradient is %.9g, the loss's slope %.9g", p.name, i, p.grad[i], slope)
	}
}

// Whatever rows a batch holds, a step along any direction changes the loss as the gradient says.
func TestGradientsInAnyDirection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		n := small[float64](t, rng, rapid.Bool().Draw(t, "tied"), 2)
		b := newBatch(randomRows(rng, n.shape.Vocab, rapid.SliceOfN(rapid.IntRange(2, 30), 1, 5).Draw(t, "lengths")...))
		weights := mean(len(b.at))
		n.forward(b)
		n.backward(weights)
		const step = 1e-6
		var want float64
		directions := make([][]float64, len(n.tensors))
		for i, p := range n.tensors {
			directions[i] = random[float64](rng, len(p.w))
			for j, d := range directions[i] {
				want += d * p.grad[j]
			}
		}
		move := func(by float64) float64 {
			for i, p := range n.tensors {
				for j, d := range directions[i] {
					p.w[j] += by * d
				}
			}
			return weighed(n.forward(b), weights)
		}
		up := move(step)
		if slope := (up - move(-2*step)) / (2 * step); math.Abs(slope-want) > 1e-6*max(1, math.Abs(want)) {
			t.Fatalf("the gradient says %.9g, the loss's slope is %.9g", want, slope)
		}
	})
}

// What life computes in float32 is what the tests above proved in float64, and threads and cuts change no bit of it.
func TestFloat32Gradients(t *testing.T) {
	rng := func() *rand.Rand { return rand.New(rand.NewPCG(5, 6)) }
	exact, one, three := small[float64](t, rng(), true, 1), small[float32](t, rng(), true, 1), small[float32](t, rng(), true, 3)
	b := newBatch(randomRows(rand.New(rand.NewPCG(7, 8)), 23, 40, 9, 150, 3))
	weights := mean(len(b.at))
	want, got := weighed(exact.forward(b), weights), weighed(one.forward(b), weights)
	three.forward(b)
	if math.Abs(want-got) > 1e-5 {
		t.Errorf("loss %v, want %v", got, want)
	}
	exact.backward(weights)
	one.backward(weights)
	three.backward(weights)
	for i, p := range exact.tensors {
		for j, g := range p.grad {
			if math.Abs(g-float64(one.tensors[i].grad[j])) > 2e-5 {
				t.Fatalf("%s[%d]: %v, want %v", p.name, j, one.tensors[i].grad[j], g)
			}
		}
		if !slices.Equal(one.tensors[i].grad, three.tensors[i].grad) {
			t.Fatalf("%s: three threads give other bits than one", p.name)
		}
	}
}
