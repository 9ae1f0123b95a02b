package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// WarmUp sends one tiny request in the engine's own API, so that work that engines defer to the first request is done before
// a caller waits for it. An engine that understands none of them (an image model, a reranker) needs none. What the engine
// answers otherwise is a ModelLoadError; out of memory is marked as such.
func (r *Runtime) WarmUp(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	spec = r.resolved(spec)
	k, err := r.kindOf(spec)
	if err != nil {
		return err
	}
	return r.warmUp(ctx, k, spec, w)
}

func (r *Runtime) warmUp(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker) error {
	for _, q := range k.warmUps(spec) {
		a := r.post(ctx, spec, w, q)
		for a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests { // not quite yet
			if err := process.Sleep(ctx, pollSlow); err != nil {
				return err
			}
			a = r.post(ctx, spec, w, q)
		}
		switch {
		case a.status >= 200 && a.status < 300:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case a.err != nil || a.status >= 500 && a.status != http.StatusNotImplemented:
			return k.coldFailure(spec, w, q, a)
		}
		r.log.Debug("warm-up not understood", "model", spec.Name, "path", q.path, "status", a.status)
	}
	return nil
}

// warmUps are the requests to try, by what the declaration says of the engine's work.
func (k kind) warmUps(spec *messages.ModelSpec) []request {
	f := flagsOf(spec)
	task, _ := f.value("--task", "--runner", "--convert")
	switch {
	case k.attached != nil || len(k.warm) == 0:
		return k.warm
	case f.has("--rerank", "--reranking") || task == "score" || task == "classify":
		return nil
	case f.has("--embedding", "--embeddings") || task == "embed" || task == "embedding" || task == "pooling":
		return []request{embed}
	}
	return k.warm
}

func (k kind) coldFailure(spec *messages.ModelSpec, w *messages.Worker, q request, a answer) error {
	said := a.words()
	if a.err == nil {
		said = fmt.Sprintf("answered %d: %s", a.status, parseComplaint(a.body).Message)
	}
	e := messages.Errorf(messages.ModelLoadError, subject(spec), "the worker is up, but its first request (%s) failed: %s", q.path, said).
		WithHint("read the worker's log: " + w.LogPath).WithCause(a.err)
	if k.saysOutOfMemory(said) {
		return e.WithCause(&OutOfMemoryError{Line: said, Cause: a.err})
	}
	return e
}

// post sends a request of the table; ctx alone bounds it.
func (r *Runtime) post(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, q request) answer {
	name, err := json.Marshal(upstreamName(spec))
	if err != nil {
		return answer{err: err}
	}
	body := ""
	if q.body != "" {
		body = fmt.Sprintf(q.body, name)
	}
	return r.exchange(ctx, spec, w, http.MethodPost, q.path, body)
}

// postWithin is post with a limit of its own.
func (r *Runtime) postWithin(ctx context.Context, d time.Duration, spec *messages.ModelSpec, w *messages.Worker, q request) answer {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return r.post(ctx, spec, w, q)
}
