package engine

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// completionParams are the fields of /completion and /v1/completions.
type completionParams struct {
	params
	Prompt       json.RawMessage `json:"prompt"`
	NProbs       *int            `json:"n_probs"`
	Logprobs     *int            `json:"logprobs"`
	Echo         bool            `json:"echo"`
	ReturnTokens bool            `json:"return_tokens"`
}

// readOne is read for a path whose answer has room for one prompt.
func (p *completionParams) readOne(e *opened, r *http.Request) (job, error) {
	jobs, err := p.read(e, r)
	if err != nil {
		return job{}, err
	}
	if len(jobs) != 1 {
		return job{}, invalid("only one prompt per request is supported here, got %d: /v1/completions takes several", len(jobs))
	}
	return jobs[0], nil
}

// read decodes a request and makes a job of each prompt.
func (p *completionParams) read(e *opened, r *http.Request) ([]job, error) {
	if err := decode(r, p); err != nil {
		return nil, err
	}
	if absent(p.Prompt) {
		return nil, invalid("\"prompt\" is required")
	}
	if p.Echo {
		return nil, invalid("\"echo\" is not supported")
	}
	var v any
	if err := json.Unmarshal(p.Prompt, &v); err != nil {
		return nil, invalid("\"prompt\": %v", err)
	}
	list, ok := v.([]any)
	if !ok || !severalPrompts(list) {
		list = []any{v}
	}
	if len(list) > maxPrompts {
		return nil, invalid("at most %d prompts per request are supported, got %d", maxPrompts, len(list))
	}
	jobs := make([]job, 0, len(list))
	for _, prompt := range list {
		j, err := p.jobOf(e, prompt)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

func (p *completionParams) jobOf(e *opened, prompt any) (job, error) {
	tokens, err := promptTokens(e, prompt)
	if err != nil {
		return job{}, err
	}
	j, err := p.job(e, tokens)
	if err != nil {
		return j, err
	}
	n := p.Logprobs
	if n == nil {
		n = p.NProbs
	}
	if n != nil && *n < 0 {
		return j, invalid("logprobs (n_probs) is %d, want 0 or more", *n)
	}
	if n != nil && *n > 0 {
		j.probs = min(*n, e.model.Tokens.Size())
	}
	return j, nil
}

// severalPrompts tells a list of prompts from one prompt made of tokens and texts: it holds lists, or texts only.
func severalPrompts(list []any) bool {
	texts := len(list) > 0
	for _, v := range list {
		switch v.(type) {
		case []any:
			return true
		case string:
		default:
			texts = false
		}
	}
	return texts
}

// settings are the parameters as they were used.
func (j job) settings(e *opened, stream bool) map[string]any {
	s := j.sampling
	return map[string]any{
		"n_ctx": e.model.Context, "n_predict": j.limit, "max_tokens": j.limit, "seed": s.Seed, "temperature": s.Temperature,
		"top_k": s.TopK, "top_p": s.TopP, "min_p": s.MinP, "repeat_last_n": s.RepeatLastN, "repeat_penalty": s.RepeatPenalty,
		"presence_penalty": s.PresencePenalty, "frequency_penalty": s.FrequencyPenalty, "ignore_eos": s.IgnoreEOS,
		"stop": append([]string{}, j.stops...), "n_probs": max(j.probs, 0), "stream": stream,
		"samplers": []string{"penalties", "top_k", "top_p", "min_p", "temperature"},
	}
}

// completion is llama-server's own /completion.
func (s *server) completion(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p completionParams
	j, err := p.readOne(e, r)
	if err != nil {
		return err
	}
	if !p.Stream {
		out, err := e.runner.run(r.Context(), j, nil)
		if err != nil {
			return err
		}
		body := s.completionFinal(e, j, &out, false)
		body["content"] = out.text
		if p.ReturnTokens {
			body["tokens"] = out.tokens
		}
		if j.probs >= 0 {
			body["completion_probabilities"] = probViews(e.model.Tokens, out.probs)
		}
		return answer(w, body)
	}
	events := newEventStream(w)
	out, err := e.runner.run(r.Context(), j, func(c chunk) error {
		body := map[string]any{"index": 0, "content": c.text, "tokens": c.tokens, "stop": false, "id_slot": c.slot,
			"tokens_predicted": c.made, "tokens_evaluated": len(j.prompt)}
		if j.probs >= 0 {
			body["completion_probabilities"] = probViews(e.model.Tokens, c.probs)
		}
		return events.send(body)
	})
	if err == nil {
		err = events.send(s.completionFinal(e, j, &out, true))
	}
	return events.finish(err, false)
}

func (s *server) completionFinal(e *opened, j job, out *outcome, stream bool) map[string]any {
	return map[string]any{
		"index": 0, "content": "", "tokens": []int32{}, "id_slot": out.slot, "stop": true, "model": s.opt.Alias,
		"tokens_predicted": len(out.tokens), "tokens_evaluated": out.prompt, "generation_settings": j.settings(e, stream),
		"prompt": strings.ToValidUTF8(e.model.Tokens.Decode(j.prompt), "\uFFFD"), "has_new_line": strings.Contains(out.text, "\n"),
		"truncated": out.full, "stop_type": out.stop, "stopping_word": out.word, "tokens_cached": out.held, "timings": out.timings(),
	}
}

type textChoice struct {
	Text         string    `json:"text"`
	Index        int       `json:"index"`
	Logprobs     *probList `json:"logprobs"`
	FinishReason *string   `json:"finish_reason"`
}

type textCompletion struct {
	Choices     []textChoice `json:"choices"`
	Created     int64        `json:"created"`
	Model       string       `json:"model"`
	Fingerprint string       `json:"system_fingerprint"`
	Object      string       `json:"object"`
	Usage       *usage       `json:"usage,omitempty"`
	ID          string       `json:"id"`
	Timings     *timings     `json:"timings,omitempty"`
}

// oaiCompletion is OpenAI's /v1/completions.
func (s *server) oaiCompletion(e *opened, w http.ResponseWriter, r *http.Request) error {
	var p completionParams
	jobs, err := p.read(e, r)
	if err != nil {
		return err
	}
	frame := textCompletion{Created: time.Now().Unix(), Model: s.opt.Alias, Fingerprint: fingerprint, Object: "text_completion", ID: newID()}
	if len(jobs) > 1 {
		return s.completeAll(e, w, r, jobs, &p, frame)
	}
	j := jobs[0]
	if !p.Stream {
		out, err := e.runner.run(r.Context(), j, nil)
		if err != nil {
			return err
		}
		reason := out.finishReason()
		frame.Choices = []textChoice{{Text: out.text, Logprobs: probsOrNil(e.model.Tokens, j, out.probs), FinishReason: &reason}}
		frame.Usage, frame.Timings = out.usage(), out.timings()
		return answer(w, frame)
	}
	events := newEventStream(w)
	out, err := e.runner.run(r.Context(), j, func(c chunk) error {
		if c.text == "" && len(c.probs) == 0 {
			return nil
		}
		frame.Choices = []textChoice{{Text: c.text, Logprobs: probsOrNil(e.model.Tokens, j, c.probs)}}
		return events.send(frame)
	})
	if err == nil {
		reason := out.finishReason()
		frame.Choices = []textChoice{{FinishReason: &reason}}
		frame.Timings = out.timings()
		if p.StreamOptions.IncludeUsage {
			frame.Usage = out.usage()
		}
		err = events.send(frame)
	}
	return events.finish(err, true)
}
