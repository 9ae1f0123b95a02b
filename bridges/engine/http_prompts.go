package engine

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
)

// maxPrompts bounds the prompts of one request.
const maxPrompts = 4096

// spread does n pieces of work, so many at once, and ends all at the first error.
func spread(ctx context.Context, n, atOnce int, work func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(n, atOnce) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := work(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// completeAll is OpenAI's /v1/completions with several prompts: a choice for each, with its place as index. They run beside
// each other as far as there are slots; a stream tells them one after the other.
func (s *server) completeAll(e *opened, w http.ResponseWriter, r *http.Request, jobs []job, p *completionParams, frame textCompletion) error {
	if p.Stream {
		return s.streamAll(e, w, r, jobs, p, frame)
	}
	outs := make([]outcome, len(jobs))
	err := spread(r.Context(), len(jobs), s.opt.Slots, func(ctx context.Context, i int) (err error) {
		outs[i], err = e.runner.run(ctx, jobs[i], nil)
		return err
	})
	if err != nil {
		return err
	}
	for i := range outs {
		reason := outs[i].finishReason()
		frame.Choices = append(frame.Choices, textChoice{Text: outs[i].text, Index: i, Logprobs: probsOrNil(e.model.Tokens, jobs[i], outs[i].probs), FinishReason: &reason})
	}
	frame.Usage = sumUsage(outs)
	return answer(w, frame)
}

func (s *server) streamAll(e *opened, w http.ResponseWriter, r *http.Request, jobs []job, p *completionParams, frame textCompletion) error {
	events := newEventStream(w)
	outs := make([]outcome, len(jobs))
	for i, j := range jobs {
		out, err := e.runner.run(r.Context(), j, func(c chunk) error {
			if c.text == "" && len(c.probs) == 0 {
				return nil
			}
			frame.Choices = []textChoice{{Text: c.text, Index: i, Logprobs: probsOrNil(e.model.Tokens, j, c.probs)}}
			return events.send(frame)
		})
		if err != nil {
			return events.finish(err, true)
		}
		outs[i] = out
		reason := out.finishReason()
		frame.Choices = []textChoice{{Index: i, FinishReason: &reason}}
		if i == len(jobs)-1 && p.StreamOptions.IncludeUsage {
			frame.Usage = sumUsage(outs)
		}
		if err := events.send(frame); err != nil {
			return events.finish(err, true)
		}
	}
	return events.finish(nil, true)
}

// sumUsage counts all prompts together, and each by itself.
func sumUsage(outs []outcome) *usage {
	all := &usage{}
	for i := range outs {
		one := outs[i].usage()
		all.CompletionTokens += one.CompletionTokens
		all.PromptTokens += one.PromptTokens
		all.TotalTokens += one.TotalTokens
		all.Details.CachedTokens += one.Details.CachedTokens
		all.Items = append(all.Items, itemUsage{one.CompletionTokens, one.PromptTokens, one.TotalTokens})
	}
	return all
}
