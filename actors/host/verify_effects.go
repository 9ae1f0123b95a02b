package host

import (
	"context"
	"log/slog"
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// verifyWithin bounds the wait for actors to notice what was just seen of their workers; it takes milliseconds.
const verifyWithin = 5 * time.Second

// provePause is the pause before a worker is looked at again that could not be looked at.
const provePause = 100 * time.Millisecond

// Verify looks at the workers of the models that the journal calls ready before the doors open. While the host was down a worker may have
// ended and another program may listen on its port: a request that came before its actor noticed would go to that program. It returns when
// the actors and the gateway know; prove says why a process isn't the worker any more, as soon as that is known.
func Verify(ctx context.Context, host string, views Views, door messages.Door, prove func(*messages.Worker) (gone error, known bool), log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, verifyWithin)
	defer cancel()
	for _, m := range views.ModelsOf(host) {
		if m.Phase != messages.ModelView_ready || m.Worker == nil {
			continue
		}
		gone, known := prove(m.Worker)
		for !known && entity.Pause(ctx, provePause) == nil {
			gone, known = prove(m.Worker)
		}
		if !known { // it may live: its actor goes on asking
			log.Error("it can't be told whether a model's worker lives", "model", m.Name, "why", gone)
			continue
		}
		if gone == nil {
			continue
		}
		log.Info("a worker did not outlive the last stop", "model", m.Name, "why", gone)
		moved := func(v *messages.ModelView) bool { return v.Phase != messages.ModelView_ready || v.Attempt > m.Attempt }
		if _, err := views.AwaitModel(ctx, messages.ModelActor(host, m.Name), moved); err != nil {
			log.Error("a model stays ready though its worker is gone", "model", m.Name, "error", err)
		}
	}
	// The views reach the gateway one after the other; what it answers now, it answers after the last of them.
	if _, err := door.Ask(ctx, messages.ActorID{Kind: messages.KindGateway, ID: host}, &messages.QueryView{}); err != nil {
		log.Error("the gateway doesn't answer", "error", err)
	}
}
