package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Snapshot is an actor's state as it was after one of its decisions. It is a cache: deleting it costs time only.
type Snapshot struct {
	Actor       messages.ActorID
	Sequence    uint64 // the actor's decision up to which State is folded
	Fingerprint string // of the state's schema; a reader with another one must not use State
	Fold        uint32 // version of the fold that made State; a reader with another one must not use State
	State       []byte
}

func snapshotKey(a messages.ActorID) string { return token(a.Kind) + "." + token(a.ID) }

// SaveSnapshot replaces the actor's snapshot. It does not wait for the disk. Losing it is no error for the caller to act on.
func (j *Journal) SaveSnapshot(ctx context.Context, s Snapshot) error {
	bucket := j.snapshots.Load()
	if bucket == nil {
		return messages.NewError(messages.JournalUnavailable, s.Actor.String(), "there is no store for snapshots in this run")
	}
	if err := j.refusal(s.Actor); err != nil {
		return err
	}
	value := encodeSnapshot(s)
	if len(value) > int(j.o.MaxPayload)-4096 {
		return messages.Errorf(messages.PayloadTooLarge, s.Actor.String(), "the snapshot has %d bytes, the journal takes %d", len(value), int(j.o.MaxPayload)-4096)
	}
	if _, err := (*bucket).Put(ctx, snapshotKey(s.Actor), value); err != nil {
		return messages.Errorf(messages.JournalUnavailable, s.Actor.String(), "the snapshot can't be stored: %w", err)
	}
	return nil
}

// LoadSnapshot is the actor's last snapshot. One that can't be read, or that knows more than the journal, is as good as none.
func (j *Journal) LoadSnapshot(ctx context.Context, a messages.ActorID) (Snapshot, bool, error) {
	bucket := j.snapshots.Load()
	if bucket == nil {
		return Snapshot{}, false, nil
	}
	entry, err := (*bucket).Get(ctx, snapshotKey(a))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Snapshot{}, false, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			return Snapshot{}, false, messages.AsError(ctx.Err())
		}
		j.o.Log.Warn("snapshot can't be read, replaying instead", "actor", a, "err", err)
		return Snapshot{}, false, nil
	}
	s, ok := decodeSnapshot(entry.Value())
	if !ok {
		j.o.Log.Warn("snapshot is damaged, replaying instead", "actor", a)
		return Snapshot{}, false, nil
	}
	s.Actor = a
	last, err := j.Last(ctx, a)
	if err != nil {
		return Snapshot{}, false, err
	}
	if s.Sequence > last {
		j.o.Log.Warn("snapshot is ahead of the journal, replaying instead", "actor", a, "snapshot", s.Sequence, "journal", last)
		return Snapshot{}, false, nil
	}
	return s, true, nil
}

// DeleteSnapshots forgets all snapshots.
func (j *Journal) DeleteSnapshots(ctx context.Context) error {
	if j.o.ReadOnly {
		return j.refusal(messages.ActorID{})
	}
	err := j.js.DeleteStream(ctx, bucketStream)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return messages.Errorf(messages.JournalUnavailable, bucketName, "the snapshots can't be deleted: %w", err)
	}
	j.openSnapshots(ctx)
	return nil
}

// The value of a snapshot: checksum of the rest, sequence, fold version, length of the fingerprint, fingerprint, state.
func encodeSnapshot(s Snapshot) []byte {
	b := make([]byte, 4, 4+3*binary.MaxVarintLen64+len(s.Fingerprint)+len(s.State))
	b = binary.AppendUvarint(b, s.Sequence)
	b = binary.AppendUvarint(b, uint64(s.Fold))
	b = binary.AppendUvarint(b, uint64(len(s.Fingerprint)))
	b = append(append(b, s.Fingerprint...), s.State...)
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return b
}

func decodeSnapshot(b []byte) (Snapshot, bool) {
	if len(b) < 4 || crc32.ChecksumIEEE(b[4:]) != binary.LittleEndian.Uint32(b) {
		return Snapshot{}, false
	}
	b = b[4:]
	sequence, n := binary.Uvarint(b)
	if n <= 0 {
		return Snapshot{}, false
	}
	b = b[n:]
	fold, n := binary.Uvarint(b)
	if n <= 0 || fold > math.MaxUint32 {
		return Snapshot{}, false
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return Snapshot{}, false
	}
	b = b[n:]
	return Snapshot{Sequence: sequence, Fingerprint: string(b[:size]), Fold: uint32(fold), State: append([]byte(nil), b[size:]...)}, true
}
