package entity

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Options are what every shell is given, whatever its kind.
type Options struct {
	Journal       Journal
	Clock         Clock
	NewID         func() string
	Observer      Observer // may be nil
	Log           *slog.Logger
	SnapshotEvery int           // decisions between snapshots; 0 = never
	AppendTimeout time.Duration // 0 = 10 s
}

// Props makes the actor of one identity.
func Props[S any](kind Kind[S], id messages.ActorID, o Options, opts ...actor.PropsOption) *actor.Props {
	if o.AppendTimeout == 0 {
		o.AppendTimeout = 10 * time.Second
	}
	fingerprint := Fingerprint[S]()
	return actor.PropsFromProducer(func() actor.Actor {
		return &shell[S]{
			kind: kind, id: id, o: o, fingerprint: fingerprint, incarnation: &incarnation{},
			log: o.Log.With("actor", id.String()), work: map[string]*work{},
		}
	}, opts...)
}

type shell[S any] struct {
	kind        Kind[S]
	id          messages.ActorID
	o           Options
	log         *slog.Logger
	fingerprint string
	incarnation *incarnation

	state     S
	sequence  uint64
	lastID    string // id of the last decision: causation of the work it owes
	sinceSnap int
	work      map[string]*work
	tries     uint64
	self      *actor.PID
	system    *actor.ActorSystem
	life      context.Context
	endLife   context.CancelFunc
}

// Receive is protoactor's way in. Commands are taken one at a time; an append blocks this actor and no other.
func (s *shell[S]) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		s.start(c)
	case *actor.Restarting, *actor.Stopping:
		s.stop()
	case Envelope:
		s.receive(c, m)
	case performed:
		s.reported(m)
	case again:
		s.tryAgain(m)
	}
}

func (s *shell[S]) start(c actor.Context) {
	s.self, s.system = c.Self(), c.ActorSystem()
	s.life, s.endLife = context.WithCancel(context.Background())
	began := s.o.Clock.Now()
	n, err := s.recover()
	if err != nil {
		// The supervisor backs off and tries again; what the journal can't give is not guessed.
		panic(fmt.Errorf("recover %s: %w", s.id, err))
	}
	if s.o.Observer != nil {
		s.o.Observer.Recovered(s.id, n, s.o.Clock.Now().Sub(began))
	}
	s.changed()
	s.settle()
}

func (s *shell[S]) stop() {
	if s.endLife != nil {
		s.endLife()
	}
	for _, w := range s.work {
		w.retire()
	}
	clear(s.work)
}

// recover folds the snapshot, when it fits, and everything after it.
func (s *shell[S]) recover() (decisions int, err error) {
	s.state, s.sequence = s.kind.New(s.id), 0
	if snap, ok, err := s.o.Journal.LoadSnapshot(s.life, s.id); err == nil && ok && snap.Fingerprint == s.fingerprint && snap.Fold == s.kind.Fold {
		var st S
		if json.Unmarshal(snap.State, &st) == nil {
			s.state, s.sequence = st, snap.Sequence
		}
	}
	err = s.o.Journal.Replay(s.life, s.id, s.sequence, func(r messages.Recorded) error {
		for _, e := range r.Events {
			s.state = s.kind.Evolve(s.state, e, r.Sequence)
		}
		s.sequence, s.lastID = r.Sequence, r.ID
		decisions++
		return nil
	})
	return decisions, err
}

func (s *shell[S]) receive(c actor.Context, e Envelope) {
	defer func() {
		if r := recover(); r != nil { // the message is gone with the incarnation: its sender hears so at once
			s.respond(c, Result{Err: messages.Errorf(messages.Unavailable, s.id.String(), "the actor crashed on the command: %v", r).
				WithRetry(time.Second).WithHint("it restarts from its journal; ask again")})
			panic(r)
		}
	}()
	switch cmd := e.Command.(type) {
	case *messages.QueryView:
		s.respond(c, Result{Reply: messages.Reply{Answer: s.show(), Sequence: s.sequence}})
	case *messages.Crash:
		// A drill: it is as fatal as any bug.
		panic(fmt.Sprintf("crash on command: %s", cmd.Reason))
	default:
		reply, err := s.obey(e.Command, e.Meta)
		if err != nil && mustRebuild(err) {
			panic(fmt.Errorf("rebuild: %w", err))
		}
		s.respond(c, Result{Reply: reply, Err: messages.AsError(err)})
		s.settle()
	}
}

func (s *shell[S]) respond(c actor.Context, r Result) {
	if c.Sender() != nil {
		c.Respond(r)
	}
}

// mustRebuild tells whether the state here may differ from the journal.
func mustRebuild(err error) bool {
	switch messages.CodeOf(err) {
	case messages.Conflict, messages.JournalUnavailable:
		return true
	}
	return false
}

// obey decides, appends, folds, and makes the answer.
func (s *shell[S]) obey(cmd proto.Message, meta messages.Meta) (messages.Reply, error) {
	if s.kind.Prepare != nil {
		cmd = s.kind.Prepare(s.life, cmd)
	}
	stamp := Stamp{Now: s.o.Clock.Now(), ID: s.o.NewID()}
	v, err := s.kind.Decide(s.state, cmd, stamp)
	if err != nil {
		return messages.Reply{Sequence: s.sequence}, err
	}
	if len(v.Events) > 0 {
		if err := s.record(v.Events, meta, stamp); err != nil {
			return messages.Reply{Sequence: s.sequence}, err
		}
	}
	answer := proto.Message(&messages.Done{})
	if v.Answer != nil {
		answer = v.Answer(s.sequence)
	}
	return messages.Reply{Answer: answer, Events: v.Events, Sequence: s.sequence}, nil
}

func (s *shell[S]) record(events []proto.Message, meta messages.Meta, stamp Stamp) error {
	// A decision that is under way is finished even when the actor is stopped meanwhile: hence not s.life.
	ctx, cancel := context.WithTimeout(context.Background(), s.o.AppendTimeout)
	defer cancel()
	if meta.ID == "" {
		meta.ID = stamp.ID
	}
	if meta.Correlation == "" {
		meta.Correlation = meta.ID
	}
	seq, err := s.o.Journal.Append(ctx, Append{Actor: s.id, Expected: s.sequence, Events: events, Meta: meta, At: stamp.Now})
	if err != nil {
		return err
	}
	for _, e := range events {
		s.state = s.kind.Evolve(s.state, e, seq)
	}
	s.sequence, s.lastID = seq, meta.ID
	s.changed()
	s.snapshot()
	return nil
}

func (s *shell[S]) changed() {
	if s.o.Observer != nil {
		s.o.Observer.StateChanged(s.id, s.sequence, s.kind.View(s.state))
	}
}

func (s *shell[S]) snapshot() {
	s.sinceSnap++
	if s.o.SnapshotEvery <= 0 || s.sinceSnap < s.o.SnapshotEvery {
		return
	}
	s.sinceSnap = 0
	b, err := json.Marshal(s.state)
	if err == nil {
		err = s.o.Journal.SaveSnapshot(s.life, Snapshot{Actor: s.id, Sequence: s.sequence, Fingerprint: s.fingerprint, Fold: s.kind.Fold, State: b})
	}
	if err != nil {
		s.log.Debug("no snapshot this time: recovery will read more of the journal", "error", err)
	}
}

func (s *shell[S]) show() *messages.StateReply {
	r := &messages.StateReply{Actor: s.id.String(), Sequence: s.sequence}
	if b, err := json.Marshal(s.state); err == nil {
		r.StateJson = string(b)
	}
	if b, err := protojson.Marshal(s.kind.View(s.state)); err == nil {
		r.ViewJson = string(b)
	}
	for _, e := range s.kind.Owed(s.state) {
		r.Owed = append(r.Owed, e.Key())
	}
	return r
}
