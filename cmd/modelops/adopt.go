package main

import (
	"context"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// beliefLimit bounds the wait for an actor to see what was just seen here; it takes milliseconds.
const beliefLimit = 5 * time.Second

// believe goes before the doors open: the journal says which models were ready, but while this host was down their workers may have
// ended and others may listen on their ports. A request that came before the actor noticed would go to a stranger.
func (d *daemon) believe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beliefLimit)
	defer cancel()
	for _, m := range d.view.Models() {
		if m.Phase != messages.ModelView_ready || m.Worker == nil {
			continue
		}
		live, why := d.runtime.Prove(m.Worker)
		if live == process.Alive {
			continue
		}
		d.log.Info("a worker did not outlive the last stop", "model", m.Name, "why", why)
		moved := func(v *messages.ModelView) bool { return v.Phase != messages.ModelView_ready || v.Attempt > m.Attempt }
		if _, err := (operations{d}).await(ctx, messages.ModelActor(d.host, m.Name), moved); err != nil {
			d.log.Error("a model stays ready though its worker is gone", "model", m.Name, "error", err)
		}
	}
	// The views reach the gateway one after the other; what it answers now, it answers after the last of them.
	if _, err := d.tree.Ask(ctx, messages.ActorID{Kind: messages.KindGateway, ID: d.host}, &messages.QueryView{}); err != nil {
		d.log.Error("the gateway doesn't answer", "error", err)
	}
}
