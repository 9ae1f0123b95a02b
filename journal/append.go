package journal

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Append is one decision to be remembered.
type Append struct {
	Actor    messages.ActorID
	Expected uint64 // sequence of the actor's last decision; 0 = it has none
	Events   []proto.Message
	Meta     messages.Meta // an empty ID is filled in
	At       time.Time     // when it was decided; zero = now
}

const (
	attemptLimit = 3 * time.Second // of one publish; an fsync on a busy disk can take long
	settleLimit  = 2 * time.Second // to find out whether an append whose answer was lost is stored
	attempts     = 3
)

var expectationFailed = &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}

// Append stores the events as one decision and returns its sequence once it is fsynced. It is all or nothing. messages.Conflict: another
// decision of this actor came first, read again. messages.JournalFull and JournalUnavailable: with the cause messages.ErrNotStored nothing was
// stored, and without it that is unknown: read the actor's last decision before trying again. messages.PayloadTooLarge and InvalidArgument:
// it can never be stored.
func (j *Journal) Append(ctx context.Context, a Append) (uint64, error) {
	start := time.Now()
	seq, err := j.append(ctx, a)
	took := time.Since(start)
	j.stats.note(took, err)
	if j.o.Observe != nil {
		j.o.Observe(took, err)
	}
	return seq, err
}

func (j *Journal) append(ctx context.Context, a Append) (uint64, error) {
	if err := j.refusal(a.Actor); err != nil {
		return 0, notStored(err)
	}
	m, err := j.message(a)
	if err != nil {
		return 0, notStored(err)
	}
	for range attempts {
		seq, err := j.publish(ctx, m)
		if err == nil {
			j.raise(seq)
			return seq, nil
		}
		seq, again, err := j.settle(ctx, a, m, err)
		if err != nil {
			return 0, err
		}
		if !again {
			j.raise(seq)
			return seq, nil
		}
	}
	return 0, messages.Errorf(messages.JournalUnavailable, a.Actor.String(), "the decision was not acknowledged in %d attempts", attempts).
		WithRetry(time.Second)
}

// notStored marks an error of an append that never reached the store.
func notStored(err error) error {
	e := messages.AsError(err)
	return e.WithCause(errors.Join(e.Cause, messages.ErrNotStored))
}

func (j *Journal) message(a Append) (*nats.Msg, error) {
	if len(a.Events) == 0 {
		return nil, messages.NewError(messages.InvalidArgument, a.Actor.String(), "a decision without events can't be journaled")
	}
	d, err := messages.Seal(a.Events)
	if err != nil {
		return nil, messages.Errorf(messages.Internal, a.Actor.String(), "%w", err)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		return nil, messages.Errorf(messages.Internal, a.Actor.String(), "encode the decision: %w", err)
	}
	if limit := int(j.o.MaxPayload) - 4096; len(body) > limit {
		return nil, messages.Errorf(messages.PayloadTooLarge, a.Actor.String(), "the decision has %d bytes, the journal takes %d", len(body), limit)
	}
	if a.Meta.ID == "" {
		a.Meta.ID = nuid.Next()
	}
	if a.At.IsZero() {
		a.At = time.Now()
	}
	subject := subjectOf(j.o.Host, a.Actor)
	if len(subject) > longestSubject {
		return nil, messages.Errorf(messages.InvalidArgument, a.Actor.String()[:64]+"...", "its name has %d bytes, too many for a subject of the journal", len(a.Actor.ID)).
			WithHint("a model has " + messages.GoodName)
	}
	return newMessage(subject, j.o.BootID, a, d, body), nil
}

// publish is one attempt.
func (j *Journal) publish(ctx context.Context, m *nats.Msg) (uint64, error) {
	seq, duplicate, err := j.publishOnce(ctx, m)
	if err == nil && duplicate {
		// The expectation held, so this decision isn't there yet: another one within the last 30 s had the same id. The server stored
		// nothing and would say so for ever.
		m.Header[headID] = []string{m.Header.Get(headID) + "." + nuid.Next()}
		seq, _, err = j.publishOnce(ctx, m)
	}
	return seq, err
}

// publishOnce publishes m. duplicate: the server remembers its id and stored nothing.
func (j *Journal) publishOnce(ctx context.Context, m *nats.Msg) (seq uint64, duplicate bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	ack, err := j.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, false, err
	}
	return ack.Sequence, ack.Duplicate, nil
}

// settle finds out what a failed publish did. A lost answer and a conflict look alike: retrying an append of our own whose answer was lost
// is refused as a conflict too. The last decision of the actor tells them apart.
func (j *Journal) settle(ctx context.Context, a Append, m *nats.Msg, cause error) (seq uint64, again bool, err error) {
	if !errors.Is(cause, expectationFailed) {
		if ill := j.diagnose(a.Actor, cause); ill != nil {
			return 0, false, ill
		}
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	last, id, err := j.Reader.lastOf(look, m.Subject)
	switch {
	case err != nil:
		return 0, false, messages.Errorf(messages.JournalUnavailable, a.Actor.String(), "it is unknown whether the decision was stored: %w", errors.Join(cause, err)).
			WithHint("the actor must read its journal again").WithRetry(time.Second)
	case last != 0 && id == m.Header.Get(headID):
		return last, false, nil
	case last != a.Expected:
		return 0, false, messages.Errorf(messages.Conflict, a.Actor.String(), "its last decision is sequence %d, not %d", last, a.Expected).
			WithHint("the actor must read its journal again").WithCause(cause)
	case ctx.Err() != nil:
		return 0, false, messages.AsError(ctx.Err())
	}
	return 0, true, nil
}
