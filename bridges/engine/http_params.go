package engine

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
)

// params are the request fields that all generating paths share. A null counts as absent.
type params struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	N                   *int            `json:"n"`
	BestOf              *int            `json:"best_of"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	NPredict            *int            `json:"n_predict"`
	Temperature         *float64        `json:"temperature"`
	TopK                *int            `json:"top_k"`
	TopP                *float64        `json:"top_p"`
	MinP                *float64        `json:"min_p"`
	Seed                *int64          `json:"seed"`
	RepeatPenalty       *float64        `json:"repeat_penalty"`
	RepeatLastN         *int            `json:"repeat_last_n"`
	PresencePenalty     *float64        `json:"presence_penalty"`
	FrequencyPenalty    *float64        `json:"frequency_penalty"`
	IgnoreEOS           bool            `json:"ignore_eos"`
	LogitBias           json.RawMessage `json:"logit_bias"`
	Stop                json.RawMessage `json:"stop"`
	CachePrompt         *bool           `json:"cache_prompt"`
	Grammar             string          `json:"grammar"`
	JSONSchema          json.RawMessage `json:"json_schema"`
	ResponseFormat      struct {
		Type string `json:"type"`
	} `json:"response_format"`
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }

// job turns the parameters into a job for a prompt; it refuses what can't be done.
func (p *params) job(e *opened, prompt []int32) (job, error) {
	j := job{prompt: prompt, limit: -1, probs: -1, sampling: defaultSampling(), noCache: p.CachePrompt != nil && !*p.CachePrompt}
	if err := p.refuse(); err != nil {
		return j, err
	}
	for _, v := range []*int{p.NPredict, p.MaxTokens, p.MaxCompletionTokens} {
		set(&j.limit, v)
	}
	if j.limit < -1 {
		return j, invalid("max_tokens (n_predict) is %d: want -1 for no limit, or 0 and more", j.limit)
	}
	if err := p.sample(e, &j.sampling); err != nil {
		return j, err
	}
	var err error
	if j.stops, err = stopStrings(p.Stop); err != nil {
		return j, err
	}
	return j, fits(e, prompt)
}

func (p *params) refuse() error {
	switch {
	case p.N != nil && *p.N != 1 || p.BestOf != nil && *p.BestOf != 1:
		return invalid("only one choice per request is supported (\"n\" and \"best_of\" must be 1)")
	case p.Grammar != "" || !absent(p.JSONSchema):
		return invalid("grammars and JSON schemas are not supported by this engine")
	case p.ResponseFormat.Type != "" && p.ResponseFormat.Type != "text":
		return invalid("response_format %q is not supported by this engine, only \"text\" is", p.ResponseFormat.Type)
	}
	return nil
}

func (p *params) sample(e *opened, s *Sampling) error {
	set(&s.Temperature, p.Temperature)
	set(&s.TopK, p.TopK)
	set(&s.TopP, p.TopP)
	set(&s.MinP, p.MinP)
	set(&s.RepeatPenalty, p.RepeatPenalty)
	set(&s.RepeatLastN, p.RepeatLastN)
	set(&s.PresencePenalty, p.PresencePenalty)
	set(&s.FrequencyPenalty, p.FrequencyPenalty)
	s.IgnoreEOS = p.IgnoreEOS
	s.Seed = rand.Uint32()
	if p.Seed != nil && *p.Seed != -1 && *p.Seed != math.MaxUint32 {
		s.Seed = uint32(*p.Seed)
	}
	switch {
	case s.RepeatPenalty <= 0:
		return invalid("repeat_penalty must be more than 0")
	case s.RepeatLastN < -1:
		return invalid("repeat_last_n must be -1 (the whole context) or more")
	}
	return p.bias(e, s)
}

// bias reads both forms: [[token or text, bias or false], ...] and {"token": bias}.
func (p *params) bias(e *opened, s *Sampling) error {
	if absent(p.LogitBias) {
		return nil
	}
	s.Bias = map[int32]float32{}
	add := func(token any, amount any) error {
		strength, ok := amount.(float64)
		if amount == false {
			strength, ok = math.Inf(-1), true
		}
		if !ok {
			return invalid("logit_bias: a bias must be a number or false")
		}
		ids, err := tokensOf(e, token, false)
		for _, id := range ids {
			s.Bias[id] += float32(strength)
		}
		return err
	}
	var pairs [][2]any
	var named map[string]float64
	if json.Unmarshal(p.LogitBias, &pairs) == nil {
		for _, pair := range pairs {
			if err := add(pair[0], pair[1]); err != nil {
				return err
			}
		}
		return nil
	}
	if json.Unmarshal(p.LogitBias, &named) != nil {
		return invalid("logit_bias must be a list of [token, bias] or an object of token ids")
	}
	for key, amount := range named {
		id, err := strconv.ParseFloat(key, 64)
		if err != nil {
			return invalid("logit_bias: %q is not a token id", key)
		}
		if err := add(id, amount); err != nil {
			return err
		}
	}
	return nil
}

func stopStrings(raw json.RawMessage) ([]string, error) {
	if absent(raw) {
		return nil, nil
	}
	var list []string
	var one string
	if json.Unmarshal(raw, &one) == nil {
		list = []string{one}
	} else if json.Unmarshal(raw, &list) != nil {
		return nil, invalid("\"stop\" must be a string or a list of strings")
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" }), nil
}

// tokensOf turns one element of a prompt, a text or a token id, into tokens.
func tokensOf(e *opened, v any, addSpecial bool) ([]int32, error) {
	switch v := v.(type) {
	case string:
		return e.model.Tokens.Encode(v, addSpecial, true), nil
	case float64:
		if v != math.Trunc(v) || v < 0 || v >= float64(e.model.Tokens.Size()) {
			return nil, invalid("token %v is not in the vocabulary of %d", v, e.model.Tokens.Size())
		}
		return []int32{int32(v)}, nil
	}
	return nil, invalid("a prompt is a string, a list of tokens, or a list of both")
}

// promptTokens reads a prompt: a text, tokens, or a mix of both.
func promptTokens(e *opened, v any) ([]int32, error) {
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
		if _, isText := v.(string); !isText {
			return nil, invalid("a prompt is a string, a list of tokens, or a list of both")
		}
	}
	var out []int32
	for i, part := range list {
		ids, err := tokensOf(e, part, i == 0)
		if err != nil {
			return nil, err
		}
		out = append(out, ids...)
	}
	return out, nil
}

// fits refuses a prompt that is empty or leaves no room for an answer.
func fits(e *opened, prompt []int32) error {
	if len(prompt) == 0 {
		return invalid("the prompt is empty")
	}
	if len(prompt) < e.model.Context {
		return nil
	}
	return tooLong(len(prompt), e.model.Context)
}

func tooLong(tokens, context int) error {
	return &apiError{code: http.StatusBadRequest, kind: "exceed_context_size_error",
		message: "request (" + strconv.Itoa(tokens) + " tokens) exceeds the available context size (" + strconv.Itoa(context) +
			" tokens), try increasing it",
		extra: map[string]any{"n_prompt_tokens": tokens, "n_ctx": context}}
}
