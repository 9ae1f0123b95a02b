package openai

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// of makes members of a shape with so many inputs of these weights each.
func of(s *shape, weights ...[]int) []*member {
	var members []*member
	for _, w := range weights {
		members = append(members, &member{shape: s, items: make([][]byte, len(w)), weights: w})
	}
	return members
}

func TestAnswersAreDivided(t *testing.T) {
	top := of(&rerank, []int{5, 5}, []int{5, 5, 5})
	top[1].top = 2
	for name, c := range map[string]struct {
		members []*member
		answer  string
		want    []string // nil = it can't be divided
	}{
		"embeddings, out of order, bytes untouched": {of(&embeddings, []int{1}, []int{1, 2}),
			`{"model":"x", "object":"list","usage":{"prompt_tokens":8,"total_tokens":8},"data":[{"embedding":[1.50e0, -0],"index":2},{"index" : 0,"embedding":"AAA="},{"index":1,"embedding":[]}]}`,
			[]string{`{"model":"x","object":"list","usage":{"prompt_tokens":2,"total_tokens":2},"data":[{"index" : 0,"embedding":"AAA="}]}`,
				`{"model":"x","object":"list","usage":{"prompt_tokens":6,"total_tokens":6},"data":[{"embedding":[1.50e0, -0],"index":1},{"index":0,"embedding":[]}]}`}},
		"counts that the engine tells are exact": {of(&embeddings, []int{100}, []int{1, 1}),
			`{"data":[{"index":0},{"index":1},{"index":2}],"usage":{"prompt_tokens":9,"items":[{"prompt_tokens":2},{"prompt_tokens":3},{"prompt_tokens":4}]}}`,
			[]string{`{"data":[{"index":0}],"usage":{"prompt_tokens":2}}`, `{"data":[{"index":0},{"index":1}],"usage":{"prompt_tokens":7}}`}},
		"rerank with top_n": {top,
			`{"results":[{"index":4,"relevance_score":0.9},{"index":0,"relevance_score":0.8},{"index":2,"relevance_score":-1},{"index":3,"relevance_score":0.1,"document":{"text":"d"}},{"index":1,"relevance_score":0}]}`,
			[]string{`{"results":[{"index":0,"relevance_score":0.8},{"index":1,"relevance_score":0}]}`,
				`{"results":[{"index":2,"relevance_score":0.9},{"index":1,"relevance_score":0.1,"document":{"text":"d"}}]}`}},
		"completions": {of(&completions, []int{6}, []int{6}),
			`{"id":"cmpl-7","choices":[{"text":"abcdef","index":1,"logprobs":null},{"text":"abc","index":0}],"usage":{"completion_tokens":9,"prompt_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":3,"of":null}},"timings":{"a":1}}`,
			[]string{`{"id":"cmpl-7-0","choices":[{"text":"abc","index":0}],"usage":{"completion_tokens":3,"prompt_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1,"of":null}}}`,
				`{"id":"cmpl-7-1","choices":[{"text":"abcdef","index":0,"logprobs":null}],"usage":{"completion_tokens":6,"prompt_tokens":2,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":2,"of":null}}}`}},
		"no usage, no ids":  {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{"index":1}],"usage":null}`, []string{`{"data":[{"index":0}],"usage":null}`, `{"data":[{"index":0}],"usage":null}`}},
		"one too few":       {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0}]}`, nil},
		"one too many":      {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{"index":1},{"index":2}]}`, nil},
		"one twice":         {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{"index":0}]}`, nil},
		"one out of range":  {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{"index":2}]}`, nil},
		"no index":          {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{}]}`, nil},
		"index as a text":   {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{"index":"1"}]}`, nil},
		"another shape":     {of(&embeddings, []int{1}, []int{1}), `[{"index":0},{"index":1}]`, nil},
		"a broken answer":   {of(&embeddings, []int{1}, []int{1}), `{"data":[{"index":0},{"index":1}]`, nil},
		"a list of nothing": {of(&embeddings, []int{1}, []int{1}), `{"data":null}`, nil},
	} {
		got, err := splitAnswer(c.members, []byte(c.answer))
		if (err != nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, want := range c.want {
			if string(got[i]) != want {
				t.Errorf("%s, member %d:\n got %s\nwant %s", name, i, got[i], want)
			}
		}
	}
}

func TestSharesSumUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 10000), 1, 40).Draw(t, "weights")
		figure := rapid.IntRange(0, 1_000_000).Draw(t, "figure")
		sum, all := 0, 0
		for i, w := range weights {
			n := share(figure, weights, i)
			if n < 0 {
				t.Fatalf("a share of %d", n)
			}
			sum, all = sum+n, all+w
		}
		if sum != figure {
			t.Fatalf("shares of %d sum up to %d", figure, sum)
		}
		if share(all, weights, 0) != weights[0] && all > 0 {
			t.Fatalf("what was counted as it is weighed isn't divided exactly: %d of %v", share(all, weights, 0), weights)
		}
	})
}

func FuzzSplitAnswer(f *testing.F) {
	f.Add(`{"data":[{"index":0},{"index":1},{"index":2}],"usage":{"prompt_tokens":9}}`)
	f.Add(`{"id":"","data":[{"index":2},{"index":1,"text":"x"},{"index":0}],"usage":{"items":[{},{},{}]}}`)
	f.Fuzz(func(t *testing.T, answer string) {
		for _, s := range []*shape{&embeddings, &completions} {
			bodies, err := splitAnswer(of(s, []int{1}, []int{2, 3}), []byte(answer))
			if err != nil {
				continue
			}
			for _, b := range bodies {
				if _, ok := partsOf(b); !ok {
					t.Errorf("%q became %q", answer, b)
				}
			}
		}
	})
}

func TestPartsAreBounded(t *testing.T) {
	if _, ok := partsOf([]byte(`{` + strings.Repeat(`"a":1,`, 2) + `"b":1}`)); ok {
		t.Error("a name twice was taken")
	}
	var b strings.Builder
	for range maxParts + 1 {
		fmt.Fprintf(&b, `"%d":1,`, b.Len())
	}
	if _, ok := partsOf([]byte(`{` + strings.TrimSuffix(b.String(), ",") + `}`)); ok {
		t.Error("more parts than any of ours were taken")
	}
}
