package main

import (
	"context"

	"modelops/actors/model"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// workers fits the runtime to the model actor's port.
type workers struct {
	*runtime.Runtime
	d *daemon
}

func (w workers) Watch(ctx context.Context, worker *messages.Worker) (model.Exit, error) {
	e, err := w.Runtime.Watch(ctx, worker)
	return model.Exit(e), err
}

// Sleep measures what is left, and asks the engine where nothing else tells.
func (w workers) Sleep(ctx context.Context, spec *messages.ModelSpec, worker *messages.Worker) (uint64, error) {
	if err := w.Runtime.Sleep(ctx, spec, worker); err != nil {
		return 0, err
	}
	if holds, known, err := w.d.sampler.Asleep(worker.Pid); known {
		return holds, err
	}
	return w.Used(ctx, spec, worker)
}
