package engine

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how the next token is chosen. The order is llama-server's: bias, penalties, top-k, top-p, min-p,
// temperature.
type Sampling struct {
	Temperature      float64 // 0 or less: always the likeliest token
	TopK             int     // 0 or less: all
	TopP             float64 // 1: all
	MinP             float64 // 0: all
	Seed             uint32
	RepeatPenalty    float64 // 1: none
	RepeatLastN      int     // tokens looked back at by the three penalties; 0: none, -1: the whole context
	PresencePenalty  float64
	FrequencyPenalty float64
	IgnoreEOS        bool
	Bias             map[int32]float32 // added to logits; -Inf forbids
}

// defaultSampling is llama-server's, but for the seed, which is drawn per request.
func defaultSampling() Sampling {
	return Sampling{Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05, RepeatPenalty: 1, RepeatLastN: 64}
}

type candidate struct {
	id    int32
	logit float32
	p     float64
}

// sampler chooses tokens for one request.
type sampler struct {
	Sampling
	rng     *rand.Rand
	history []int32 // prompt and answer
	ends    map[int32]bool
	logits  []float32 // working copy: the caller's are kept for log-probabilities
	chosen  []candidate
}

func newSampler(s Sampling, prompt []int32, ends map[int32]bool) *sampler {
	return &sampler{Sampling: s, rng: rand.New(rand.NewPCG(uint64(s.Seed), 0)), history: slices.Clone(prompt), ends: ends}
}

// next chooses a token and remembers it for the penalties.
func (s *sampler) next(logits []float32) int32 {
	s.logits = append(s.logits[:0], logits...)
	for id, bias := range s.Bias {
		s.logits[id] += bias
	}
	if s.IgnoreEOS {
		for id := range s.ends {
			if id >= 0 {
				s.logits[id] = float32(math.Inf(-1))
			}
		}
	}
	s.penalise()
	id := s.choose()
	s.history = append(s.history, id)
	return id
}

func (s *sampler) penalise() {
	if s.RepeatPenalty == 1 && s.PresencePenalty == 0 && s.FrequencyPenalty == 0 {
		return
	}
	recent := s.history
	if s.RepeatLastN >= 0 {
		recent = recent[max(0, len(recent)-s.RepeatLastN):]
	}
	counts := map[int32]int{}
	for _, id := range recent {
		counts[id]++
	}
	for id, n := range counts {
		l := float64(s.logits[id])
		if l <= 0 {
			l *= s.RepeatPenalty
		} else {
			l /= s.RepeatPenalty
		}
		s.logits[id] = float32(l - float64(n)*s.FrequencyPenalty - s.PresencePenalty)
	}
}

func (s *sampler) choose() int32 {
	if s.Temperature <= 0 || s.TopK == 1 {
		return likeliest(s.logits)
	}
	s.chosen = topK(s.chosen[:0], s.logits, s.TopK)
	c := s.chosen
	weigh(c, 1)
	c = cutTopP(c, s.TopP)
	for len(c) > 1 && c[len(c)-1].p < s.MinP*c[0].p {
		c = c[:len(c)-1]
	}
	total := weigh(c, s.Temperature)
	at := s.rng.Float64() * total
	for _, x := range c {
		if at -= x.p; at < 0 {
			return x.id
		}
	}
	return c[0].id
}

func likeliest(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// weigh sets p to the probabilities at a temperature and returns their sum, which is one but for rounding. Candidates are
// sorted, the likeliest first.
func weigh(c []candidate, temperature float64) float64 {
	var sum float64
	for i := range c {
		c[i].p = math.Exp(float64(c[i].logit-c[0].logit) / temperature)
		sum += c[i].p
	}
	var total float64
	for i := range c {
		c[i].p /= sum
		total += c[i].p
	}
	return total
}

func cutTopP(c []candidate, p float64) []candidate {
	if p >= 1 {
		return c
	}
	var sum float64
	for i := range c {
		if sum += c[i].p; sum >= p {
			return c[:i+1]
		}
	}
	return c
}

// byLogit sorts the likeliest first and, among equals, the lower id, so that a seed gives the same text everywhere.
func byLogit(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.logit, a.logit), cmp.Compare(a.id, b.id))
}

// topK appends the k likeliest tokens to dst, sorted. A small k is kept in a sorted window, which most tokens fail to
// enter with one comparison.
func topK(dst []candidate, logits []float32, k int) []candidate {
	if k <= 0 || k > 256 || k >= len(logits) {
		for id, l := range logits {
			dst = append(dst, candidate{id: int32(id), logit: l})
		}
		slices.SortFunc(dst, byLogit)
		if k > 0 && k < len(dst) {
			dst = dst[:k]
		}
		return dst
	}
	for id, l := range logits {
		if len(dst) == k && !(l > dst[k-1].logit) {
			continue
		}
		at, _ := slices.BinarySearchFunc(dst, candidate{id: int32(id), logit: l}, byLogit)
		if len(dst) == k {
			dst = dst[:k-1]
		}
		dst = slices.Insert(dst, at, candidate{id: int32(id), logit: l})
	}
	return dst
}

// tokenProb is a token with its log-probability under the model, before any sampling parameter.
type tokenProb struct {
	id      int32
	logprob float64
	top     []tokenProb
}

// logprobs describes the choice of id and the n likeliest tokens.
func logprobs(logits []float32, id int32, n int) tokenProb {
	top := topK(nil, logits, max(n, 1))
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l - top[0].logit))
	}
	norm := float64(top[0].logit) + math.Log(sum)
	out := tokenProb{id: id, logprob: float64(logits[id]) - norm}
	for _, c := range top[:min(n, len(top))] {
		out.top = append(out.top, tokenProb{id: c.id, logprob: float64(c.logit) - norm})
	}
	return out
}
