package control

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Asking for the state of an actor or sending to it makes none: who is unknown is refused before the door.
func TestUnknownActors(t *testing.T) {
	for actor, code := range map[messages.ActorID]messages.Code{
		messages.ModelActor("h", "typo"): messages.ModelNotFound, messages.GPUActor("h", "typo"): messages.NotFound, messages.HostActor("typo"): messages.NotFound,
	} {
		h := open()
		_, err := h.State(t.Context(), actor)
		is(t, err, code, actor.String(), "")
		_, err = h.Send(t.Context(), actor, "QueryView", nil)
		is(t, err, code, actor.String(), "")
		if h.asked != nil {
			t.Errorf("asked %q", h.asked)
		}
	}
}

// The gateway and the arbiter are there without a name, and a living actor is asked.
func TestState(t *testing.T) {
	for actor, to := range map[messages.ActorID]string{
		{Kind: messages.KindGateway}: "gateway/h", {Kind: messages.KindArbiter}: "arbiter", messages.ModelActor("h", "tiny"): "model/h/tiny",
	} {
		h := open()
		h.live = []messages.ActorID{messages.ModelActor("h", "tiny")}
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
			return messages.Reply{Answer: &messages.StateReply{Sequence: 3}}, nil
		}
		if s, err := h.State(t.Context(), actor); err != nil || s.Sequence != 3 || h.asked[0] != to+" QueryView" {
			t.Errorf("%v: %v, %v, asked %q", actor, s, err, h.asked)
		}
		h.obey = func(messages.ActorID, proto.Message) (messages.Reply, error) {
			return messages.Reply{}, messages.NewError(messages.Unavailable, to, "it crashed too often")
		}
		_, err := h.State(t.Context(), actor)
		is(t, err, messages.Unavailable, to, "it crashed too often")
	}
}

func TestSend(t *testing.T) {
	tiny := messages.ModelActor("h", "tiny")
	for name, c := range map[string]struct {
		command, body string
		code          messages.Code
		subject, text string
	}{
		"an unknown command":        {"Explode", "{}", messages.InvalidArgument, "Explode", "no such command"},
		"a field that isn't there":  {"EnsureModel", `{"rason": "x"}`, messages.InvalidArgument, "EnsureModel", "its JSON can't be read"},
		"no JSON":                   {"EnsureModel", `{`, messages.InvalidArgument, "EnsureModel", "its JSON can't be read"},
		"a command that is refused": {"UnloadModel", "{}", messages.FailedPrecondition, "model/h/tiny", "no"},
		"a command without a body":  {"EnsureModel", "", 0, "", ""},
		"a command that is obeyed":  {"EnsureModel", `{"reason": "x"}`, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := open()
			h.live = []messages.ActorID{tiny}
			h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
				if _, unload := m.(*messages.UnloadModel); unload {
					return messages.Reply{}, messages.NewError(messages.FailedPrecondition, to.String(), "no")
				}
				return messages.Reply{Answer: &messages.Done{Note: "n"}, Events: []proto.Message{&messages.ModelWanted{Attempt: 2}}, Sequence: 9}, nil
			}
			r, err := h.Send(t.Context(), tiny, c.command, []byte(c.body))
			is(t, err, c.code, c.subject, c.text)
			if err == nil && (r.AnswerType != "Done" || r.Sequence != 9 || len(r.Events) != 1 || r.Events[0].Name != "model.wanted") {
				t.Errorf("%+v", r)
			}
		})
	}
	h := open() // a declaration makes its actor
	if _, err := h.Send(t.Context(), messages.ModelActor("h", "new"), "DeclareModel", nil); err != nil || h.asked[0] != "model/h/new DeclareModel" {
		t.Errorf("%v, asked %q", err, h.asked)
	}
}
