package engine

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
)

type embeddingParams struct {
	Input          json.RawMessage `json:"input"`
	Content        json.RawMessage `json:"content"`
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
}

// inputs are the texts or token lists to embed, as tokens.
func (p *embeddingParams) inputs(e *opened) ([][]int32, error) {
	raw := p.Input
	if absent(raw) {
		raw = p.Content
	}
	if absent(raw) {
		return nil, invalid("\"input\" or \"content\" must be provided")
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, invalid("\"input\": %v", err)
	}
	many, ok := v.([]any)
	if !ok || !severalPrompts(many) {
		many = []any{v}
	}
	var out [][]int32
	for _, one := range many {
		tokens, err := promptTokens(e, one)
		if err != nil {
			return nil, err
		}
		if len(tokens) == 0 {
			return nil, invalid("Input content cannot be empty")
		}
		// Nothing is generated, so an input may fill the context.
		if len(tokens) > e.model.Context {
			return nil, tooLong(len(tokens), e.model.Context)
		}
		out = append(out, tokens)
	}
	return out, nil
}

// vectors reads the request and embeds its inputs, as many at once as can compute: a large request holds no slot that
// another could use better. counts are the tokens of each.
func (p *embeddingParams) vectors(e *opened, r *http.Request) (list [][]float32, counts []int, err error) {
	if err := decode(r, p); err != nil {
		return nil, nil, err
	}
	if p.EncodingFormat != "" && p.EncodingFormat != "float" && p.EncodingFormat != "base64" {
		return nil, nil, invalid("encoding_format %q: want float or base64", p.EncodingFormat)
	}
	if p.Dimensions != nil && *p.Dimensions != e.model.Width {
		return nil, nil, invalid("dimensions %d: this model has %d and can't shorten them", *p.Dimensions, e.model.Width)
	}
	inputs, err := p.inputs(e)
	if err != nil {
		return nil, nil, err
	}
	list, counts = make([][]float32, len(inputs)), make([]int, len(inputs))
	err = spread(r.Context(), len(inputs), cap(e.runner.compute), func(ctx context.Context, i int) (err error) {
		list[i], err = e.runner.embed(ctx, inputs[i])
		counts[i] = len(inputs[i])
		return err
	})
	return list, counts, err
}

// embedding is OpenAI's /v1/embeddings.
func (s *server) embedding(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p embeddingParams
	list, counts, err := p.vectors(e, r)
	if err != nil {
		return err
	}
	data := make([]map[string]any, len(list))
	for i, v := range list {
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": v}
		if p.EncodingFormat == "base64" {
			data[i]["embedding"], data[i]["encoding_format"] = packed(v), "base64"
		}
	}
	return answer(w, map[string]any{"object": "list", "model": s.opt.Alias, "data": data, "usage": embeddingUsage(counts)})
}

// embeddingUsage counts all inputs together, and several also each by itself.
func embeddingUsage(counts []int) map[string]any {
	of := func(tokens int) map[string]any {
		return map[string]any{"prompt_tokens": tokens, "total_tokens": tokens}
	}
	tokens := 0
	items := make([]map[string]any, len(counts))
	for i, n := range counts {
		tokens += n
		items[i] = of(n)
	}
	all := of(tokens)
	if len(counts) > 1 {
		all["items"] = items
	}
	return all
}

// embeddingPlain is llama-server's own /embedding.
func (s *server) embeddingPlain(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p embeddingParams
	list, _, err := p.vectors(e, r)
	if err != nil {
		return err
	}
	data := make([]map[string]any, len(list))
	for i, v := range list {
		data[i] = map[string]any{"index": i, "embedding": [][]float32{v}}
	}
	return answer(w, data)
}

// packed is a vector as little-endian float32 in base64.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
