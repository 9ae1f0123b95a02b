package runtime

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// defaultURL is where a command answers when its spec doesn't say.
const defaultURL = "http://127.0.0.1:${PORT}"

// The variables that tell a worker's address. A coordinator that has no record of the worker reads them.
const (
	modelVar = "MODELOPS_MODEL"
	portVar  = "MODELOPS_PORT"
	urlVar   = "MODELOPS_URL"
)

// Start starts a worker and returns at once; AwaitReady tells when it can work. It is idempotent by nonce: a living worker
// that carries it is returned instead, so a caller that was killed before it recorded the first one may ask again.
// The process outlives ctx and us; a ctx that ended before the fork starts nothing. ModelLoadError tells what is wrong with
// spec or program, and when to try again if that may pass; Unavailable that nothing was started, and that it can be tried again.
func (r *Runtime) Start(ctx context.Context, spec *messages.ModelSpec, placement *messages.Placement, nonce string) (*messages.Worker, error) {
	declared := spec
	spec = r.resolved(declared)
	k, err := r.kindOf(spec)
	if err != nil {
		return nil, err
	}
	if nonce == "" {
		return nil, messages.NewError(messages.InvalidArgument, subject(spec), "a worker needs a nonce")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k.remote {
		return r.attach(k, declared, spec, nonce)
	}
	if _, err := r.apiKey(spec); err != nil {
		return nil, err
	}
	l, err := r.plan(k, spec, placement, nonce, fit{r.contextFor(ctx, k, spec), r.batchFor(ctx, k, spec)})
	if err != nil {
		switch w, finding := r.Find(ctx, nonce); {
		case finding != nil:
			return nil, finding // one may live: the attempt isn't over
		case w != nil:
			return r.again(ctx, spec, handleOf(w)) // it lives already, so nothing of the plan is needed
		}
		return nil, asLoadError(spec, err)
	}
	h, started, err := r.processes.Start(ctx, l.spec)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case messages.CodeOf(err) == messages.Unavailable:
		return nil, of(spec, err)
	case err != nil:
		return nil, asLoadError(spec, err)
	case !started:
		return r.again(ctx, spec, h)
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "worker started", slog.String("model", spec.Name), slog.Int64("pid", h.Pid), slog.String("url", l.url))
	return workerOf(h, l.url), nil
}

// again is the record of a worker of an earlier start with the same nonce. One that dropped its environment is ended: nothing else tells where it
// answers.
func (r *Runtime) again(ctx context.Context, spec *messages.ModelSpec, h process.Handle) (*messages.Worker, error) {
	w := foundWorker(h)
	if w.Url != "" {
		r.log.Info("worker found again", "model", spec.Name, "pid", h.Pid)
		return w, nil
	}
	if err := r.processes.Stop(ctx, h, r.o.StopGrace, nil); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, of(spec, err)
	}
	return nil, messages.Errorf(messages.Unavailable, subject(spec), "a worker of an interrupted start (pid %d) didn't say where it answers, and was ended", h.Pid).
		WithRetry(time.Second)
}

// workerOf is the record of a worker that answers at url.
func workerOf(h process.Handle, url string) *messages.Worker {
	return &messages.Worker{Pid: h.Pid, StartTicks: h.StartTicks, Nonce: h.Nonce, KernelBootId: h.BootID, Url: url, Port: portOf(url),
		Fingerprint: h.Fingerprint, LogPath: h.LogPath}
}

// foundWorker is the record of a worker that was found, rebuilt from its environment.
func foundWorker(h process.Handle) *messages.Worker {
	return workerOf(h, process.Variable(h.Pid, urlVar))
}

// handleOf names the process of a worker.
func handleOf(w *messages.Worker) process.Handle {
	return process.Handle{Pid: w.Pid, StartTicks: w.StartTicks, BootID: w.KernelBootId, Nonce: w.Nonce, Fingerprint: w.Fingerprint, LogPath: w.LogPath}
}

// Find looks for the living worker with this nonce; nil without an error when there is none. The error tells that it can't be told.
func (r *Runtime) Find(ctx context.Context, nonce string) (*messages.Worker, error) {
	h, live, why := r.processes.Find(ctx, nonce)
	switch {
	case live == process.Alive:
		return foundWorker(h), nil
	case live == process.Gone:
		return nil, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, messages.Errorf(messages.Unavailable, nonce, "it can't be told whether a worker lives: %w", why).WithRetry(time.Second)
}

// attach makes the worker of a remote URL. Its address is the declared one, because it is journaled; Address fills in the variables.
func (r *Runtime) attach(k kind, declared, spec *messages.ModelSpec, nonce string) (*messages.Worker, error) {
	address := declared.Url
	if address == "" && k.attached != nil {
		address = r.o.OllamaURL
	}
	address = strings.ReplaceAll(address, "${MODEL_ID}", publicName(spec))
	where, err := process.Macros{Env: r.env, Known: knownMacros}.Expand(r.Address(spec.Name, address))
	if err != nil {
		return nil, asLoadError(spec, err)
	}
	if u, err := url.Parse(where); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, messages.Errorf(messages.ModelLoadError, subject(spec), "url %q is no http address", address).
			WithHint("give the server's base URL, such as https://example.org/v1")
	}
	if _, err := r.apiKey(spec); err != nil {
		return nil, err
	}
	return &messages.Worker{Nonce: nonce, Url: baseURL(address), Remote: true}, nil
}

// of gives an error its model as the subject.
func of(spec *messages.ModelSpec, err error) error {
	e := *messages.AsError(err)
	e.Subject = subject(spec)
	return &e
}

// asLoadError tells which model a fault in its spec belongs to.
func asLoadError(spec *messages.ModelSpec, err error) error {
	e := *messages.AsError(err)
	e.Code, e.Subject, e.Retry = messages.ModelLoadError, subject(spec), max(e.Retry, process.Passes(err))
	return &e
}
