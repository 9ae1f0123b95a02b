package goal

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Dispatcher tells the goals of a host whose turn it is. It keeps nothing: what it told and what wasn't heard is told again.
type Dispatcher struct {
	// Turns is the rule in force.
	Turns func() Turns
	// Goals are this host's, as they are now. What an answered command changed is among it.
	Goals func() []*messages.GoalView
	// Changed is closed at the next change of any view; it is taken before Goals.
	Changed func() <-chan struct{}
	Door    messages.Door
	Now     func() time.Time
}

const (
	// longestLook is how long it waits for a change at most: a goal that couldn't be told is told again then.
	longestLook = 30 * time.Second
	// retellAfter is the pause after a goal that couldn't be told.
	retellAfter = time.Second
)

// Run dispatches until ctx ends.
func (d Dispatcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := d.Changed()
		again, told := d.Dispatch(ctx)
		wait := longestLook
		switch {
		case !told:
			wait = retellAfter
		case !again.IsZero():
			wait = min(max(again.Sub(d.Now()), time.Millisecond), longestLook)
		}
		look := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-look.C:
		}
		look.Stop()
	}
}

// Dispatch tells once. again is when a schedule is due next; told is false when a goal couldn't be told. Those that give their turn up are told first: a
// goal that starts and one that yields never depend on each other, because a turn is free only when a view says so.
func (d Dispatcher) Dispatch(ctx context.Context) (again time.Time, told bool) {
	c := d.Turns().Choose(d.Goals(), d.Now())
	told = true
	for id, to := range c.Yield {
		told = d.tell(ctx, id, &messages.YieldGoal{To: to}) && told
	}
	for _, id := range c.Start {
		told = d.tell(ctx, id, &messages.StartGoal{}) && told
	}
	return c.Again, told
}

func (d Dispatcher) tell(ctx context.Context, goal string, command proto.Message) bool {
	id, err := messages.ParseActorID(goal)
	if err != nil {
		return true
	}
	_, err = d.Door.Ask(ctx, id, command)
	return err == nil
}
