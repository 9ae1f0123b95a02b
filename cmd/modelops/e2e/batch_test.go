//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
)

// TestSharedRequestsAnswerAsLoneOnes: a request in a batch gets the answer that it gets alone, from the embedded engine and from llama-server.
func TestSharedRequestsAnswerAsLoneOnes(t *testing.T) {
	d := start(t, `batch: {window: 20ms, max_size: 8}
models:
  declare:
    embedded: {runtime: embedded, path: TINY, batch: {completions: true}}
    llama: {runtime: llama.cpp, path: TINY, args: [--embeddings, --pooling, mean], parallel: 4, batch: {completions: true}}
`, "LLAMA_SERVER="+llamaServer(t))
	g := readGolden(t)
	for _, model := range []string{"embedded", "llama"} {
		t.Run(model, func(t *testing.T) {
			d := d.in(t)
			ask := func(path, field, text, more string) string {
				return string(d.post(path, json.RawMessage(fmt.Sprintf(`{"model":%q,%q:%q%s}`, model, field, text, more))).body)
			}
			together := func(path, field, more string, read func(string) string) {
				var texts, alone []string
				for i := range 3 {
					for _, e := range g.Embeddings {
						texts = append(texts, strings.Repeat("and ", i)+e.Text)
					}
				}
				for _, text := range texts {
					alone = append(alone, read(ask(path, field, text, more)))
				}
				got := make([]string, len(texts))
				var crowd sync.WaitGroup
				for i, text := range texts {
					crowd.Go(func() { got[i] = read(ask(path, field, text, more)) })
				}
				crowd.Wait()
				for i := range got {
					if !near(got[i], alone[i]) {
						t.Errorf("%s %q: together %.300s, alone %.300s", path, texts[i], got[i], alone[i])
					}
				}
			}
			if model == "embedded" { // our llama-server embeds wrongly whatever comes to its slots side by side, shared by us or not
				together("/v1/embeddings", "input", `,"encoding_format":"float"`, vectorOf)
			}
			together("/v1/completions", "prompt", `,"max_tokens":6,"temperature":0`, textOf)
		})
	}
	if m := string(d.get("/metrics").body); !strings.Contains(m, `modelops_batch_size_sum{endpoint="/v1/embeddings",model="embedded"}`) {
		t.Errorf("no sizes are counted:\n%s", m)
	}
}

// near says whether two texts are equal, or two embeddings up to a cosine of 0.9999: llama-server's sums depend on what it computes beside.
func near(a, b string) bool {
	var x, y []float64
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil || len(x) != len(y) {
		return a == b
	}
	var dot, xx, yy float64
	for i := range x {
		dot, xx, yy = dot+x[i]*y[i], xx+x[i]*x[i], yy+y[i]*y[i]
	}
	return dot > 0.9999*math.Sqrt(xx*yy)
}

// vectorOf is the embedding as JSON.
func vectorOf(answer string) string {
	var a struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil || len(a.Data) != 1 || len(a.Data[0].Embedding) == 0 || a.Data[0].Index != 0 {
		return answer
	}
	return string(a.Data[0].Embedding)
}

func textOf(answer string) string {
	var a struct {
		Choices []struct {
			Text  string
			Index int
		}
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil || len(a.Choices) != 1 || a.Choices[0].Index != 0 {
		return answer
	}
	return a.Choices[0].Text
}
