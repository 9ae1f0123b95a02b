package runtime

import (
	"context"

	"modelops/messages"
)

// Owned lists the living workers that carry the identity of this program's data, also those of earlier daemons. The error tells that there may be more.
func (r *Runtime) Owned(context.Context) ([]*messages.Worker, error) {
	owned, err := r.processes.Owned()
	var out []*messages.Worker
	for _, h := range owned {
		out = append(out, foundWorker(h))
	}
	return out, err
}
