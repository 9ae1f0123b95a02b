package gateway

import (
	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Props makes the actor through which routes change, one view after the other.
func Props(g *Gateway, opts ...actor.PropsOption) *actor.Props {
	return actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *messages.ModelView:
			g.Update(m)
		case entity.Envelope:
			reply, err := g.obey(m.Command)
			if c.Sender() != nil {
				c.Respond(entity.Result{Reply: reply, Err: messages.AsError(err)})
			}
		}
	}, opts...)
}

func (g *Gateway) obey(command proto.Message) (messages.Reply, error) {
	switch c := command.(type) {
	case *messages.QueryView:
		return messages.Reply{Answer: g.show()}, nil
	case *messages.Crash:
		panic("crash on command: " + c.Reason)
	}
	return messages.Reply{}, entity.Unknown(messages.ActorID{Kind: messages.KindGateway, ID: g.o.Host}, command)
}
