package gateway

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"modelops/actors/entity"
	"modelops/messages"
)

// Props makes the actor through which routes change, one view after the other.
func Props(g *Gateway, opts ...actor.PropsOption) *actor.Props {
	return actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *messages.ModelView:
			g.Update(m)
		case *messages.HostView:
			g.SetHost(m)
		case entity.Envelope:
			answer(c, g, m)
		}
	}, opts...)
}

// answer carries out a message and answers it. After a panic the caller gets an error at once; then the supervisor gets the panic.
func answer(c actor.Context, g *Gateway, m entity.Envelope) {
	respond := func(reply messages.Reply, err error) {
		if c.Sender() != nil {
			c.Respond(entity.Result{Reply: reply, Err: messages.AsError(err)})
		}
	}
	defer func() {
		if r := recover(); r != nil {
			respond(messages.Reply{}, messages.Errorf(messages.Unavailable, g.id().String(), "the actor crashed on the command: %v", r).WithRetry(time.Second))
			panic(r)
		}
	}()
	respond(g.obey(m.Command))
}
