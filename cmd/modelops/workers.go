package main

import (
	"context"
	"strings"

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
	code, reason, tail, err := w.Runtime.Watch(ctx, worker)
	return model.Exit{Code: code, Reason: reason, LogTail: tail, Unwitnessed: strings.HasPrefix(reason, "gone")}, err
}

// Sleep measures what is left. A simulated device has no memory to measure: there who sleeps holds nothing.
func (w workers) Sleep(ctx context.Context, spec *messages.ModelSpec, worker *messages.Worker) (uint64, error) {
	if err := w.Runtime.Sleep(ctx, spec, worker); err != nil {
		return 0, err
	}
	for _, m := range w.d.view.Models() {
		if m.GetWorker().GetPid() != worker.Pid {
			continue
		}
		switch m.GetPlacement().GetDeviceKind() {
		case "simulated":
			return 0, nil
		case "cpu": // not the peak, which was when it was awake
			current, _, err := w.d.ram(worker.Pid)
			return current, err
		}
	}
	return w.Used(ctx, spec, worker)
}
