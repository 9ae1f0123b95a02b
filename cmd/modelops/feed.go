package main

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	natsapi "modelops/bridges/nats"
	"modelops/bridges/telemetry"
	"modelops/journal"
	"modelops/messages"
)

// feed follows the journal from now on, counts what happens and tells watchers on NATS: one message an event, on
// modelops.v1.events.KIND.NAME.EVENT. How far it is behind is the journal's lag.
type feed struct {
	j       *journal.Journal
	metrics *telemetry.Metrics
	seen    atomic.Uint64
	to      atomic.Pointer[natsapi.API]
}

func newFeed(j *journal.Journal, m *telemetry.Metrics) *feed {
	f := &feed{j: j, metrics: m}
	f.seen.Store(j.Sequence())
	return f
}

func (f *feed) publishTo(api *natsapi.API) { f.to.Store(api) }

// lag is how many decisions the feed hasn't seen.
func (f *feed) lag() uint64 {
	last, seen := f.j.Sequence(), f.seen.Load()
	return last - min(seen, last)
}

// run follows until ctx ends, and again after a pause when the journal was restarted in place.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = f.j.Follow(ctx, f.seen.Load(), func(r messages.Recorded) error {
			f.seen.Store(r.Sequence)
			count(f.metrics, r)
			f.publish(r)
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// publish is a courtesy: a watcher that misses an event finds it in the journal.
func (f *feed) publish(r messages.Recorded) {
	api := f.to.Load()
	if api == nil {
		return
	}
	for _, e := range r.Events {
		_ = api.Publish(subject(r.Actor, e), e)
	}
}

func subject(actor messages.ActorID, e proto.Message) string {
	name := actor.Name()
	if name == "" {
		name = actor.ID
	}
	if name == "" {
		name = actor.Kind
	}
	return actor.Kind + "." + natsapi.Token(name) + "." + natsapi.Token(messages.EventName(e))
}
