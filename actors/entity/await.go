package entity

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"modelops/messages"
)

const (
	firstReread   = 50 * time.Millisecond
	longestReread = 2 * time.Second // an actor is back within this time of its journal
	// patience is how long commands are held for an actor that reads its journal again. After it they are answered with the reason.
	patience = time.Second
)

// outage is the time in which a shell has no state to go on with, because its journal couldn't be read or may hold more than it knows.
type outage struct {
	cause   *messages.Error
	held    []heldCommand
	overdue bool // commands are answered at once
	told    bool // the observer was
}

// heldCommand waits for the actor to have read its journal.
type heldCommand struct {
	envelope Envelope
	sender   *actor.PID
}

// reread comes back from a goroutine that read the journal.
type reread[S any] struct {
	outage *outage
	past   past[S]
	err    error
	panic  any // of Evolve: as fatal here as in the mailbox
}

// readAgain tells that the pause before the next reading is over, overdue that commands were held for long enough.
type (
	readAgain struct{ outage *outage }
	overdue   struct{ outage *outage }
)

// await stops the actor's work until its journal has been read again. Its commands are held for a moment, then they are refused.
func (s *shell[S]) await(cause error) {
	s.machine.Stop()
	s.out = &outage{cause: unreadable(s.id, cause), held: s.held}
	s.held = nil
	s.log.Warn("the actor reads its journal again", "reason", cause)
	s.later(patience, overdue{s.out})
	s.pauseThenRead()
}

// unreadable is what callers are told meanwhile. A conflict is one of the journal's writers, and none of theirs.
func unreadable(id messages.ActorID, cause error) *messages.Error {
	e := messages.AsError(cause)
	code := messages.JournalUnavailable
	switch e.Code {
	case messages.JournalFull, messages.JournalDamaged:
		code = e.Code
	}
	return messages.Errorf(code, id.String(), "the actor waits for its journal: %s", e.Message).WithCause(cause).WithRetry(time.Second).
		WithHint("it goes on by itself when the journal can be read and written; modelops health tells what is wrong with the journal")
}

// pauseThenRead reads at once after the first failure of an append; each further one without a decision in between makes the pause longer.
func (s *shell[S]) pauseThenRead() {
	var d time.Duration
	if s.rereads > 0 {
		d = min(firstReread<<min(s.rereads-1, 20), longestReread)
	}
	s.rereads++
	s.later(d, readAgain{s.out})
}

// later sends a message to the actor itself. A message that comes after an incarnation's end is dropped by what it carries.
func (s *shell[S]) later(d time.Duration, message any) {
	self, system := s.self, s.system
	time.AfterFunc(d, func() { system.Root.Send(self, message) })
}

// readBeside reads the journal on a goroutine of its own, so that commands are answered meanwhile.
func (s *shell[S]) readBeside(o *outage) {
	if s.out != o {
		return
	}
	self, system, machine := s.self, s.system, s.machine
	go func() {
		done := reread[S]{outage: o}
		defer func() {
			if r := recover(); r != nil {
				done.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
			}
			system.Root.Send(self, done)
		}()
		done.past, done.err = machine.read()
	}()
}

// take goes on with what was read, or waits longer.
func (s *shell[S]) take(c actor.Context, m reread[S]) {
	if s.out != m.outage {
		return
	}
	if m.panic != nil {
		panic(m.panic)
	}
	if m.err != nil {
		s.out.cause = unreadable(s.id, m.err)
		s.tell()
		s.pauseThenRead()
		return
	}
	s.calm()
	s.held, s.out = s.out.held, nil
	s.machine.resume(m.past)
	for len(s.held) > 0 && s.out == nil {
		h := s.held[0]
		s.held = s.held[1:]
		s.receive(c, h.sender, h.envelope)
	}
}

// hold keeps a command for a moment, or answers it.
func (s *shell[S]) hold(c actor.Context, e Envelope) {
	if s.out.overdue {
		s.respond(c.Sender(), Result{Err: s.out.cause})
		return
	}
	s.out.held = append(s.out.held, heldCommand{e, c.Sender()})
}

// release answers the commands that were held for long enough.
func (s *shell[S]) release(o *outage) {
	if s.out != o {
		return
	}
	o.overdue = true
	s.tell()
	s.refuseHeld(o.held, o.cause)
	o.held = nil
}

func (s *shell[S]) refuseHeld(held []heldCommand, because *messages.Error) {
	for _, h := range held {
		s.respond(h.sender, Result{Err: because})
	}
}

// tell passes on why this takes longer than a moment.
func (s *shell[S]) tell() {
	if w, ok := s.o.Observer.(Waiting); ok && s.out.overdue {
		s.out.told = true
		w.Waits(s.id, s.out.cause)
	}
}

// calm takes back what tell said.
func (s *shell[S]) calm() {
	if w, ok := s.o.Observer.(Waiting); ok && s.out.told {
		s.out.told = false
		w.Waits(s.id, nil)
	}
}
