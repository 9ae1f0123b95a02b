package runtime

import (
	"context"
	"fmt"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// Prove tells whether the process that a worker's record names is running and is that worker; the error says why it is not
// Alive. A remote worker counts as alive.
func (r *Runtime) Prove(w *messages.Worker) (process.Liveness, error) {
	if w.Remote {
		return process.Alive, nil
	}
	return r.processes.Prove(handleOf(w))
}

// proven is nil for a worker that may be asked something. A worker that can't prove itself is not asked: its port may be
// another's.
func (r *Runtime) proven(spec *messages.ModelSpec, w *messages.Worker) error {
	switch live, why := r.Prove(w); live {
	case process.Unknown:
		return cantKnow(spec, why)
	case process.Gone:
		return messages.Errorf(messages.Unavailable, subject(spec), "the worker is gone: %w", why)
	}
	return nil
}

// cantKnow is the error for a worker of which it can't be told whether it lives.
func cantKnow(spec *messages.ModelSpec, why error) *messages.Error {
	return messages.Errorf(messages.Unavailable, subject(spec), "it can't be told whether the worker lives: %w", why).
		WithHint("modelops needs descriptors (ulimit -n), a readable /proc, and pidfd_open and pidfd_send_signal in its seccomp profile").
		WithRetry(time.Second)
}

// Healthy asks a worker whether it can work: it must prove itself and its check endpoint must answer 200.
func (r *Runtime) Healthy(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	spec = r.resolved(spec)
	k, err := r.kindOf(spec)
	if err != nil {
		return err
	}
	if err := r.proven(spec, w); err != nil {
		return err
	}
	path := k.checkPath(spec)
	if path == "" {
		return nil
	}
	a := r.askReady(ctx, k, spec, w, path)
	if a.status == 200 {
		return nil
	}
	return messages.NewError(messages.Unavailable, subject(spec), fmt.Sprintf("%s%s: %s", w.Url, path, a.words()))
}
