package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"golang.org/x/sys/unix"

	"modelops/actors/model"
	"modelops/bridges/process"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// noCores keeps this process and the workers that it starts from writing core files: their memory holds keys, prompts and answers.
func noCores(log *slog.Logger) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	if err == nil {
		limit.Cur = 0 // the hard limit stays: prlimit --core=unlimited --pid PID allows them again
		err = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
	if err != nil {
		log.Warn("core files can't be switched off: after a crash they may hold keys and prompts", "error", err)
	}
}

// workers fits the runtime to the model actor's port. What fails is journaled, so the values of variables and secrets are hidden first.
type workers struct {
	*runtime.Runtime
	hide    func(string) string
	refuses func(logs string) error // of the folder of a model's logs: a worker that no journal knows writes there
}

func (w workers) Start(ctx context.Context, spec *messages.ModelSpec, p *messages.Placement, nonce string) (*messages.Worker, error) {
	if newest := w.LogPath(spec.GetName()); newest != "" && w.refuses != nil {
		if err := w.refuses(filepath.Dir(newest)); err != nil {
			return nil, err
		}
	}
	worker, err := w.Runtime.Start(ctx, spec, p, nonce)
	return worker, w.hidden(err)
}

func (w workers) AwaitReady(ctx context.Context, spec *messages.ModelSpec, worker *messages.Worker) (uint64, uint32, error) {
	measured, slots, err := w.Runtime.AwaitReady(ctx, spec, worker)
	return measured, slots, w.hidden(err)
}

func (w workers) Need(ctx context.Context, spec *messages.ModelSpec) (*messages.Need, error) {
	need, err := w.Runtime.Need(ctx, spec)
	return need, w.hidden(err)
}

func (w workers) Sleep(ctx context.Context, spec *messages.ModelSpec, worker *messages.Worker) (uint64, error) {
	holds, err := w.Runtime.Sleep(ctx, spec, worker)
	return holds, w.hidden(err)
}

func (w workers) Wake(ctx context.Context, spec *messages.ModelSpec, worker *messages.Worker) error {
	return w.hidden(w.Runtime.Wake(ctx, spec, worker))
}

func (w workers) Watch(ctx context.Context, worker *messages.Worker) (model.Exit, error) {
	e, err := w.Runtime.Watch(ctx, worker)
	return model.Exit{Code: e.Code, Reason: w.hide(e.Reason), Unwitnessed: e.Unwitnessed}, err
}

func (d *daemon) workers() workers {
	return workers{d.runtime, func(text string) string { return d.config().Hide(text) }, func(logs string) error { return d.strays.Refuses(logs) }}
}

// hidden is an error of the same kind, cause included, without secrets in what is shown of it.
func (w workers) hidden(err error) error {
	var e *messages.Error
	if !errors.As(err, &e) {
		return err
	}
	shown := *e
	shown.Message, shown.Hint, shown.Cause = w.hide(e.Message), w.hide(e.Hint), err
	shown.Log = make([]string, len(e.Log))
	for i, line := range e.Log {
		shown.Log[i] = w.hide(line)
	}
	return &shown
}

// lastWords reads a worker's log without the secrets that the configuration knows.
func (d *daemon) lastWords(logFile string) (telling string, lines []string) {
	telling, lines = runtime.LastWords(logFile)
	cfg := d.config()
	for i, line := range lines {
		lines[i] = cfg.Hide(line)
	}
	return cfg.Hide(telling), lines
}

// workerLog reads a part of a model's newest log, without the secrets that the configuration knows.
func (d *daemon) workerLog(model, after string, lines int) (*messages.LogPage, error) {
	p, err := d.workerLogs().Read(model, after, lines)
	if err != nil {
		return nil, err
	}
	return d.logPage(p), nil
}

// logPage is a part of a log without the secrets that the configuration knows.
func (d *daemon) logPage(p process.Part) *messages.LogPage {
	cfg := d.config()
	out := &messages.LogPage{Log: p.Log, Next: p.Next, Unfinished: cfg.Hide(p.Unfinished)}
	for _, line := range p.Lines {
		out.Lines = append(out.Lines, cfg.Hide(line))
	}
	return out
}

func (d *daemon) workerLogs() process.Logs {
	return process.Logs{Root: filepath.Join(d.cfg.DataDir, "logs")}
}
