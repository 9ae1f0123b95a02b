package control

import (
	"context"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"modelops/messages"
)

// State shows any actor: its view, its state, its last sequence and what it owes.
func (c *Control) State(ctx context.Context, actor messages.ActorID) (*messages.StateReply, error) {
	if err := c.exists(actor); err != nil {
		return nil, err
	}
	return answer[*messages.StateReply](c.o.Door.Ask(ctx, c.local(actor), &messages.QueryView{}))
}

// answer is the reply that an actor must give.
func answer[A proto.Message](r messages.Reply, err error) (A, error) {
	a, ok := r.Answer.(A)
	if err == nil && !ok {
		err = messages.Errorf(messages.Internal, "", "answered with %T", r.Answer)
	}
	return a, err
}

// exists refuses names that no journal, configuration or device knows: asking must not make an actor.
func (c *Control) exists(actor messages.ActorID) error {
	if slices.Contains(c.o.Actors(), c.local(actor)) || actor.Kind == messages.KindArbiter || actor.Kind == messages.KindGateway {
		return nil
	}
	if actor.Kind == messages.KindModel {
		return notFound(actor).WithHint(listModels)
	}
	return messages.NewError(messages.NotFound, actor.String(), "there is no such actor here").WithHint("modelops ps and modelops gpus list the actors")
}

// local completes the identities that people leave short.
func (c *Control) local(actor messages.ActorID) messages.ActorID {
	switch actor.Kind {
	case messages.KindGateway:
		return messages.ActorID{Kind: messages.KindGateway, ID: c.o.Host}
	case messages.KindArbiter:
		return messages.ArbiterActor()
	}
	return actor
}

// Send takes a command by name from JSON to any actor and shows its answer and the events it caused.
func (c *Control) Send(ctx context.Context, actor messages.ActorID, command string, body []byte) (*messages.Sent, error) {
	m, err := parseCommand(command, body)
	if err != nil {
		return nil, err
	}
	if _, declares := m.(*messages.DeclareModel); !declares {
		if err := c.exists(actor); err != nil {
			return nil, err
		}
	}
	r, err := c.o.Door.Ask(ctx, c.local(actor), m)
	if err != nil {
		return nil, err
	}
	return sent(r)
}

func parseCommand(command string, body []byte) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("modelops." + command))
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, command, "there is no such command").
			WithHint("modelops send --help lists the commands of each kind")
	}
	m := t.New().Interface()
	if len(body) == 0 {
		return m, nil
	}
	if err := protojson.Unmarshal(body, m); err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, command, "its JSON can't be read: %w", err)
	}
	return m, nil
}

var inJSON = protojson.MarshalOptions{UseProtoNames: true}

// sent shows a reply in JSON, with the names that journal and CLI use.
func sent(r messages.Reply) (*messages.Sent, error) {
	out := &messages.Sent{Sequence: r.Sequence}
	if r.Answer != nil {
		b, err := inJSON.Marshal(r.Answer)
		if err != nil {
			return nil, err
		}
		out.AnswerType, out.Answer = string(r.Answer.ProtoReflect().Descriptor().Name()), b
	}
	for _, e := range r.Events {
		b, err := inJSON.Marshal(e)
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, messages.SentEvent{Name: messages.EventName(e), Body: b})
	}
	return out, nil
}
