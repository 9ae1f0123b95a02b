package engine

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawLogits(t *rapid.T) []float32 {
	return rapid.SliceOfN(rapid.Float32Range(-20, 20), 2, 60).Draw(t, "logits")
}

func TestTopKIsASortedPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := drawLogits(t)
		k := rapid.IntRange(-1, 70).Draw(t, "k")
		all := topK(nil, logits, 0)
		want := all
		if k > 0 {
			want = all[:min(k, len(all))]
		}
		if got := topK(nil, logits, k); !slices.Equal(got, want) {
			t.Fatalf("k=%d: %v, want %v", k, got, want)
		}
	})
}

// No filter may remove the likeliest token, and the choice obeys top-k.
func TestChoiceIsAmongTheAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := drawLogits(t)
		s := Sampling{Temperature: rapid.Float64Range(0, 3).Draw(t, "temperature"), TopK: rapid.IntRange(0, 10).Draw(t, "k"),
			TopP: rapid.Float64Range(0, 1).Draw(t, "p"), MinP: rapid.Float64Range(0, 1).Draw(t, "min"), RepeatPenalty: 1, Seed: 7}
		id := newSampler(s, nil, nil).next(logits)
		rank := slices.IndexFunc(topK(nil, logits, 0), func(c candidate) bool { return c.id == id })
		if s.TopK > 0 && rank >= s.TopK {
			t.Fatalf("token %d has rank %d", id, rank)
		}
		if (s.Temperature == 0 || s.TopP == 0 || s.MinP == 1) && logits[id] < slices.Max(logits)-1e-6 {
			t.Fatalf("token %d is not the likeliest", id)
		}
	})
}

func TestSamplingFollowsTheDistribution(t *testing.T) {
	logits := []float32{float32(math.Log(0.6)), float32(math.Log(0.3)), float32(math.Log(0.1))}
	s := newSampler(Sampling{Temperature: 1, TopP: 1, RepeatPenalty: 1, Seed: 3}, nil, nil)
	var counts [3]float64
	for range 20000 {
		counts[s.next(logits)]++
	}
	for i, want := range []float64{0.6, 0.3, 0.1} {
		if got := counts[i] / 20000; math.Abs(got-want) > 0.015 {
			t.Errorf("token %d came with %.3f, want %.3f", i, got, want)
		}
	}
}

func TestPenaltiesBiasAndEOS(t *testing.T) {
	logits := []float32{3, 2.9, -1, 2.8}
	ends := map[int32]bool{1: true}
	for name, c := range map[string]struct {
		s       Sampling
		history []int32
		want    int32
	}{
		"none":           {Sampling{RepeatPenalty: 1}, []int32{0}, 0},
		"repeat":         {Sampling{RepeatPenalty: 1.5, RepeatLastN: 64}, []int32{0}, 1},
		"out of sight":   {Sampling{RepeatPenalty: 1.5, RepeatLastN: 1}, []int32{0, 2}, 0},
		"presence":       {Sampling{RepeatPenalty: 1, RepeatLastN: -1, PresencePenalty: 0.5}, []int32{0, 1}, 3},
		"frequency":      {Sampling{RepeatPenalty: 1, RepeatLastN: -1, FrequencyPenalty: 0.04}, []int32{0, 0, 0, 0, 1}, 1},
		"no end":         {Sampling{RepeatPenalty: 1, IgnoreEOS: true, Bias: map[int32]float32{0: -5}}, nil, 3},
		"bias forbids":   {Sampling{RepeatPenalty: 1, Bias: map[int32]float32{0: float32(math.Inf(-1))}}, nil, 1},
		"bias encourage": {Sampling{RepeatPenalty: 1, Bias: map[int32]float32{2: 10}}, nil, 2},
	} {
		if got := newSampler(c.s, c.history, ends).next(logits); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestLogprobsSumToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := drawLogits(t)
		p := logprobs(logits, 0, len(logits))
		var sum float64
		for _, x := range p.top {
			sum += math.Exp(x.logprob)
		}
		if math.Abs(sum-1) > 1e-6 || len(p.top) != len(logits) {
			t.Fatalf("sum %g of %d", sum, len(p.top))
		}
	})
}
