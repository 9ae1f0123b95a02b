package runtime

import (
	"context"
	"net/http"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// Alive is nil when a worker proves that it lived through what just happened to a request: it is the same process, it answers, and it still is
// the same process after that. Where the declaration has no check endpoint, any answer that isn't an error of its own is one.
func (r *Runtime) Alive(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	k, err := r.kindOf(spec)
	if err != nil {
		return err
	}
	if err := r.proven(spec, w); err != nil {
		return err
	}
	if path := k.checkPath(spec); path != "" {
		if a := r.askReady(ctx, k, spec, w, path); a.status != http.StatusOK {
			return messages.Errorf(messages.Unavailable, subject(spec), "%s%s: %s", w.Url, path, a.words())
		}
	} else if a := r.ask(ctx, spec, w, "/"); a.status == 0 || a.status >= http.StatusInternalServerError {
		return messages.Errorf(messages.Unavailable, subject(spec), "%s/: %s", w.Url, a.words())
	}
	return r.proven(spec, w)
}

const (
	// trials is how many requests a worker must answer in a trial: one that fails now and then is found in the end.
	trials = 3
	// computes is how much processor time shows that a worker is at work. Housekeeping takes less in a trial's seconds.
	computes = 50 * time.Millisecond
)

// Works sends the smallest requests of the kind that path takes, and says what became of them. ctx bounds the trial. A kind of request that isn't
// known here can't be tried: then only a worker whose check fails is known to fail.
func (r *Runtime) Works(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, path string) messages.Verdict {
	k, err := r.kindOf(spec)
	if err != nil || w == nil {
		return messages.TrialUnknown
	}
	before, _ := process.CPUTime(w.Pid)
	q, known := trialOf(path)
	if !known {
		path := k.checkPath(spec)
		if path == "" {
			return messages.TrialUnknown
		}
		if a := r.askReady(ctx, k, spec, w, path); a.status != http.StatusOK {
			return r.verdict(ctx, w, a, before)
		}
		return messages.TrialUnknown
	}
	for range trials {
		if a := r.post(ctx, spec, w, q); a.status < 200 || a.status >= 300 {
			return r.verdict(ctx, w, a, before)
		}
	}
	return messages.TrialWorks
}

// trialOf is the smallest request of the kind that a path takes.
func trialOf(path string) (request, bool) {
	switch path {
	case "", "/v1/chat/completions", "/v1/responses", "/v1/messages":
		return chat, true
	case "/v1/completions", "/completion", "/infill":
		return complete, true
	case "/v1/embeddings":
		return embed, true
	}
	return request{}, false
}

// verdict is what an answer other than 200 tells. A refusal tells nothing: the engine may take other words. before is the processor time that the
// worker had used when the trial began.
func (r *Runtime) verdict(ctx context.Context, w *messages.Worker, a answer, before time.Duration) messages.Verdict {
	switch {
	case a.status >= http.StatusInternalServerError && a.status != http.StatusNotImplemented, a.silent() && ctx.Err() == nil:
		return messages.TrialFails
	case a.status != 0:
		return messages.TrialUnknown
	case w.Remote:
		return messages.TrialBusy
	}
	if after, err := process.CPUTime(w.Pid); err != nil || after-before >= computes {
		return messages.TrialBusy
	}
	return messages.TrialSilent
}
