package natsapi

import (
	"bytes"
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// operation serves one operation of the table: the request is the body, and the end of the subject names what it is about.
func (a *API) operation(o messages.Operation) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		request := o.Request()
		if err := c.fill(o, request); err != nil {
			return err
		}
		answer, err := o.Call(messages.WithCaller(ctx, messages.Caller{Principal: c.principal, RequestID: c.id, Only: messages.Only{Host: c.header.Get(messages.HostHeader)}, Reads: c.isRead}), a.Operations, request)
		if err != nil {
			return err
		}
		return c.answerOperation(answer)
	}
}

// fill reads the body, which may be empty when the operation needs none or the subject says all, and the name in the subject.
func (c *call) fill(o messages.Operation, request proto.Message) error {
	m := request.ProtoReflect()
	if m.Descriptor().Fields().Len() == 0 {
		return nil // whatever the body is, it says nothing
	}
	if len(bytes.TrimSpace(c.data)) > 0 || !o.Empty && c.rest == "" {
		if err := parse(c.data, request); err != nil {
			return err
		}
	}
	if o.NATSName == "" {
		return nil
	}
	field := m.Descriptor().Fields().ByName(protoreflect.Name(o.NATSName))
	name, err := c.nameOf(o.NATSName, m.Get(field).String())
	if err != nil {
		return err
	}
	m.Set(field, protoreflect.ValueOfString(name))
	c.model = name
	return nil
}

// answerOperation answers with a message. Ill health is also an error in the headers, for clients that read nothing else.
func (c *call) answerOperation(m proto.Message) error {
	headers := nats.Header{}
	if h, ok := m.(*messages.HealthReply); ok && !h.Ok {
		headers.Set(micro.ErrorHeader, messages.Unavailable.Wire().Name)
		headers.Set(micro.ErrorCodeHeader, "503")
	}
	body, err := shown.Marshal(m)
	if err != nil {
		return messages.Errorf(messages.Internal, c.endpoint.name, "the answer can't be written as JSON: %w", err)
	}
	return c.publish(body, headers)
}
