package main

import (
	"context"

	"modelops/actors/entity"
	"modelops/actors/tree"
	"modelops/actors/view"
	"modelops/journal"
	"modelops/messages"
)

// store fits the journal to the port of the entity shell.
type store struct{ j *journal.Journal }

func (s store) Append(ctx context.Context, a entity.Append) (uint64, error) {
	return s.j.Append(ctx, journal.Append{Actor: a.Actor, Expected: a.Expected, Events: a.Events, Meta: a.Meta, At: a.At})
}

func (s store) Replay(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	return s.j.Replay(ctx, journal.Query{Actor: actor, After: after}, fn)
}

func (s store) LoadSnapshot(ctx context.Context, actor messages.ActorID) (entity.Snapshot, bool, error) {
	snap, ok, err := s.j.LoadSnapshot(ctx, actor)
	return entity.Snapshot(snap), ok, err
}

func (s store) SaveSnapshot(ctx context.Context, snap entity.Snapshot) error {
	return s.j.SaveSnapshot(ctx, journal.Snapshot(snap))
}

// watch passes on what the shells tell: states to the read models, waits to the tree.
type watch struct {
	*view.Projection
	tree *tree.Tree
}

// Waits implements entity.Waiting.
func (w watch) Waits(id messages.ActorID, why *messages.Error) { w.tree.Waits(id, why) }

// history fits the journal to the port of explanations.
type history struct{ *journal.Journal }

func (h history) Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	return h.Journal.Replay(ctx, journal.Query{After: after, Until: until, Unknown: true}, fn)
}
