package simulator

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// try is one try of owed work: a context that never ends by itself. A port that would have to wait names what for: the try is parked until
// that happens.
type try struct{ until string }

type tryKey struct{}

// Deadline implements context.Context.
func (*try) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context. No port waits for it.
func (*try) Done() <-chan struct{} { return nil }

// Err tells whether the try is parked: to a kind that looks like a cancelled one, after which the work stays owed.
func (t *try) Err() error {
	if t.until != "" {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (t *try) Value(key any) any {
	if key == (tryKey{}) {
		return t
	}
	return nil
}

// notYet parks the try that ctx belongs to.
func notYet(ctx context.Context, until string) error {
	if t, ok := ctx.Value(tryKey{}).(*try); ok {
		t.until = until
	}
	return context.Canceled
}

// letter is a command whose sender has stopped waiting for the answer. It is still in the mailbox.
type letter struct {
	to      messages.ActorID
	command proto.Message
}

type door struct{ w *World }

var _ messages.Door = door{}

// Ask dispatches at once. A command can be lost, be taken after its sender stopped waiting, or lose its answer. Mail keeps its order.
func (d door) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if t, ok := ctx.Value(tryKey{}).(*try); ok && t.until != "" {
		return messages.Reply{}, context.Canceled
	}
	w, f := d.w, d.w.o.Faults
	if w.far != nil {
		if at, err := w.far.whose(to, command); err != nil {
			return messages.Reply{}, err
		} else if at != w {
			return w.far.ask(at, to, command)
		}
	}
	node := w.found(to)
	if node == nil {
		return messages.Reply{}, messages.NewError(messages.NotFound, to.String(), "there is no such actor")
	}
	w.deliver(to)
	silence := messages.NewError(messages.Unavailable, to.String(), "no answer").WithRetry(time.Second)
	switch {
	case w.mishap(f.LostAsk):
		w.say("%s to %s is lost", name(command), to)
		return messages.Reply{}, silence
	case w.mishap(f.LateAsk):
		w.say("%s to %s stays in the mailbox", name(command), to)
		w.post(to, command, w.long())
		return messages.Reply{}, silence
	}
	r, err := node.ask(command)
	if w.mishap(f.LostAnswer) {
		w.say("the answer of %s to %s is lost", to, name(command))
		return messages.Reply{}, silence
	}
	return r, err
}

// Tell posts a command.
func (d door) Tell(_ context.Context, to messages.ActorID, command proto.Message) {
	if d.w.far != nil {
		if at, err := d.w.far.whose(to, command); err != nil {
			return
		} else if at != d.w {
			d.w.far.tell(at, to, command)
			return
		}
	}
	d.w.post(to, command, d.w.latency())
}

func (w *World) post(to messages.ActorID, command proto.Message, delay time.Duration) {
	w.mail = append(w.mail, letter{to, command})
	w.alive(delay, func() { w.deliver(to) })
}

// deliver empties a mailbox.
func (w *World) deliver(to messages.ActorID) {
	for i := 0; i < len(w.mail); {
		l := w.mail[i]
		if l.to != to {
			i++
			continue
		}
		w.mail = append(w.mail[:i:i], w.mail[i+1:]...)
		_, _ = w.found(to).ask(l.command)
		i = 0 // the command may have caused more mail
	}
}
