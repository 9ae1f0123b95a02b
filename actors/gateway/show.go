package gateway

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

func (g *Gateway) obey(command proto.Message) (messages.Reply, error) {
	switch c := command.(type) {
	case *messages.QueryView:
		return messages.Reply{Answer: g.show()}, nil
	case *messages.Crash:
		panic("crash on command: " + c.Reason)
	}
	return messages.Reply{}, entity.Unknown(g.id(), command)
}

func (g *Gateway) id() messages.ActorID {
	return messages.ActorID{Kind: messages.KindGateway, ID: g.o.Host}
}

// show is the gateway's state reply. It has no journal: its sequence is 0 and its state is its view.
func (g *Gateway) show() *messages.StateReply {
	view, err := protojson.Marshal(&messages.StatusView{Models: g.Models()})
	if err != nil {
		view = []byte("{}")
	}
	return &messages.StateReply{Actor: messages.KindGateway + "/" + g.o.Host, StateJson: string(view), ViewJson: string(view)}
}
