package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

func (s *server) health(_ *opened, w http.ResponseWriter, _ *http.Request) error {
	return answer(w, map[string]any{"status": "ok"})
}

func (s *server) models(e *opened, w http.ResponseWriter, _ *http.Request) error {
	m := e.model
	return answer(w, map[string]any{
		"object": "list",
		"data": []any{map[string]any{
			"id": s.opt.Alias, "object": "model", "created": s.started.Unix(), "owned_by": "modelops",
			"meta": map[string]any{"vocab_type": 1, "n_vocab": m.Tokens.Size(), "n_ctx": m.Context, "n_ctx_train": m.Trained,
				"n_embd": m.Width, "n_params": m.Params, "size": m.FileBytes},
		}},
		"models": []any{map[string]any{
			"name": s.opt.Alias, "model": s.opt.Alias, "type": "model", "capabilities": []string{"completion", "embedding"},
			"details": map[string]any{"format": "gguf"},
		}},
	})
}

func (s *server) props(e *opened, w http.ResponseWriter, _ *http.Request) error {
	t := e.model.Tokens
	defaults := job{limit: -1, probs: -1, sampling: defaultSampling()}
	return answer(w, map[string]any{
		"default_generation_settings": map[string]any{"n_ctx": e.model.Context, "params": defaults.settings(e, true)},
		"total_slots":                 s.opt.Slots, "model_alias": s.opt.Alias, "model_path": s.opt.ModelPath,
		"modalities": map[string]bool{"vision": false, "audio": false}, "chat_template": e.model.Template,
		"bos_token": t.Piece(t.bos, true), "eos_token": t.Piece(t.eos, true), "build_info": fingerprint, "is_sleeping": false,
	})
}

func (s *server) slots(e *opened, w http.ResponseWriter, _ *http.Request) error {
	views, _, _ := e.runner.pool.view()
	list := make([]map[string]any, len(views))
	for i, v := range views {
		list[i] = map[string]any{"id": v.id, "n_ctx": e.model.Context, "speculative": false, "is_processing": v.active, "id_task": v.task}
	}
	return answer(w, list)
}

// metrics are llama-server's, with "_" where it has ":", which Prometheus keeps for recording rules.
func (s *server) metrics(e *opened, w http.ResponseWriter, _ *http.Request) error {
	c := &e.runner.counters
	_, busy, waiting := e.runner.pool.view()
	promptSeconds, seconds := float64(c.promptNanos.Load())/1e9, float64(c.nanos.Load())/1e9
	prompt, made, decodes := float64(c.promptTokens.Load()), float64(c.tokens.Load()), float64(c.decodes.Load())
	var b strings.Builder
	for _, m := range []struct {
		name, kind, help string
		value            float64
	}{
		{"prompt_tokens_total", "counter", "Number of prompt tokens processed.", prompt},
		{"prompt_seconds_total", "counter", "Prompt process time in seconds.", promptSeconds},
		{"tokens_predicted_total", "counter", "Number of generation tokens processed.", made},
		{"tokens_predicted_seconds_total", "counter", "Predict process time in seconds.", seconds},
		{"n_decode_total", "counter", "Number of evaluations of the model.", decodes},
		{"n_tokens_max", "gauge", "Largest number of tokens that a sequence has held.", float64(c.longest.Load())},
		{"n_busy_slots_per_decode", "gauge", "Average number of busy slots at an evaluation.", ratio(float64(c.busySlots.Load()), decodes)},
		{"prompt_tokens_seconds", "gauge", "Average prompt throughput in tokens per second.", ratio(prompt, promptSeconds)},
		{"predicted_tokens_seconds", "gauge", "Average generation throughput in tokens per second.", ratio(made, seconds)},
		{"requests_processing", "gauge", "Number of requests processing.", float64(busy)},
		{"requests_deferred", "gauge", "Number of requests waiting for a slot.", float64(waiting)},
	} {
		fmt.Fprintf(&b, "# HELP llamacpp_%s %s\n# TYPE llamacpp_%s %s\nllamacpp_%s %g\n", m.name, m.help, m.name, m.kind, m.name, m.value)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, err := w.Write([]byte(b.String()))
	return err
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (s *server) tokenize(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p struct {
		Content      json.RawMessage `json:"content"`
		AddSpecial   bool            `json:"add_special"`
		ParseSpecial *bool           `json:"parse_special"`
		WithPieces   bool            `json:"with_pieces"`
	}
	if err := decode(r, &p); err != nil {
		return err
	}
	var content string
	if !absent(p.Content) && json.Unmarshal(p.Content, &content) != nil {
		return invalid("\"content\" must be a string")
	}
	tokens := e.model.Tokens.Encode(content, p.AddSpecial && !absent(p.Content), p.ParseSpecial == nil || *p.ParseSpecial)
	list := make([]any, len(tokens))
	for i, id := range tokens {
		list[i] = id
		if p.WithPieces {
			list[i] = map[string]any{"id": id, "piece": pieceView(e.model.Tokens.Piece(id, true))}
		}
	}
	return answer(w, map[string]any{"tokens": list})
}

// pieceView is a token's text, or its bytes when these are no text.
func pieceView(piece string) any {
	if utf8.ValidString(piece) {
		return piece
	}
	bytes := make([]int, len(piece))
	for i := range len(piece) {
		bytes[i] = int(piece[i])
	}
	return bytes
}

func (s *server) detokenize(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p struct {
		Tokens []float64 `json:"tokens"`
	}
	if err := decode(r, &p); err != nil {
		return err
	}
	var ids []int32
	for _, v := range p.Tokens {
		id, err := tokensOf(e, v, false)
		if err != nil {
			return err
		}
		ids = append(ids, id...)
	}
	return answer(w, map[string]any{"content": e.model.Tokens.Decode(ids)})
}
