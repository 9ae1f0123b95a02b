package entity

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// settle makes what runs equal to what is owed.
func (s *shell[S]) settle() {
	owed := s.kind.Owed(s.state)
	keep := make(map[string]bool, len(owed))
	for _, e := range owed {
		keep[e.Key()] = true
	}
	for key, w := range s.work {
		if !keep[key] {
			w.retire()
			delete(s.work, key)
		}
	}
	for _, e := range owed {
		if w := s.work[e.Key()]; w != nil {
			w.effect = e // the next try does what is owed then
			continue
		}
		w := &work{effect: e}
		s.work[e.Key()] = w
		s.begin(w)
	}
}

// begin does the work on a goroutine of its own; its answer comes back through the mailbox, marked with incarnation and try.
func (s *shell[S]) begin(w *work) {
	s.tries++
	w.try, w.timer = s.tries, nil
	ctx, cancel := context.WithCancel(s.life)
	w.cancel = cancel
	ctx = messages.WithMeta(ctx, messages.Meta{Correlation: s.lastID, Causation: s.lastID})
	done := performed{incarnation: s.incarnation, key: w.effect.Key(), try: w.try}
	effect, perform, self, system := w.effect, s.kind.Perform, s.self, s.system
	go func() {
		defer cancel()
		done.command, done.err = guarded(ctx, effect, perform)
		system.Root.Send(self, done)
	}()
}

// Pause waits for a time, or until ctx ends, whose error it then is.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// guarded turns a panic in owed work into its failure: it runs outside the mailbox, where no supervisor would see it.
func guarded(ctx context.Context, e Effect, perform func(context.Context, Effect) (proto.Message, error)) (cmd proto.Message, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in %s: %v\n%s", e.Key(), r, debug.Stack())
		}
	}()
	return perform(ctx, e)
}

// reported takes the outcome of work. Answers of a former incarnation or an older try are nobody's.
func (s *shell[S]) reported(p performed) {
	w := s.work[p.key]
	if p.incarnation != s.incarnation || w == nil || w.try != p.try {
		return
	}
	w.cancel = nil
	if p.err != nil {
		s.log.Warn("owed work failed; it stays owed", "work", p.key, "error", p.err, "try", w.failed+1)
	}
	if p.command != nil {
		_, err := s.obey(p.command, messages.Meta{Correlation: s.lastID, Causation: s.lastID})
		if err != nil {
			s.log.Warn("the report of owed work was refused", "work", p.key, "error", err)
			if mustRebuild(err) {
				panic(err)
			}
		}
	}
	s.settle()
	if s.work[p.key] == w { // still owed: again after a back-off
		s.later(w)
	}
}

func (s *shell[S]) later(w *work) {
	m := again{incarnation: s.incarnation, key: w.effect.Key(), try: w.try}
	self, system := s.self, s.system
	w.timer = time.AfterFunc(w.pause(), func() { system.Root.Send(self, m) })
	w.failed++
}

func (s *shell[S]) tryAgain(m again) {
	if w := s.work[m.key]; m.incarnation == s.incarnation && w != nil && w.try == m.try && !w.retired {
		s.begin(w)
	}
}
