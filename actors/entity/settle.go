package entity

import (
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// work is one owed effect: a try of it runs, or the pause before the next one. Before the first try of a delayed one, try stands for the delay.
type work struct {
	effect  Effect
	try     Try // the latest
	running bool
	failed  uint
	// unrecorded counts the latest tries in a row that failed for want of a journal.
	unrecorded uint
	told       string // the failure that the log has
}

// settle makes what runs equal to what is owed.
func (m *Machine[S]) settle() {
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
		m.world.Cancel(m.work[key].try)
		delete(m.work, key)
	}
	m.order = kept
	for _, e := range owed {
		key := e.Key()
		if w := m.work[key]; w != nil {
			w.effect = e // the next try does what is owed then
			continue
		}
		w := &work{effect: e}
		m.work[key], m.order = w, append(m.order, key)
		if d, ok := e.(Delayed); ok {
			m.next(w)
			m.world.Later(w.try, d.Delay())
			continue
		}
		m.begin(w)
	}
}

// next makes the latest try of the work a new one.
func (m *Machine[S]) next(w *work) {
	m.tries++
	w.try = Try{Key: w.effect.Key(), Number: m.tries, Effect: w.effect, Cause: m.lastID, life: m.life}
}

func (m *Machine[S]) begin(w *work) {
	m.next(w)
	w.running = true
	m.world.Begin(w.try)
}

// latest finds the work that a try belongs to; nil when the try is of a former incarnation, an older one, or of work that is no longer owed.
func (m *Machine[S]) latest(t Try) *work {
	w := m.work[t.Key]
	if m.life == nil || t.life != m.life || w == nil || w.try.Number != t.Number {
		return nil
	}
	return w
}

// Report takes the end of a try: the command that it reports with, or nil, and the reason why it failed, or nil. Work that is still owed
// after it is tried again after a pause. The report of a try that isn't the latest is dropped. The error says that the command was refused,
// or is a *Rebuild; the machine has logged it.
func (m *Machine[S]) Report(t Try, command proto.Message, failure error) error {
	w := m.latest(t)
	if w == nil || !w.running {
		return nil
	}
	w.running = false
	var refusal error
	if command != nil {
		_, refusal = m.obey(command, t.Meta())
	}
	m.tell(w, failure, refusal)
	if m.life == nil {
		return refusal
	}
	m.settle()
	if m.work[t.Key] == w {
		m.world.Later(w.try, w.pause())
		w.failed++
	}
	return refusal
}

// tell logs why a try did not end the work: once for each reason in a row, not once for each try.
func (m *Machine[S]) tell(w *work, failure, refusal error) {
	if w.unrecorded++; !lacksJournal(failure) && !lacksJournal(refusal) {
		w.unrecorded = 0
	}
	before := w.told
	w.told = reason(failure) + reason(refusal)
	switch {
	case w.told == before:
	case failure != nil:
		m.world.Log().Warn("owed work failed; it stays owed", "work", w.effect.Key(), "error", failure, "try", w.failed+1)
	case refusal != nil:
		m.world.Log().Warn("the report of owed work was refused", "work", w.effect.Key(), "error", refusal)
	}
}

// reason is the same text for the same reason. What a journal says of itself differs each time, as its free space does.
func reason(err error) string {
	switch {
	case err == nil:
		return ""
	case lacksJournal(err):
		return messages.CodeOf(err).String()
	}
	return err.Error()
}

func lacksJournal(err error) bool {
	switch messages.CodeOf(err) {
	case messages.JournalUnavailable, messages.JournalFull, messages.JournalDamaged:
		return err != nil
	}
	return false
}

// Again begins the next try when the pause after a try is over. It is dropped when the work is no longer owed.
func (m *Machine[S]) Again(t Try) {
	if w := m.latest(t); w != nil && !w.running {
		m.begin(w)
	}
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
	// longestUnrecorded bounds the pause of work that waits for a journal: it goes on so soon after the journal is back.
	longestUnrecorded = 5 * time.Second
)

// pause is the exponential back-off before the next try. Without a journal it grows also for work that is tried often.
func (w *work) pause() time.Duration {
	first, longest := firstPause, longestPause
	if p, ok := w.effect.(Paced); ok {
		first, longest = p.Pace()
	}
	pause := min(first<<min(w.failed, 20), longest)
	if w.unrecorded > 0 {
		pause = max(pause, min(firstPause<<min(w.unrecorded-1, 20), longestUnrecorded))
	}
	return pause
}
