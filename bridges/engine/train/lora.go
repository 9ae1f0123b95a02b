package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Targets are the matrices that an adapter may be put on, by their names in the file.
var Targets = []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}

// adapter trains a matrix as W + scale*B*A, where A has rank rows and B rank columns. The network computes with the sum, so
// what is written at the end is what was trained; the gradients of A and B follow from that of the sum.
type adapter[T real] struct {
	target *tensor[T]
	frozen []T // W
	a, b   *param[T]
	rank   int
	scale  T
	scaled []T // scale*B
}

// learner is a network and what of it is trained.
type learner[T real] struct {
	net      *network[T]
	params   []*param[T]
	adapters []*adapter[T]
}

// newLearner trains all tensors, or with rank > 0 adapters on the targets.
func newLearner[T real](net *network[T], rank int, alpha float64, targets []string, seed uint64) *learner[T] {
	l := &learner[T]{net: net}
	if rank == 0 {
		for _, t := range net.tensors {
			t.grad = make([]T, len(t.w))
			l.params = append(l.params, newParam(t.name, t.w, t.grad, t.rows > 1))
		}
		return l
	}
	rng := rand.New(rand.NewPCG(seed, adapterStream))
	for _, t := range net.tensors {
		t.grad = nil
		if !adapted(t.name, targets) {
			continue
		}
		t.grad = make([]T, len(t.w))
		a, b := make([]T, rank*t.cols), make([]T, t.rows*rank)
		for i := range a {
			a[i] = T(rng.NormFloat64() / math.Sqrt(float64(t.cols)))
		}
		ad := &adapter[T]{target: t, frozen: slices.Clone(t.w), rank: rank, scale: T(alpha / float64(rank)), scaled: make([]T, len(b)),
			a: newParam(t.name+".lora_a", a, make([]T, len(a)), true), b: newParam(t.name+".lora_b", b, make([]T, len(b)), true)}
		l.adapters = append(l.adapters, ad)
		l.params = append(l.params, ad.a, ad.b)
	}
	return l
}

// adapted tells whether a tensor gets an adapter.
func adapted(name string, targets []string) bool {
	return slices.ContainsFunc(targets, func(target string) bool { return strings.HasSuffix(name, "."+target+".weight") })
}

func (ad *adapter[T]) aView() view[T] { return dense(ad.a.w, ad.rank, ad.target.cols) }

// merge puts the sum into the network, after A or B changed.
func (l *learner[T]) merge() {
	for _, ad := range l.adapters {
		copy(ad.target.w, ad.frozen)
		for i, v := range ad.b.w {
			ad.scaled[i] = v * ad.scale
		}
		l.net.team.mul(ad.target.view(), dense(ad.scaled, ad.target.rows, ad.rank), ad.aView(), true)
	}
}

// collect adds to the gradients of A and B what those of the sums say, and clears these.
func (l *learner[T]) collect() {
	for _, ad := range l.adapters {
		grad := ad.target.grad
		for i := range grad {
			grad[i] *= ad.scale
		}
		d, team := ad.target.gview(), l.net.team
		team.mul(dense(ad.b.grad, ad.target.rows, ad.rank), d, ad.aView().transposed(), true)
		team.mul(dense(ad.a.grad, ad.rank, ad.target.cols), dense(ad.b.w, ad.target.rows, ad.rank).transposed(), d, true)
		clear(grad)
	}
}

// finite tells whether all that was trained is still a number.
func (l *learner[T]) finite() error {
	for _, p := range l.params {
		for i, v := range p.w {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("%s[%d] is %v", p.name, i, v)
			}
		}
	}
	return nil
}
