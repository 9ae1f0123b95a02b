package job

import (
	"context"
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// World is what a job actor touches.
type World struct {
	Trainer Trainer
	Door    messages.Door
	// Free waits until a placement's memory is seen to be free on its device, or counts as foreign use there. While an error says that this can't
	// be known, the lease stays. May be nil.
	Free func(context.Context, *messages.Placement) error
	// Measured is the largest device memory that earlier runs of a job's recipe held of one device, in bytes; 0 = not known. May be nil.
	Measured func(*messages.JobSpec) uint64
	// Busy says which requests run or wait on the models of a placement's devices; empty = none. May be nil.
	Busy func(*messages.Placement) string
	// Now is the wall clock by which windows open and close; nil = the process's.
	Now func() time.Time
}

// Kind wires jobs to the shell.
func Kind(rules Rules, w World) entity.Kind[State] {
	return entity.Kind[State]{
		Name: messages.KindJob, Fold: 2, New: New, Decide: rules.Decide, Evolve: Evolve, Owed: Owed, View: View,
		Perform: ports{w.Trainer, w.Door, w.Free, w.Measured, w.Busy, w.Now}.perform,
	}
}
