package train

import (
	"encoding/json"
	"math"
	"os"
	"sync"
	"testing"

	"modelops/bridges/engine"
)

const (
	tinyPath  = "../../../testdata/model/tiny.gguf"
	opsTrain  = "../../../testdata/train/ops-train.jsonl"
	opsEval   = "../../../testdata/train/ops-eval.jsonl"
	opsPairs  = "../../../testdata/train/ops-pairs.jsonl"
	goldenRef = "testdata/golden.json"
)

type gradients map[string]struct {
	Norm   float64   `json:"norm"`
	At     []int     `json:"at"`
	Values []float64 `json:"values"`
}

type golden struct {
	Rows         []int        `json:"rows"`
	Losses       []float64    `json:"losses"`
	Loss         float64      `json:"loss"`
	Gradients    gradients    `json:"gradients"`
	Pairs        []int        `json:"pairs"`
	Beta         float64      `json:"beta"`
	Policy       [][2]float64 `json:"policy"`
	Reference    [][2]float64 `json:"reference"`
	DPOLoss      float64      `json:"dpo_loss"`
	DPOGradients gradients    `json:"dpo_gradients"`
	Curve        []float64    `json:"curve"`
	Norms        []float64    `json:"norms"`
}

var loadGolden = sync.OnceValues(func() (g golden, err error) {
	b, err := os.ReadFile(goldenRef)
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	return g, err
})

func goldenFile(t *testing.T) golden {
	t.Helper()
	g, err := loadGolden()
	if err != nil || len(g.Gradients) < 10 || len(g.DPOGradients) < 10 || len(g.Curve) < 3 {
		t.Fatal("testdata/golden.json lacks something", err)
	}
	return g
}

// tiny is the small real model, ready to be trained.
func tiny(t testing.TB, rank int) (*engine.Weights, *learner[float32], *reader) {
	t.Helper()
	w, err := engine.OpenWeights(t.Context(), tinyPath, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := networkOf(w, 2)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReader(w.Model, w.Shape.Context)
	if err != nil {
		t.Fatal(err)
	}
	return w, newLearner(n, rank, 16, Targets, 1), r
}

func chosenRows(t testing.TB, r *reader, path string, at []int) (out []*example) {
	t.Helper()
	all, _, err := r.file(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range at {
		out = append(out, &all[i])
	}
	return out
}

func compareGradients(t *testing.T, n *network[float32], want gradients) {
	t.Helper()
	if len(want) != len(n.tensors) {
		t.Fatalf("%d tensors, the reference has %d", len(n.tensors), len(want))
	}
	for _, p := range n.tensors {
		ref := want[p.name]
		var square float64
		for _, g := range p.grad {
			square += float64(g) * float64(g)
		}
		if norm := math.Sqrt(square); math.Abs(norm-ref.Norm) > 1e-4*ref.Norm {
			t.Errorf("%s: the gradient's length is %v, the reference's %v", p.name, norm, ref.Norm)
		}
		for i, at := range ref.At {
			if math.Abs(float64(p.grad[at])-ref.Values[i]) > 1e-4*ref.Norm/math.Sqrt(float64(len(p.grad)))+1e-4*math.Abs(ref.Values[i]) {
				t.Errorf("%s[%d]: the gradient is %v, the reference's %v", p.name, at, p.grad[at], ref.Values[i])
			}
		}
	}
}

// Loss and gradients of the real model are those of the reference trainer in torch, in one piece and in parts.
func TestTheReferencesGradients(t *testing.T) {
	g := goldenFile(t)
	_, l, r := tiny(t, 0)
	examples := chosenRows(t, r, opsTrain, g.Rows)
	for _, limit := range []int{0, 3} {
		out := supervised(l.net, examples, limit)
		if math.Abs(out.loss-g.Loss) > 1e-5 {
			t.Errorf("loss %v, the reference's %v", out.loss, g.Loss)
		}
		compareGradients(t, l.net, g.Gradients)
		for _, p := range l.params {
			clear(p.grad)
		}
	}
	b := joined(examples)
	for i, log := range logProbabilities(b, l.net.forward(b)) {
		if math.Abs(-log-g.Losses[i]) > 1e-5*max(1, g.Losses[i]) {
			t.Errorf("row %d: loss %v, the reference's %v", i, -log, g.Losses[i])
		}
	}
}

func TestTheReferencesPreferences(t *testing.T) {
	g := goldenFile(t)
	_, l, r := tiny(t, 0)
	examples := chosenRows(t, r, opsPairs, g.Pairs)
	var plain []example
	for _, e := range examples {
		plain = append(plain, *e)
	}
	for i, ref := range references(l.net, plain, 0, func() bool { return false }) {
		if math.Abs(ref.chosen-g.Policy[i][0])+math.Abs(ref.rejected-g.Policy[i][1]) > 1e-3 {
			t.Errorf("pair %d: log-probabilities %v, the reference's %v", i, ref, g.Policy[i])
		}
	}
	var refs []reference
	for _, ref := range g.Reference {
		refs = append(refs, reference{ref[0], ref[1]})
	}
	for _, limit := range []int{0, 1} {
		if out := preferred(l.net, examples, refs, g.Beta, limit); math.Abs(out.loss-g.DPOLoss) > 1e-5 {
			t.Errorf("loss %v, the reference's %v", out.loss, g.DPOLoss)
		}
		compareGradients(t, l.net, g.DPOGradients)
		for _, p := range l.params {
			clear(p.grad)
		}
	}
}

// Five steps of AdamW with decay of matrices, warm-up and clipping follow torch's.
func TestTheReferencesSteps(t *testing.T) {
	g := goldenFile(t)
	_, l, r := tiny(t, 0)
	examples := chosenRows(t, r, opsTrain, g.Rows)
	for i, want := range g.Curve {
		out := supervised(l.net, examples, 0)
		norm := gradientNorm(l.net.team, l.params)
		if math.Abs(out.loss-want) > 2e-4*want || math.Abs(norm-g.Norms[i]) > 1e-3*g.Norms[i] {
			t.Errorf("step %d: loss %v and gradient %v, the reference's %v and %v", i+1, out.loss, norm, want, g.Norms[i])
		}
		update(l.net.team, l.params, rateAt("constant", 1e-3, 3, i+1, 5), 0.1, min(1, 1/(norm+1e-6)), i+1)
	}
}
