package engine

import (
	"cmp"
	"math"
	"slices"
	"testing"
)

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

func TestGreedyMatchesGolden(t *testing.T) {
	m := tiny(t)
	for _, g := range goldens(t).Greedy {
		s := newSequence(m)
		m.eval(s, g.PromptTokens)
		m.predict(s, len(g.PromptTokens)-1)
		checkTop(t, g.Prompt, s.logits, func(i int) (int32, float64) { return g.FirstTop5[i].ID, g.FirstTop5[i].Logprob }, len(g.FirstTop5))
		var got []int32
		for range g.Tokens {
			id := argmax(s.logits)
			got = append(got, id)
			if m.Tokens.ends[id] {
				break
			}
			m.eval(s, []int32{id})
			m.predict(s, 0)
		}
		if !slices.Equal(got, g.Tokens) {
			t.Errorf("%q:\n got %v\nwant %v", g.Prompt, got, g.Tokens)
		}
	}
}

func checkTop(t *testing.T, prompt string, logits []float32, want func(int) (int32, float64), n int) {
	t.Helper()
	ids := make([]int32, len(logits))
	var sum float64
	for i, v := range logits {
		ids[i] = int32(i)
		sum += math.Exp(float64(v))
	}
	slices.SortFunc(ids, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
	for i := range n {
		id, logprob := want(i)
		got := float64(logits[ids[i]]) - math.Log(sum)
		if ids[i] != id || math.Abs(got-logprob) > 1e-3 {
			t.Errorf("%q: choice %d is %d at %.5f, want %d at %.5f", prompt, i, ids[i], got, id, logprob)
		}
	}
}

// A prompt evaluated whole, in pieces, or after a shared prefix must give the same bits: prefix reuse rests on it.
func TestEvalInPiecesIsBitEqual(t *testing.T) {
	m := tiny(t)
	tokens := m.Tokens.Encode("It was a truth universally acknowledged, that a single man", true, false)
	whole := newSequence(m)
	m.eval(whole, tokens)
	m.predict(whole, len(tokens)-1)
	for cut := 1; cut < len(tokens); cut++ {
		s := newSequence(m)
		m.eval(s, tokens[:cut])
		m.eval(s, tokens[cut:])
		m.predict(s, len(tokens)-cut-1)
		if !slices.Equal(s.logits, whole.logits) {
			t.Fatalf("cut at %d: logits differ", cut)
		}
	}
}

// The wide kernel and the plain one agree for every length, whatever is left over at the end of a row.
func TestDot4(t *testing.T) {
	for n := range 70 {
		w, x := make([]float32, 4*n), make([]float32, n)
		for i := range w {
			w[i] = float32(math.Sin(float64(3 * i)))
		}
		for i := range x {
			x[i] = float32(math.Cos(float64(7 * i)))
		}
		var got, plain [4]float32
		got[0], got[1], got[2], got[3] = dot4(w, x)
		plain[0], plain[1], plain[2], plain[3] = dot4Plain(w, x)
		for r := range 4 {
			want := dot(w[r*n:(r+1)*n], x)
			if math.Abs(float64(got[r]-want)) > 1e-5 || math.Abs(float64(plain[r]-want)) > 1e-5 {
				t.Errorf("n=%d row %d: %g and %g, want %g", n, r, got[r], plain[r], want)
			}
		}
	}
}

func TestExp32(t *testing.T) {
	for x := float32(-100); x < 88; x += 0.0137 {
		want := math.Exp(float64(x))
		if got := float64(exp32(x)); math.Abs(got-want) > 3e-7*want+1e-37 {
			t.Fatalf("exp32(%g) = %g, want %g", x, got, want)
		}
	}
	if exp32(200) != float32(math.Inf(1)) || exp32(-200) != 0 || !math.IsNaN(float64(exp32(float32(math.NaN())))) {
		t.Error("exp32 at the edges")
	}
}

func BenchmarkDecode(b *testing.B) {
	m := tiny(b)
	s := newSequence(m)
	for b.Loop() {
		if len(s.tokens) >= 128 {
			s.tokens = s.tokens[:0]
		}
		m.eval(s, []int32{264})
		m.predict(s, 0)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tok/s")
}

func BenchmarkPrompt(b *testing.B) {
	m := tiny(b)
	s := newSequence(m)
	tokens := make([]int32, batch)
	for i := range tokens {
		tokens[i] = int32(300 + i)
	}
	for b.Loop() {
		s.tokens = s.tokens[:0]
		m.eval(s, tokens)
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "tok/s")
}
