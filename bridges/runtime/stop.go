package runtime

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// Stop ends a worker and all it started, also what left its group or session: cmdStop when there is one, SIGTERM, and
// SIGKILL for what is left after the options' StopGrace. Only processes that prove themselves are signalled. It is nil
// when nothing of the worker is left, ModelUnloadError when something can't be ended. When ctx ends it returns its error,
// and the rest is still to be done. Of an attached server nothing is ended: it unloads the model.
func (r *Runtime) Stop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	return r.StopWithin(ctx, spec, w, r.o.StopGrace)
}

// StopWithin is Stop with a grace of its own; 0 means the options'.
func (r *Runtime) StopWithin(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, grace time.Duration) error {
	spec = r.resolved(spec)
	if w.Remote {
		return r.release(ctx, spec, w)
	}
	if grace <= 0 {
		grace = r.o.StopGrace
	}
	var ask func(context.Context)
	if spec.GetCmdStop() != "" {
		ask = func(ctx context.Context) { r.runCmdStop(ctx, spec, w) }
	}
	err := r.processes.Stop(ctx, handleOf(w), grace, ask)
	var e *messages.Error
	if !errors.As(err, &e) {
		return err
	}
	unload := *e
	unload.Code, unload.Subject = messages.ModelUnloadError, subject(spec)
	return &unload
}

// StopStarted stops the workers that were started here and still run. A worker that was started a moment ago may be in no record yet.
func (r *Runtime) StopStarted(ctx context.Context) error {
	return r.processes.StopStarted(ctx, r.o.StopGrace)
}

// Watch blocks until the worker has ended and tells how. A worker that doesn't prove itself counts as ended, unwitnessed.
// When ctx ends, its error is returned and the process is left alone. A remote worker never ends. While it watches it keeps
// the worker's log below its limit.
func (r *Runtime) Watch(ctx context.Context, w *messages.Worker) (process.Exit, error) {
	if w.Remote {
		<-ctx.Done()
		return process.Exit{}, ctx.Err()
	}
	return r.processes.Watch(ctx, handleOf(w))
}

// runCmdStop runs the model's own way to end. Its failure is logged: SIGTERM follows in any case.
func (r *Runtime) runCmdStop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) {
	m := r.macros(kind{}, spec, w.Port, spec.ContextLength)
	m.Values["PID"] = strconv.FormatInt(w.Pid, 10)
	words, err := process.SplitWords(spec.CmdStop)
	if err == nil {
		words, err = m.ExpandAll(words)
	}
	if err == nil && len(words) == 0 {
		err = errors.New("it is empty")
	}
	if err == nil {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.WaitDelay = time.Second
		if cmd.Env, err = r.workerEnv(kind{}, spec, nil, m); err == nil {
			err = cmd.Run()
		}
	}
	if err != nil {
		r.log.Warn("cmdStop failed", "model", spec.Name, "err", err)
	}
}
