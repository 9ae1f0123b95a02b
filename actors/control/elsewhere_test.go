package control

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// otherHosts is a cluster in which pc2 answers.
type otherHosts struct{ asked []string }

func (o *otherHosts) Has(host string) bool { return host == "pc2" }

func (o *otherHosts) Call(_ context.Context, host, operation string, request proto.Message) (proto.Message, error) {
	o.asked = append(o.asked, host+" "+operation)
	switch operation {
	case "GetState":
		return &messages.StateReply{Sequence: 9}, nil
	case "SendCommand":
		return &messages.SendReply{Sequence: 8}, nil
	}
	return nil, messages.NewError(messages.Unavailable, "host "+host, "it can't be reached")
}

// An actor of another host is shown and commanded by that host, once.
func TestActorsOfOtherHosts(t *testing.T) {
	h, others := open(), &otherHosts{}
	h.o.Hosts = others
	s, err := h.GetState(t.Context(), &messages.StateRequest{Actor: "model/pc2/tiny"})
	if err != nil || s.Sequence != 9 {
		t.Errorf("%v, %v", s, err)
	}
	r, err := h.SendCommand(t.Context(), &messages.SendRequest{Actor: "model/pc2/tiny", Command: "EnsureModel"})
	if err != nil || r.Sequence != 8 || len(others.asked) != 2 || len(h.asked) != 0 {
		t.Errorf("%v, %v, %v, %v", r, err, others.asked, h.asked)
	}
	_, err = h.GetState(t.Context(), &messages.StateRequest{Actor: "model/pc9/tiny"})
	is(t, err, messages.ModelNotFound, "model/h/pc9/tiny", "")
	_, err = h.GetState(messages.WithPeer(t.Context(), "pc2"), &messages.StateRequest{Actor: "model/pc2/tiny"})
	is(t, err, messages.ModelNotFound, "model/pc2/tiny", "")
	if len(others.asked) != 2 {
		t.Error(others.asked)
	}
}
