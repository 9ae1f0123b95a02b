package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// node is a machine, whatever its kind.
type node interface {
	actor() messages.ActorID
	ask(command proto.Message) (messages.Reply, error)
	rebuild()
	halt()
	poke(key string)
	proven() error
}

// task is one owed effect that is being done, or waits for its next try.
type task struct {
	effect entity.Effect
	failed uint
	over   bool
	park   string // what it waits for; empty while it is tried or paused
	timer  proto.Message
}

// machine drives one kind's functions in the order of the entity shell: decide, append, evolve, answer, settle.
type machine[S any] struct {
	w        *World
	kind     entity.Kind[S]
	id       messages.ActorID
	state    S
	sequence uint64
	book     book
	tasks    map[string]*task
	order    []string // keys of tasks, as they became owed: maps have no order
	// timer tells how long a timer of the kind runs and what it says then; ok is false for other work.
	timer func(s S, key string) (d time.Duration, says proto.Message, ok bool)
	// changed hears of every new state, and of the one after a recovery.
	changed func(events []proto.Message)
}

func newMachine[S any](w *World, kind entity.Kind[S], id messages.ActorID) *machine[S] {
	return &machine[S]{w: w, kind: kind, id: id, state: kind.New(id), tasks: map[string]*task{},
		timer: func(S, string) (time.Duration, proto.Message, bool) { return 0, nil, false }, changed: func([]proto.Message) {}}
}

func (m *machine[S]) actor() messages.ActorID { return m.id }

// ask takes a command as the shell does and settles afterwards.
func (m *machine[S]) ask(command proto.Message) (messages.Reply, error) {
	if _, ok := command.(*messages.QueryView); ok {
		view, err := protojson.Marshal(m.kind.View(m.state))
		return messages.Reply{Answer: &messages.StateReply{Actor: m.id.String(), Sequence: m.sequence, ViewJson: string(view)}}, err
	}
	r, err := m.obey(command)
	m.settle()
	return r, err
}

func (m *machine[S]) obey(command proto.Message) (messages.Reply, error) {
	if m.kind.Prepare != nil {
		command = m.kind.Prepare(&try{}, command)
	}
	v, err := m.kind.Decide(m.state, command, entity.Stamp{Now: m.w.now(), ID: m.w.newID()})
	if err != nil {
		m.w.say("%s refuses %s: %v", m.id, name(command), err)
		return messages.Reply{Sequence: m.sequence}, err
	}
	if len(v.Events) > 0 {
		if err := m.record(command, v.Events); err != nil {
			return messages.Reply{}, err
		}
	}
	answer := proto.Message(&messages.Done{})
	if v.Answer != nil {
		answer = v.Answer(m.sequence)
	}
	return messages.Reply{Answer: answer, Events: v.Events, Sequence: m.sequence}, nil
}

// record appends and folds. The coordinator or the actor may crash on both sides of the append: the second is a lost acknowledgement.
func (m *machine[S]) record(command proto.Message, events []proto.Message) error {
	f := m.w.o.Faults
	if m.w.mishap(f.ActorCrash) {
		return m.crash("before its decision on %s was stored", command)
	}
	m.w.mayCrash()
	seq := m.w.write(m.id, &m.book, m.sequence, events)
	m.w.say("%s takes %s: %s", m.id, name(command), told(events))
	m.w.mayCrash()
	if m.w.mishap(f.ActorCrash) {
		return m.crash("after its decision on %s was stored", command)
	}
	for _, e := range events {
		m.state = m.kind.Evolve(m.state, e, seq)
	}
	m.sequence = seq
	m.w.decided(m.id, events)
	m.changed(events)
	return nil
}

func (m *machine[S]) crash(when string, command proto.Message) error {
	m.w.say("%s crashes "+when, m.id, name(command))
	m.rebuild()
	return messages.Errorf(messages.Unavailable, m.id.String(), "the actor crashed on the command").WithRetry(time.Second)
}

// rebuild is a new incarnation: what it did is forgotten, what it knows is what its book says.
func (m *machine[S]) rebuild() {
	m.halt()
	s, err := read(m.kind, m.id, &m.book)
	if err != nil {
		panic(err)
	}
	m.state, m.sequence = s, m.book.last
	m.changed(nil)
	m.settle()
}

// halt forgets the work under way.
func (m *machine[S]) halt() {
	for _, t := range m.tasks {
		t.over = true
	}
	clear(m.tasks)
	m.order = m.order[:0]
}

// settle makes what runs equal to what is owed.
func (m *machine[S]) settle() {
	owed := m.kind.Owed(m.state)
	keep := make(map[string]bool, len(owed))
	for _, e := range owed {
		keep[e.Key()] = true
	}
	kept := m.order[:0]
	for _, key := range m.order {
		if keep[key] {
			kept = append(kept, key)
			continue
		}
		m.tasks[key].over = true
		delete(m.tasks, key)
	}
	m.order = kept
	for _, e := range owed {
		key := e.Key()
		if t := m.tasks[key]; t != nil {
			t.effect = e
			continue
		}
		t := &task{effect: e}
		m.tasks[key], m.order = t, append(m.order, key)
		delay := m.w.latency()
		if d, says, ok := m.timer(m.state, key); ok {
			delay, t.timer = d, says
		}
		m.begin(t, delay)
	}
}

func (m *machine[S]) begin(t *task, delay time.Duration) {
	m.w.after(delay, func() {
		if !t.over {
			m.do(t)
		}
	})
}

// do tries owed work. Its report may come later, twice, or never: then the coordinator crashed with it.
func (m *machine[S]) do(t *task) {
	key := t.effect.Key()
	command, c := t.timer, &try{asker: m.id}
	if command == nil {
		var err error
		command, err = m.kind.Perform(c, t.effect)
		switch {
		case c.until != "":
			t.park = c.until
			return
		case err != nil:
			m.w.say("%s: %s failed: %v", m.id, key, err)
		default:
			m.w.say("%s: %s done", m.id, key)
		}
		m.w.mayCrash()
	}
	if command != nil && m.w.mishap(m.w.o.Faults.LateReport) {
		m.w.after(m.w.long(), func() {
			if !t.over {
				m.report(t, command)
			}
		})
		return
	}
	m.report(t, command)
}

func (m *machine[S]) report(t *task, command proto.Message) {
	if command != nil {
		_, err := m.obey(command)
		switch {
		case err != nil:
			m.w.say("%s: the report of %s was refused: %v", m.id, t.effect.Key(), err)
		case m.w.mishap(m.w.o.Faults.DoubleReport): // never of one that wasn't taken: the shell drops the reports of older tries
			m.w.alive(m.w.long(), func() { _, _ = m.ask(command) })
		}
	}
	m.settle()
	if !t.over { // still owed: again after a back-off
		m.begin(t, t.pause())
		t.failed++
	}
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
)

// pause is the shell's back-off.
func (t *task) pause() time.Duration {
	first, longest := firstPause, longestPause
	if p, ok := t.effect.(entity.Paced); ok {
		first, longest = p.Pace()
	}
	return min(first<<min(t.failed, 20), longest)
}

// poke wakes the work that waits for something.
func (m *machine[S]) poke(key string) {
	for _, k := range m.order {
		if t := m.tasks[k]; t.park == key {
			t.park = ""
			m.begin(t, m.w.latency())
		}
	}
}

// proven compares the live state with the fold of the book, and keeps the fold as snapshot.
func (m *machine[S]) proven() error {
	s, err := read(m.kind, m.id, &m.book)
	if err != nil {
		return err
	}
	folded, err := json.Marshal(s)
	if err != nil {
		return err
	}
	live, err := json.Marshal(m.state)
	if err != nil {
		return err
	}
	if !bytes.Equal(folded, live) {
		return fmt.Errorf("%s: its journal folds to %s, it lives as %s", m.id, folded, live)
	}
	m.book.snapshot, m.book.decisions = folded, nil
	return nil
}
