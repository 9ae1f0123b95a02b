package entity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Machine is one event-sourced actor without mailbox, goroutine or clock. It is used by one goroutine at a time.
//
// A panic of the kind or of the world leaves the machine between two steps: only Start and Stop may be called then.
type Machine[S any] struct {
	// SnapshotEvery is how many decisions lie between two snapshots; 0 = never.
	SnapshotEvery int

	kind        Kind[S]
	id          messages.ActorID
	world       World
	fingerprint string

	past[S]
	life      *life // nil while stopped
	sinceSnap int
	work      map[string]*work
	order     []string // keys of work, in the order in which it became owed: maps have no order
	tries     uint64
}

// past is what the journal tells.
type past[S any] struct {
	state     S
	sequence  uint64
	lastID    string // id of the last decision: causation of the work it owes
	decisions int
}

// NewMachine makes a stopped machine. Its state is that of an actor without a past until Start has read the journal.
func NewMachine[S any](kind Kind[S], id messages.ActorID, w World) *Machine[S] {
	return &Machine[S]{kind: kind, id: id, world: w, fingerprint: Fingerprint[S](), past: past[S]{state: kind.New(id)}, work: map[string]*work{}}
}

// State is the fold of all decisions.
func (m *Machine[S]) State() S { return m.state }

// Sequence is that of the last decision; 0 for none.
func (m *Machine[S]) Sequence() uint64 { return m.sequence }

// Start reads the journal and begins what is owed. It begins a new incarnation: tries of the former one are cancelled, and their late
// reports are dropped.
func (m *Machine[S]) Start() error {
	m.Stop()
	p, err := m.read()
	if err != nil {
		return err
	}
	m.resume(p)
	return nil
}

// resume begins a new incarnation of a stopped machine with what read gave.
func (m *Machine[S]) resume(p past[S]) {
	m.past, m.sinceSnap, m.life = p, 0, &life{}
	m.world.Recovered(p.decisions)
	m.settle()
}

// Stop cancels all work. A stopped machine takes no commands and no reports.
func (m *Machine[S]) Stop() {
	m.life = nil
	for _, key := range m.order {
		m.world.Cancel(m.work[key].try)
	}
	clear(m.work)
	m.order = m.order[:0]
}

// read folds the snapshot, when it fits, and everything after it. It changes nothing in the machine, and may run beside its other methods.
func (m *Machine[S]) read() (past[S], error) {
	p := past[S]{state: m.kind.New(m.id)}
	if s, ok, err := m.world.LoadSnapshot(); err == nil && ok && s.Fingerprint == m.fingerprint && s.Fold == m.kind.Fold {
		var from S
		if json.Unmarshal(s.State, &from) == nil {
			p.state, p.sequence = from, s.Sequence
		}
	}
	err := m.world.Replay(p.sequence, func(r messages.Recorded) error {
		p.state = m.fold(p.state, r.Events, r.Sequence)
		p.sequence, p.lastID = r.Sequence, r.ID
		p.decisions++
		return nil
	})
	return p, err
}

func (m *Machine[S]) fold(s S, events []proto.Message, sequence uint64) S {
	for _, e := range events {
		s = m.kind.Evolve(s, e, sequence)
	}
	return s
}

// Ask takes one command: it decides, appends, folds, starts and cancels work, and gives the answer. After a *Rebuild error the machine has
// stopped.
func (m *Machine[S]) Ask(command proto.Message, meta messages.Meta) (messages.Reply, error) {
	if m.life == nil {
		return messages.Reply{}, messages.NewError(messages.Unavailable, m.id.String(), "the actor is stopped").WithRetry(time.Second)
	}
	if _, ok := command.(*messages.QueryView); ok {
		return messages.Reply{Answer: m.show(), Sequence: m.sequence}, nil
	}
	r, err := m.obey(command, meta)
	if m.life != nil {
		m.settle()
	}
	return r, err
}

func (m *Machine[S]) obey(command proto.Message, meta messages.Meta) (messages.Reply, error) {
	var stamp Stamp
	if m.kind.Observe != nil {
		stamp.Readings = m.kind.Observe(m.world.Life(), command)
	}
	stamp.Now, stamp.ID = m.world.Now(), m.world.NewID()
	v, err := m.kind.Decide(m.state, command, stamp)
	if err != nil {
		return messages.Reply{Sequence: m.sequence}, err
	}
	if len(v.Events) > 0 {
		if err := m.record(command, v.Events, meta, stamp); err != nil {
			return messages.Reply{Sequence: m.sequence}, err
		}
	}
	if m.kind.Accepted != nil {
		m.kind.Accepted(m.id, command)
	}
	answer := proto.Message(&messages.Done{})
	if v.Answer != nil {
		answer = v.Answer(m.sequence)
	}
	return messages.Reply{Answer: answer, Events: v.Events, Sequence: m.sequence}, nil
}

func (m *Machine[S]) record(command proto.Message, events []proto.Message, meta messages.Meta, stamp Stamp) error {
	if meta.ID == "" {
		meta.ID = stamp.ID
	}
	if meta.Correlation == "" {
		meta.Correlation = meta.ID
	}
	sequence, err := m.world.Append(Append{Actor: m.id, Expected: m.sequence, Events: events, Meta: meta, At: stamp.Now})
	switch {
	case err == nil:
	case errors.Is(err, messages.ErrNotStored): // the command is refused, and the state is still that of the journal
		return err
	default: // another writer came first, or it is unknown whether the decision is stored
		m.Stop()
		return &Rebuild{Cause: err}
	}
	m.state = m.fold(m.state, events, sequence)
	m.sequence, m.lastID = sequence, meta.ID
	m.world.Decided(command, events)
	m.saveSnapshot()
	return nil
}

func (m *Machine[S]) saveSnapshot() {
	m.sinceSnap++
	if m.SnapshotEvery <= 0 || m.sinceSnap < m.SnapshotEvery {
		return
	}
	m.sinceSnap = 0
	s, err := m.Snapshot()
	if err == nil {
		err = m.world.SaveSnapshot(s)
	}
	if err != nil {
		m.world.Log().Debug("no snapshot this time: recovery will read more of the journal", "error", err)
	}
}

// Snapshot is the live state as a cache of the journal up to Sequence.
func (m *Machine[S]) Snapshot() (Snapshot, error) {
	b, err := json.Marshal(m.state)
	return Snapshot{Actor: m.id, Sequence: m.sequence, Fingerprint: m.fingerprint, Fold: m.kind.Fold, State: b}, err
}

// Verify compares the live state with what snapshot and journal fold to.
func (m *Machine[S]) Verify() error {
	p, err := m.read()
	if err != nil {
		return err
	}
	folded, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	live, err := json.Marshal(m.state)
	if err != nil {
		return err
	}
	if !bytes.Equal(folded, live) || p.sequence != m.sequence {
		return fmt.Errorf("%s: replay gives %s at %d, the live state is %s at %d", m.id, folded, p.sequence, live, m.sequence)
	}
	return nil
}

func (m *Machine[S]) show() *messages.StateReply {
	r := &messages.StateReply{Actor: m.id.String(), Sequence: m.sequence}
	if b, err := json.Marshal(m.state); err == nil {
		r.StateJson = string(b)
	}
	if b, err := protojson.Marshal(m.kind.View(m.state)); err == nil {
		r.ViewJson = string(b)
	}
	for _, e := range m.kind.Owed(m.state) {
		r.Owed = append(r.Owed, e.Key())
	}
	return r
}
