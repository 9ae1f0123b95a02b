package main

import (
	"context"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// hostPlacer places every name on this host: its model actor asks the arbiter for the devices.
type hostPlacer struct {
	host string
	door messages.Door
}

// Place implements gateway.Placer.
func (p hostPlacer) Place(ctx context.Context, name string, _ time.Duration) (pool.PlaceAnswer, error) {
	p.door.Tell(ctx, messages.ModelActor(p.host, name), &messages.EnsureModel{Reason: "a request waits for it"})
	return pool.Placed, nil
}
