package tree

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// longestAsk bounds the wait for an answer whatever deadline the caller has.
const longestAsk = 10 * time.Minute

// Ask sends a command and waits for its answer, for ctx's deadline or AskTimeout when it has none. A caller that leaves isn't held up; its
// command may still be carried out.
func (t *Tree) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	pid, err := t.find(to)
	if err != nil {
		return messages.Reply{}, err
	}
	if err := ctx.Err(); err != nil {
		return messages.Reply{}, messages.AsError(err)
	}
	within := t.o.AskTimeout
	if _, ok := ctx.Deadline(); ok {
		within = longestAsk
	}
	a := answer{make(chan any, 1)}
	registry := t.system.ProcessRegistry
	sender, _ := registry.Add(a, "ask"+registry.NextId())
	defer registry.Remove(sender)
	t.system.Root.RequestWithCustomSender(pid, entity.Envelope{Command: command, Meta: messages.MetaFrom(ctx)}, sender)
	patience := time.NewTimer(within)
	defer patience.Stop()
	select {
	case said := <-a.said:
		return t.read(to, said)
	case <-ctx.Done():
		return messages.Reply{}, messages.AsError(context.Cause(ctx))
	case <-patience.C:
		return messages.Reply{}, unanswered(to, "no answer within "+within.Round(time.Millisecond).String())
	}
}

func (t *Tree) read(to messages.ActorID, said any) (messages.Reply, error) {
	switch r := said.(type) {
	case entity.Result:
		if r.Err != nil {
			return r.Reply, r.Err
		}
		return r.Reply, nil
	case *actor.DeadLetterResponse:
		return messages.Reply{}, unanswered(to, "the actor is gone")
	}
	return messages.Reply{}, messages.Errorf(messages.Internal, to.String(), "answered with %T", said)
}

func unanswered(to messages.ActorID, what string) *messages.Error {
	return messages.NewError(messages.Unavailable, to.String(), what).WithRetry(time.Second).
		WithHint("the actor restarts from its journal; modelops state " + to.String() + " shows it")
}

// answer is the address of one answer. The library's futures can't be given up early: ending one while it is answered is a data race.
type answer struct{ said chan any }

// SendUserMessage takes the first answer; there is no second.
func (a answer) SendUserMessage(_ *actor.PID, message any) {
	_, said, _ := actor.UnwrapEnvelope(message)
	select {
	case a.said <- said:
	default:
	}
}

// SendSystemMessage does nothing: an answer has no watchers.
func (a answer) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing: an answer ends with its question.
func (a answer) Stop(*actor.PID) {}
