package train

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"

	"modelops/bridges/engine"
)

// Scores are what an evaluation finds. Loss is nats a token of the answers, Exact the share of rows whose greedy answer is
// the reference, after trimming.
type Scores struct {
	Loss       float64 `json:"loss"`
	Perplexity float64 `json:"perplexity"`
	Exact      float64 `json:"exact"`
	Rows       int     `json:"rows"`
	Tokens     int     `json:"tokens"`
}

func (s Scores) metrics() map[string]float64 {
	return map[string]float64{"eval_loss": s.Loss, "perplexity": s.Perplexity, "exact": s.Exact, "eval_rows": float64(s.Rows)}
}

// EvalOptions of an evaluation. Zero values mean the defaults in brackets.
type EvalOptions struct {
	Model     string // GGUF file
	Data      string // rows, JSON lines; of a preference pair the chosen answer counts
	Limit     int    // at most so many rows, from the beginning [all]
	Threads   int    // [as many as the process may use]
	MaxLength int    // tokens a row may have [the model's context]
}

// Evaluate scores a model on held-out rows.
func Evaluate(ctx context.Context, o EvalOptions) (Scores, error) {
	switch {
	case o.Model == "":
		return Scores{}, wrong("--model", "it is missing")
	case o.Data == "":
		return Scores{}, wrong("--data", "it is missing")
	case o.Limit < 0:
		return Scores{}, wrong("--limit", "%d is negative", o.Limit)
	case o.Threads < 0 || o.Threads > 1024:
		return Scores{}, wrong("--threads", "%d isn't between 0 and 1024", o.Threads)
	case o.MaxLength < 0:
		return Scores{}, wrong("--max-length", "%d is negative", o.MaxLength)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	b, err := openModel(ctx, "--model", o.Model, o.MaxLength, o.Threads)
	if err != nil {
		return Scores{}, err
	}
	examples, _, err := b.reader.file(o.Data, nil)
	if err != nil {
		return Scores{}, err
	}
	if o.Limit > 0 {
		examples = examples[:min(len(examples), o.Limit)]
	}
	return b.evaluate(ctx, examples)
}

// model is an opened one: its file taken apart, the network on its values, and the reader for its tokens.
type model struct {
	weights *engine.Weights
	net     *network[float32]
	reader  *reader
}

// openModel reads the model that a flag names.
func openModel(ctx context.Context, flag, path string, length, threads int) (*model, error) {
	w, err := engine.OpenWeights(ctx, path, length)
	if err != nil {
		if ctx.Err() != nil || isMissing(err) {
			return nil, err
		}
		return nil, wrong(flag, "%v", err).hint("models of the llama architecture in GGUF can be trained, with F32, F16, BF16, Q8_0 or Q4_0 tensors and a SentencePiece-style tokenizer")
	}
	net, err := networkOf(w, threads)
	if err != nil {
		return nil, wrong(flag, "%v", err)
	}
	r, err := newReader(w.Model, w.Shape.Context)
	return &model{w, net, r}, err
}

// evaluate scores the present weights. It ends early when ctx does.
func (b *model) evaluate(ctx context.Context, examples []example) (Scores, error) {
	s := Scores{Rows: len(examples)}
	all := make([]*example, len(examples))
	for i := range examples {
		all[i] = &example{chat: examples[i].chat, prompt: examples[i].prompt, answer: examples[i].answer}
	}
	for _, part := range parts(all, 0) {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		for _, loss := range b.net.forward(joined(part)) {
			s.Loss += loss
			s.Tokens++
		}
	}
	if s.Tokens > 0 {
		s.Loss /= float64(s.Tokens)
	}
	s.Perplexity = short(min(math.Exp(s.Loss), math.MaxFloat64))
	answerer := b.weights.Model.NewAnswerer()
	exact := 0
	for _, e := range all {
		limit := 2*(len(e.chat.tokens)-e.prompt) + 8 // what is longer isn't the reference
		text, err := answerer.Greedy(ctx, e.chat.tokens[:e.prompt], limit)
		if err != nil {
			return s, err
		}
		if strings.TrimSpace(text) == strings.TrimSpace(e.answer) {
			exact++
		}
	}
	s.Loss, s.Exact = short(s.Loss), short(float64(exact)/float64(len(all)))
	if !finite(s.Loss) {
		return s, fmt.Errorf("the held-out loss is %v", s.Loss)
	}
	return s, nil
}

// EvaluateReporting is Evaluate for a runner of jobs: the result, or the error, is one event.
func EvaluateReporting(ctx context.Context, o EvalOptions, report Reporter) (Scores, error) {
	c := clock{time.Now()}
	s, err := Evaluate(ctx, o)
	if err != nil {
		report(failed(err))
		return s, err
	}
	report(DoneEvent{Event: "done", T: c.t(), Metrics: s.metrics()})
	return s, nil
}
