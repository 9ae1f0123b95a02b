package main

import (
	"context"
	"strings"

	"modelops/actors/model"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// workers fits the runtime to the model actor's port.
type workers struct{ *runtime.Runtime }

func (w workers) Watch(ctx context.Context, worker *messages.Worker) (model.Exit, error) {
	x, err := w.Runtime.Watch(ctx, worker)
	return model.Exit{Code: x.Code, Reason: x.Reason, LogTail: x.LogTail, Unwitnessed: strings.HasPrefix(x.Reason, "gone")}, err
}
