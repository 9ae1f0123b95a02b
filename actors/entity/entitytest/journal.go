package entitytest

import (
	"context"
	"slices"
	"sync"
	"time"

	"modelops/actors/entity"
	"modelops/messages"
)

// Journal keeps decisions in memory, sealed and opened as the real one does. Fail, when set, is asked before each append.
type Journal struct {
	Fail func(entity.Append) error

	mu        sync.Mutex
	decisions []messages.Recorded
	snapshots map[messages.ActorID]entity.Snapshot
}

// Append fails with Conflict when expected isn't the actor's last sequence.
func (j *Journal) Append(_ context.Context, a entity.Append) (uint64, error) {
	if j.Fail != nil {
		if err := j.Fail(a); err != nil {
			return 0, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var last uint64
	for _, r := range j.decisions {
		if r.Actor == a.Actor {
			last = r.Sequence
		}
	}
	if last != a.Expected {
		return 0, messages.Errorf(messages.Conflict, a.Actor.String(), "expected %d, last is %d", a.Expected, last)
	}
	d, err := messages.Seal(a.Events)
	if err != nil {
		return 0, err
	}
	events, err := d.Open()
	if err != nil {
		return 0, err
	}
	seq := uint64(len(j.decisions) + 1)
	j.decisions = append(j.decisions, messages.Recorded{Actor: a.Actor, Sequence: seq, Expected: a.Expected, ID: a.Meta.ID, Meta: a.Meta, At: a.At, Events: events, Decision: d})
	return seq, nil
}

// Replay calls fn for the actor's decisions after a sequence.
func (j *Journal) Replay(_ context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	for _, r := range j.Of(actor) {
		if r.Sequence > after {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Of lists an actor's decisions.
func (j *Journal) Of(actor messages.ActorID) []messages.Recorded {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.decisions), func(r messages.Recorded) bool { return r.Actor != actor })
}

// LoadSnapshot finds the latest snapshot.
func (j *Journal) LoadSnapshot(_ context.Context, actor messages.ActorID) (entity.Snapshot, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.snapshots[actor]
	return s, ok, nil
}

// SaveSnapshot keeps a snapshot.
func (j *Journal) SaveSnapshot(_ context.Context, s entity.Snapshot) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.snapshots == nil {
		j.snapshots = map[messages.ActorID]entity.Snapshot{}
	}
	j.snapshots[s.Actor] = s
	return nil
}

// Clock is the real clock, which is virtual in a synctest bubble.
type Clock struct{}

// Now is the time in the bubble.
func (Clock) Now() time.Time { return time.Now() }
