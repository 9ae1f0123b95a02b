package engine

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"testing"
)

func cosine(a []float32, b []float64) float64 {
	var dot, aa, bb float64
	for i, v := range a {
		dot += float64(v) * b[i]
		aa += float64(v) * float64(v)
		bb += b[i] * b[i]
	}
	return dot / math.Sqrt(aa*bb)
}

func TestEmbeddingsMatchGolden(t *testing.T) {
	d := open(t, nil)
	type result struct {
		Object string
		Data   []struct {
			Index     int
			Embedding []float32
		}
		Usage struct {
			Prompt int `json:"prompt_tokens"`
			Total  int `json:"total_tokens"`
			Items  []struct {
				Prompt int `json:"prompt_tokens"`
			}
		}
	}
	var texts []string
	var tokenLists [][]int32
	total := 0
	for _, g := range goldens(t).Embeddings {
		texts = append(texts, g.Text)
		tokenLists = append(tokenLists, d.s.engine.Load().model.Tokens.Encode(g.Text, true, true))
		total += g.PromptTokens
		one := post[result](d, "/v1/embeddings", fields{"input": g.Text})
		if len(one.Data) != 1 || one.Usage.Items != nil || one.Usage.Prompt != g.PromptTokens {
			t.Errorf("%q: %+v", g.Text, one.Usage)
		}
	}
	for _, input := range []any{texts, tokenLists} {
		got := post[result](d, "/v1/embeddings", fields{"input": input})
		if len(got.Data) != len(texts) || got.Usage.Total != total || len(got.Usage.Items) != len(texts) || got.Object != "list" {
			t.Fatalf("%+v", got)
		}
		for i, g := range goldens(t).Embeddings {
			if n := got.Usage.Items[i].Prompt; n != g.PromptTokens {
				t.Errorf("%q: counted %d tokens, want %d", g.Text, n, g.PromptTokens)
			}
			if c := cosine(got.Data[i].Embedding, g.Vector); len(got.Data[i].Embedding) != len(g.Vector) || c < 0.999 {
				t.Errorf("%q: cosine %f", g.Text, c)
			}
		}
	}
	packed := post[struct{ Data []struct{ Embedding string } }](d, "/v1/embeddings", fields{"input": texts[0], "encoding_format": "base64"})
	raw, err := base64.StdEncoding.DecodeString(packed.Data[0].Embedding)
	if err != nil || len(raw) != 4*128 {
		t.Fatalf("base64: %d bytes, %v", len(raw), err)
	}
	first := math.Float32frombits(binary.LittleEndian.Uint32(raw))
	if want := goldens(t).Embeddings[0].Vector[0]; math.Abs(float64(first)-want) > 1e-3 {
		t.Errorf("base64 starts with %g, want %g", first, want)
	}
}
