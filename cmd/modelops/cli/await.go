package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"modelops/messages"
)

const (
	watchAfter = 500 * time.Millisecond // a fast answer is not watched
	watchEvery = 500 * time.Millisecond
)

// awaiting shows on stderr what a request waits for, until the returned function is called; calls after the first do nothing.
func (c *cli) awaiting(ctx context.Context, r *messages.InferenceRequest) (done func()) {
	if r.RequestId == "" {
		r.RequestId = uuid.NewString()
	}
	bar := c.progress("waiting for " + r.ModelName)
	if !bar.shows() {
		return bar.done
	}
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); c.watchRequest(ctx, r, bar) }()
	return func() { bar.done(); stop(); <-watched }
}

// watchRequest looks at the queue and the model on a connection of its own: a key that may only infer is refused there, which must not end the
// request. It ignores errors, because the request doesn't depend on it.
func (c *cli) watchRequest(ctx context.Context, r *messages.InferenceRequest, bar *progress) {
	if !pause(ctx, watchAfter) {
		return
	}
	k, err := c.dial(ctx)
	if err != nil {
		return
	}
	defer k.close()
	host, err := k.host(ctx)
	if err != nil {
		return
	}
	for {
		q, err := k.GetQueue(ctx, nil)
		if k.refused.Err() != nil {
			return
		}
		if err == nil {
			c.showRequest(ctx, k, host, r, q, bar)
		}
		if !pause(ctx, watchEvery) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (c *cli) showRequest(ctx context.Context, k *client, host string, r *messages.InferenceRequest, q *messages.QueueView, bar *progress) {
	for _, each := range q.Requests {
		if each.RequestId != r.RequestId {
			continue
		}
		if each.State == "running" {
			bar.stage(each.Model + " works on the answer")
			return
		}
		if v, err := k.model(ctx, messages.ModelActor(host, each.Model)); err == nil && v.Phase != messages.ModelView_ready {
			showLoad(ctx, v, bar)
			return
		}
		label := fmt.Sprintf("%s: place %d in its queue", each.Model, each.Position)
		if each.ExpectedMs > 0 {
			label += fmt.Sprintf(", about %s more", lasting(time.Duration(each.ExpectedMs)*time.Millisecond))
		}
		bar.stage(label)
	}
}
