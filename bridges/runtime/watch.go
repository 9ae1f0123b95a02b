package runtime

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"modelops/messages"
)

// Watch blocks until the worker has ended and tells how. A worker that doesn't prove itself counts as ended: the
// reason then begins with "gone:". What a dead worker left behind is killed before that is told: it would hold memory that
// counts as free. When ctx ends, its error is returned and the process is left alone. A remote worker never ends. While it
// watches it keeps the worker's log below its limit.
func (r *Runtime) Watch(ctx context.Context, w *messages.Worker) (code int32, reason string, tail []string, err error) {
	e, err := r.watch(ctx, w)
	return e.Code, e.Reason, e.LogTail, err
}

func (r *Runtime) watch(ctx context.Context, w *messages.Worker) (Exit, error) {
	if w.Remote {
		<-ctx.Done()
		return Exit{}, ctx.Err()
	}
	if c := r.childOf(w); c != nil {
		return r.watchChild(ctx, c)
	}
	g, err := r.prove(w)
	if err != nil {
		if _, err := r.Find(ctx, w.Nonce); err != nil { // ends what it left, when nobody leads that
			return Exit{}, err
		}
		return Exit{Code: -1, Reason: "gone: " + err.Error(), LogTail: Tail(w.LogPath, tailLines)}, nil
	}
	defer g.Close()
	stop := r.keepLog(ctx, w)
	defer stop()
	if err := g.wait(ctx); err != nil {
		return Exit{}, err
	}
	return g.exit(w), r.endLeft(ctx, w)
}

// watchChild waits for our own child, whose exit status we are given in any case.
func (r *Runtime) watchChild(ctx context.Context, c *child) (Exit, error) {
	stop := r.keepLog(ctx, c.worker)
	defer stop()
	select {
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	case <-c.done:
		return c.exit(), r.endLeft(ctx, c.worker)
	}
}

func (c *child) exit() Exit {
	status, ok := c.state.Sys().(syscall.WaitStatus)
	if !ok {
		return Exit{Code: -1, Reason: "ended; the exit code is unknown", LogTail: Tail(c.worker.LogPath, tailLines)}
	}
	e := exitOf(status)
	e.LogTail = Tail(c.worker.LogPath, tailLines)
	return e
}

// exit tells how a process ended that another coordinator had started.
func (g *grip) exit(w *messages.Worker) Exit {
	e := Exit{Code: -1, Reason: "ended; the exit code is unknown, as it was not our child"}
	if status, ok := g.foreignStatus(w.StartTicks); ok {
		e = exitOf(status)
	}
	e.LogTail = Tail(w.LogPath, tailLines)
	return e
}

// keepLog looks after the log's size until stop is called.
func (r *Runtime) keepLog(ctx context.Context, w *messages.Worker) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.logCheck())
		defer tick.Stop()
		for {
			keepBelow(w.LogPath, r.o.LogLimit)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

// logCheck is how often a log's size is looked at: a chatty engine writes some MiB a second at most.
func (r *Runtime) logCheck() time.Duration { return 2 * time.Second }

// Prove is nil when the process that a worker's record names is that worker, or the worker is remote; else it says why not.
func (r *Runtime) Prove(w *messages.Worker) error {
	if w.Remote {
		return nil
	}
	g, err := r.prove(w)
	if err != nil {
		return err
	}
	return g.Close()
}

// Healthy asks a worker whether it can work: it must prove itself and its check endpoint must answer 200.
func (r *Runtime) Healthy(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	k, err := r.kindOf(spec)
	if err != nil {
		return err
	}
	if !w.Remote {
		g, err := r.prove(w)
		if err != nil {
			return messages.Errorf(messages.Unavailable, subject(spec), "the worker is gone: %w", err)
		}
		g.Close()
	}
	path := k.checkPath(spec)
	if path == "" {
		return nil
	}
	a := r.askReady(ctx, k, spec, w, path)
	if a.status == 200 {
		return nil
	}
	return messages.NewError(messages.Unavailable, subject(spec), fmt.Sprintf("%s%s: %s", w.Url, path, a.words()))
}
