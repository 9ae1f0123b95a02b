package main

import (
	"context"

	"modelops/actors/model"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// workers fits the runtime to the model actor's port.
type workers struct{ *runtime.Runtime }

func (w workers) Watch(ctx context.Context, worker *messages.Worker) (model.Exit, error) {
	e, err := w.Runtime.Watch(ctx, worker)
	return model.Exit{Code: e.Code, Reason: e.Reason, Unwitnessed: e.Unwitnessed}, err
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
