package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"modelops/messages"
)

// workersEnd bounds how long the workers may take to end.
const workersEnd = 15 * time.Second

// Workers ends worker processes.
type Workers interface {
	Stop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
	// StopStarted ends processes of starts that no journal knows yet.
	StopStarted(ctx context.Context) error
	// Owned lists what else runs of this data directory's workers.
	Owned(ctx context.Context) ([]*messages.Worker, error)
}

// StopWorkers ends the processes of a host's models after its actors are gone: their journal still says that the models are wanted, so the next
// start brings them back. It doesn't end with ctx, whose time the last requests may have used up: an engine that ignores SIGTERM must not
// outlive a good stop.
func StopWorkers(ctx context.Context, host string, views Views, workers Workers) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workersEnd)
	defer cancel()
	var ending sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, m := range views.ModelsOf(host) {
		if m.Worker == nil || m.Worker.Remote {
			continue
		}
		ending.Go(func() {
			if err := workers.Stop(ctx, m.Spec, m.Worker); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
	}
	ending.Wait()
	failed = errors.Join(failed, workers.StopStarted(ctx)) // from here on none is started
	rest, err := workers.Owned(ctx)
	failed = errors.Join(failed, err)
	for _, w := range rest { // an earlier start's, which this one didn't come to know
		failed = errors.Join(failed, workers.Stop(ctx, nil, w))
	}
	return failed
}
