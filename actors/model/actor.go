package model

import (
	"context"

	"modelops/actors/entity"
	"modelops/messages"
)

// World is what a model actor touches.
type World struct {
	Runtime Runtime
	Gate    Gate
	Door    messages.Door
	// Free waits until a placement's memory is seen to be free on its device, or counts as foreign use there. While an error says that this can't
	// be known, the lease stays. May be nil.
	Free func(context.Context, *messages.Placement) error
	// Held is what the worker of a split placement holds of each of its devices, in bytes and in their order. May be nil.
	Held func(context.Context, *messages.Placement) []uint64
	// OutOfMemory tells whether a load failed for want of device memory. May be nil.
	OutOfMemory func(error) bool
	// Interrupted tells whether a load failed, or a worker ended with an Exit, because this host stopped, which ends workers too. May be nil.
	Interrupted func(context.Context, error) bool
}

// Kind wires residency to the shell.
func Kind(rules Rules, w World) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindModel, Fold: 6, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: ports{w.Runtime, w.Gate, w.Door, w.Free, w.Held, w.OutOfMemory, w.Interrupted}.perform,
	}
}
