package gateway

import (
	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// show is the gateway's state reply. It has no journal: its sequence is 0 and its state is its view.
func (g *Gateway) show() *messages.StateReply {
	view, err := protojson.Marshal(&messages.StatusView{Models: g.Models()})
	if err != nil {
		view = []byte("{}")
	}
	return &messages.StateReply{Actor: messages.KindGateway + "/" + g.o.Host, StateJson: string(view), ViewJson: string(view)}
}
