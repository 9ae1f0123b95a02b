package journal

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Query chooses decisions.
type Query struct {
	Actor     messages.ActorID // zero = all
	After     uint64           // only sequences behind this one
	Until     uint64           // last sequence wanted; 0 = the last one known at the start
	UntilTime time.Time        // ends before the first decision later than this; zero = no end
	// Unknown lets decisions through that hold events this build doesn't know, with Events nil and the envelopes in Decision. For
	// showing only: a fold must not skip a fact.
	Unknown bool
}

// errEnough ends a reading early without being an error.
var errEnough = errors.New("enough")

// Replay calls fn with each decision in order and ends at the last one known at the start. It fails with messages.JournalDamaged,
// naming the sequence, when one is missing, an actor's chain is broken or an event is unknown. An error of fn ends it and is returned.
func (r *Reader) Replay(ctx context.Context, q Query, fn func(messages.Recorded) error) error {
	c := newChain(q)
	take := func(s stored) error { return deliver(s, c, q, fn) }
	var err error
	if r.files != nil {
		err = r.files.replay(ctx, q, take)
	} else {
		err = r.replay(ctx, q, take)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func deliver(s stored, c *chain, q Query, fn func(messages.Recorded) error) error {
	subject, rec, err := c.decode(s)
	if err != nil {
		return err
	}
	return c.take(subject, rec, q, fn)
}

// take checks a decision against those before it and passes it on.
func (c *chain) take(subject string, rec messages.Recorded, q Query, fn func(messages.Recorded) error) error {
	if err := c.check(subject, rec.Sequence, rec.Expected); err != nil {
		return err
	}
	if !q.UntilTime.IsZero() && rec.At.After(q.UntilTime) {
		return errEnough
	}
	if err := open(&rec); err != nil && !q.Unknown {
		return err
	}
	return fn(rec)
}

// Replay is Reader.Replay. All actors at once are read from the block files, which costs a fifth of the processor time that a consumer
// takes; up to the last acknowledged sequence they hold whole records while the server goes on writing behind it.
func (j *Journal) Replay(ctx context.Context, q Query, fn func(messages.Recorded) error) error {
	if j.files != nil || q.Actor != (messages.ActorID{}) {
		return j.Reader.Replay(ctx, q, fn)
	}
	f := &files{dir: j.o.Dir, report: Report{Host: j.o.Host, Last: j.Sequence()}, places: &j.places}
	return (&Reader{host: j.o.Host, files: f}).Replay(ctx, q, fn)
}

// replay reads over NATS.
func (r *Reader) replay(ctx context.Context, q Query, take func(stored) error) error {
	last, subject, err := r.end(ctx, q)
	if err != nil || last <= q.After {
		return err
	}
	from := q.After + 1
	if subject != "" {
		if from, err = r.step(ctx, subject, from, q.Until, take); err != nil || from == 0 || from > last {
			return err
		}
	}
	in, err := r.ordered(ctx, from, subject)
	if err != nil {
		return err
	}
	defer in.Stop()
	for {
		m, err := in.Next(jetstream.NextContext(ctx))
		if err != nil {
			return r.unreachable(err)
		}
		s, err := fromNATS(m)
		if err != nil {
			return r.unreachable(err)
		}
		if q.Until != 0 && s.sequence > q.Until {
			return nil
		}
		if err := take(s); err != nil {
			return err
		}
		if s.sequence >= last {
			return nil
		}
	}
}

// steps are read one by one before a consumer is worth its making: an actor behind a snapshot has few decisions to read, and two hundred
// actors recover at once.
const steps = 64

// step reads the first decisions of a subject and returns the sequence to go on from, 0 when there are no more.
func (r *Reader) step(ctx context.Context, subject string, from, until uint64, take func(stored) error) (uint64, error) {
	for range steps {
		m, err := (*r.stream.Load()).GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, r.unreachable(err)
		}
		if until != 0 && m.Sequence > until {
			return 0, nil
		}
		if err := take(stored{subject: []byte(m.Subject), sequence: m.Sequence, head: natsHeads(m.Header), body: m.Data}); err != nil {
			return 0, err
		}
		from = m.Sequence + 1
	}
	return from, nil
}

// end is where a replay ends: the last sequence that matches now. subject is empty for all actors.
func (r *Reader) end(ctx context.Context, q Query) (last uint64, subject string, err error) {
	if q.Actor == (messages.ActorID{}) {
		state, err := r.state(ctx)
		if err != nil {
			return 0, "", err
		}
		last = state.LastSeq
	} else {
		subject = subjectOf(r.host, q.Actor)
		if last, _, err = r.lastOf(ctx, subject); err != nil {
			return 0, "", r.unreachable(err)
		}
	}
	if q.Until != 0 && subject == "" {
		last = min(last, q.Until)
	}
	return last, subject, nil
}

// chain checks that nothing is missing between the decisions that pass by.
type chain struct {
	decoder
	after uint64
	all   bool              // every sequence is expected, not only one actor's
	last  uint64            // of any actor
	heads map[string]uint64 // of each subject
}

func newChain(q Query) *chain {
	return &chain{after: q.After, last: q.After, all: q.Actor == (messages.ActorID{}), heads: map[string]uint64{}}
}

func (c *chain) check(subject string, sequence, expected uint64) error {
	if c.all && sequence != c.last+1 {
		return damagedAt(c.last+1, "it is missing; sequence %d follows %d", sequence, c.last)
	}
	c.last = sequence
	head, seen := c.heads[subject]
	c.heads[subject] = sequence
	if seen && expected != head {
		return damagedAt(sequence, "the chain of %s is broken: it follows sequence %d, but the one before it is %d", subject, expected, head)
	}
	if !seen && expected > c.after {
		return damagedAt(expected, "it is missing: decision %d of %s follows it", sequence, subject)
	}
	return nil
}

func sortActors(a []messages.ActorID) {
	slices.SortFunc(a, func(x, y messages.ActorID) int { return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.ID, y.ID)) })
}
