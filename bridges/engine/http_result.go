package engine

import (
	"time"
	"unicode/utf8"
)

// The parts that several answers share.

type usage struct {
	CompletionTokens int          `json:"completion_tokens"`
	PromptTokens     int          `json:"prompt_tokens"`
	TotalTokens      int          `json:"total_tokens"`
	Details          usageDetails `json:"prompt_tokens_details"`
	// Items counts each prompt of a request with several, in their order. It is ours: OpenAI tells the sum only.
	Items []itemUsage `json:"items,omitempty"`
}

type itemUsage struct {
	CompletionTokens int `json:"completion_tokens"`
	PromptTokens     int `json:"prompt_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

type usageDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

func (o *outcome) usage() *usage {
	return &usage{CompletionTokens: len(o.tokens), PromptTokens: o.prompt, TotalTokens: o.prompt + len(o.tokens), Details: usageDetails{o.cached}}
}

// finishReason is OpenAI's word for why the text ended.
func (o *outcome) finishReason() string {
	if o.stop == stopLimit {
		return "length"
	}
	return "stop"
}

type timings struct {
	CacheN              int     `json:"cache_n"`
	PromptN             int     `json:"prompt_n"`
	PromptMS            float64 `json:"prompt_ms"`
	PromptPerTokenMS    float64 `json:"prompt_per_token_ms"`
	PromptPerSecond     float64 `json:"prompt_per_second"`
	PredictedN          int     `json:"predicted_n"`
	PredictedMS         float64 `json:"predicted_ms"`
	PredictedPerTokenMS float64 `json:"predicted_per_token_ms"`
	PredictedPerSecond  float64 `json:"predicted_per_second"`
}

func (o *outcome) timings() *timings {
	t := &timings{CacheN: o.cached, PromptN: o.prompt - o.cached, PredictedN: len(o.tokens)}
	t.PromptMS, t.PromptPerTokenMS, t.PromptPerSecond = pace(o.promptTime, t.PromptN)
	t.PredictedMS, t.PredictedPerTokenMS, t.PredictedPerSecond = pace(o.tokenTime, t.PredictedN)
	return t
}

// pace yields milliseconds, milliseconds per token and tokens per second; JSON knows no infinity, so zero where undefined.
func pace(d time.Duration, n int) (ms, perToken, perSecond float64) {
	ms = float64(d) / 1e6
	if n > 0 {
		perToken = ms / float64(n)
	}
	if ms > 0 {
		perSecond = float64(n) / ms * 1e3
	}
	return ms, perToken, perSecond
}

// probView is one token's log-probability as all paths show it.
type probView struct {
	ID      int32      `json:"id"`
	Token   string     `json:"token"`
	Bytes   []int      `json:"bytes"`
	Logprob float64    `json:"logprob"`
	Top     []probView `json:"top_logprobs,omitzero"`
}

// probList is never null in JSON.
type probList struct {
	Content []probView `json:"content"`
}

// probViews shows tokens with their alternatives; an alternative has no list of its own.
func probViews(t *Tokenizer, probs []tokenProb) []probView {
	out := plainViews(t, probs)
	for i, p := range probs {
		out[i].Top = plainViews(t, p.top)
	}
	return out
}

func plainViews(t *Tokenizer, probs []tokenProb) []probView {
	out := make([]probView, 0, len(probs))
	for _, p := range probs {
		v := probView{ID: p.id, Token: t.Piece(p.id, true), Bytes: []int{}, Logprob: max(p.logprob, -1e30)}
		for _, b := range []byte(v.Token) {
			v.Bytes = append(v.Bytes, int(b))
		}
		if !utf8.ValidString(v.Token) {
			v.Token = ""
		}
		out = append(out, v)
	}
	return out
}

func probsOrNil(t *Tokenizer, j job, probs []tokenProb) *probList {
	if j.probs < 0 {
		return nil
	}
	return &probList{probViews(t, probs)}
}
