package runtime

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// refusedFor is for how long an address may refuse connections until the load fails: nothing listens there. It is tried again like any failed load.
const refusedFor = 5 * time.Second

// awaitRemote polls a remote URL. Only its refusal of our key is final, and of connections for a time.
func (r *Runtime) awaitRemote(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker) (ready, error) {
	budget := leastLoadTime
	if spec.LoadTimeoutSeconds > 0 {
		budget = time.Duration(spec.LoadTimeoutSeconds) * time.Second
	}
	began := time.Now()
	until := began.Add(budget)
	path := k.checkPath(spec)
	for path != "" {
		a := r.ask(ctx, spec, w, path)
		switch {
		case errors.Is(a.err, syscall.ECONNREFUSED) && time.Since(began) > min(budget, refusedFor):
			return ready{}, messages.Errorf(messages.ModelLoadError, subject(spec), "%s refuses connections: %s", w.Url, a.words()).
				WithHint("check the url, and that the server is running").WithCause(a.err)
		case a.status == http.StatusOK:
			return r.attachModel(ctx, k, spec, w, until)
		case ctx.Err() != nil:
			return ready{}, ctx.Err()
		case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
			return ready{}, messages.Errorf(messages.ModelLoadError, subject(spec), "%s refused our key: %s", w.Url, a.words()).
				WithHint("set api_key_env to the name of the variable that holds the key")
		case time.Now().After(until):
			return ready{}, messages.Errorf(messages.ModelLoadError, subject(spec), "%s%s gave no 200 within %s: %s", w.Url, path, budget, a.words()).
				WithHint("check the url, and that the server is running").WithCause(a.err)
		}
		if err := process.Sleep(ctx, pollRemote); err != nil {
			return ready{}, err
		}
	}
	return r.attachModel(ctx, k, spec, w, until)
}

// attachModel has an attached server load the model. Of other remote URLs nothing is known, and nothing asked.
func (r *Runtime) attachModel(ctx context.Context, k kind, spec *messages.ModelSpec, w *messages.Worker, until time.Time) (ready, error) {
	out := ready{slots: r.slots(k, spec)}
	if k.attached == nil {
		return out, nil
	}
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if a := r.post(limited, spec, w, k.attached.has); a.status != http.StatusOK {
		return ready{}, k.lacking(spec, w, a)
	}
	if err := r.warmUp(limited, k, spec, w); err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return ready{}, messages.Errorf(messages.ModelLoadError, subject(spec), "%s at %s did not load it in time", k.name, w.Url).
				WithHint("raise healthCheckTimeout when it only needs longer").WithCause(errNotReady)
		}
		return ready{}, err
	}
	bytes, err := r.Used(ctx, spec, w)
	if err != nil {
		r.log.Warn("a model's memory can't be measured", "model", spec.Name, "err", err)
	}
	out.bytes = bytes
	return out, nil
}

func (k kind) lacking(spec *messages.ModelSpec, w *messages.Worker, a answer) error {
	if a.status == http.StatusNotFound {
		return messages.Errorf(messages.ModelLoadError, subject(spec), "%s at %s has no model %q", k.name, w.Url, upstreamName(spec)).
			WithHint(k.name + " pull " + upstreamName(spec) + ", or correct useModelName")
	}
	return messages.Errorf(messages.ModelLoadError, subject(spec), "%s at %s was asked for %q: %s", k.name, w.Url, upstreamName(spec), a.words()).
		WithHint("read its log").WithCause(a.err)
}

// unloadTime is how long an attached server may take to give a model's memory back.
const unloadTime = 30 * time.Second

// release has an attached server unload the model and sees that it is gone. Where no server listens, nothing is held; a
// server that can't be asked may hold it.
func (r *Runtime) release(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	k, err := r.kindOf(spec)
	if err != nil || k.attached == nil {
		return nil
	}
	stays := func(a answer) error {
		return messages.Errorf(messages.ModelUnloadError, subject(spec), "%s at %s keeps it: %s", k.name, w.Url, a.words()).
			WithHint(k.name + " stop " + upstreamName(spec)).WithRetry(process.KillTime)
	}
	a := r.postWithin(ctx, unloadTime, spec, w, k.attached.unload)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case a.refused() || a.status == http.StatusNotFound:
		return nil
	case a.status == 0 || a.status >= http.StatusInternalServerError:
		return stays(a)
	}
	for until := time.Now().Add(unloadTime); ; {
		a := r.ask(ctx, spec, w, k.attached.loaded)
		if _, is := a.listed(upstreamName(spec)); a.refused() || a.status == http.StatusOK && !is {
			return ctx.Err()
		}
		if time.Now().After(until) {
			return stays(a)
		}
		if err := process.Sleep(ctx, pollSlow); err != nil {
			return err
		}
	}
}
