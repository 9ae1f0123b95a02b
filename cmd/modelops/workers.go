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
	return model.Exit(e), err
}
