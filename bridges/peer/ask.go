package peer

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"modelops/messages"
)

const (
	askTime = 5 * time.Second // for those without a deadline, as at the tree

	subjects = "peer.v1."
)

func subject(what string) string { return subjects + what }

// Ask implements messages.Peers.
func (p *Peers) Ask(ctx context.Context, host string, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	ctx, cancel := within(ctx, askTime)
	defer cancel()
	r, err := travelling(ctx, to, command)
	if err != nil {
		return messages.Reply{}, err
	}
	a, err := p.request(ctx, host, "ask", r)
	if err != nil {
		return messages.Reply{}, err
	}
	return replyOf(a)
}

// Tell implements messages.Peers.
func (p *Peers) Tell(ctx context.Context, host string, to messages.ActorID, command proto.Message) {
	r, err := travelling(ctx, to, command)
	if err != nil {
		p.o.Log.Error("a command can't be sent", "to", to, "error", err)
		return
	}
	r.Tell = true
	l, body := p.linkTo(host), []byte(nil)
	if l == nil {
		return
	}
	if _, err = l.alive(); err == nil {
		if body, err = proto.Marshal(r); err == nil {
			err = l.nc.Publish(subject("ask"), body)
		}
	}
	if err != nil {
		p.o.Log.Debug("a command was not sent", "to", to, "error", err)
	}
}

// Call implements messages.Peers.
func (p *Peers) Call(ctx context.Context, host, operation string, request proto.Message) (proto.Message, error) {
	ctx, cancel := within(ctx, askTime)
	defer cancel()
	body, err := proto.Marshal(request)
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, operation, "the request can't be written: %w", err)
	}
	a, err := p.request(ctx, host, "call", &messages.PeerCall{Operation: operation, Request: body, Meta: metaOf(ctx)})
	if err != nil {
		return nil, err
	}
	return open(a.Answer, a.Body)
}

// Reports implements messages.Peers.
func (p *Peers) Reports(ctx context.Context, host string, r *messages.ReportRequest) (*messages.Report, error) {
	out := new(messages.Report)
	return out, p.poll(ctx, host, "report", r, r.WaitMs, out)
}

// Pages implements messages.Peers.
func (p *Peers) Pages(ctx context.Context, host string, r *messages.PageRequest) (*messages.PageReply, error) {
	out := new(messages.PageReply)
	return out, p.poll(ctx, host, "page", r, r.WaitMs, out)
}

// poll waits longer than the other host does.
func (p *Peers) poll(ctx context.Context, host, what string, r proto.Message, waitMS uint32, out proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(waitMS)*time.Millisecond+askTime)
	defer cancel()
	l := p.linkTo(host)
	if l == nil {
		return stranger(host)
	}
	up, err := l.alive()
	if err != nil {
		return err
	}
	ctx, done := during(ctx, up)
	defer done()
	return l.exchange(ctx, what, r, out)
}

// request asks over a link that is up, and fails when it breaks.
func (p *Peers) request(ctx context.Context, host, what string, r proto.Message) (*messages.PeerAnswer, error) {
	l := p.linkTo(host)
	if l == nil {
		return nil, stranger(host)
	}
	up, err := l.alive()
	if err != nil {
		return nil, err
	}
	ctx, done := during(ctx, up)
	defer done()
	return l.send(ctx, what, r)
}

// send is one request and its answer.
func (l *link) send(ctx context.Context, what string, r proto.Message) (*messages.PeerAnswer, error) {
	body, err := proto.Marshal(r)
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, what, "it can't be written: %w", err)
	}
	m, err := l.nc.RequestWithContext(ctx, subject(what), body)
	if err != nil {
		return nil, l.failure(ctx, what, err)
	}
	a := new(messages.PeerAnswer)
	if err := proto.Unmarshal(m.Data, a); err != nil {
		return nil, messages.Errorf(messages.Internal, "host "+l.host, "its answer can't be read: %w", err)
	}
	if a.Error != nil {
		return nil, a.Error.Err()
	}
	return a, nil
}

// exchange is send for an answer of one known type.
func (l *link) exchange(ctx context.Context, what string, r, out proto.Message) error {
	a, err := l.send(ctx, what, r)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(a.Body, out); err != nil {
		return messages.Errorf(messages.Internal, "host "+l.host, "its answer can't be read: %w", err)
	}
	return nil
}

func (l *link) failure(ctx context.Context, what string, err error) error {
	cause := context.Cause(ctx)
	switch e := new(messages.Error); {
	case errors.As(cause, &e):
		return e
	case cause != nil:
		return messages.AsError(cause)
	case errors.Is(err, nats.ErrNoResponders):
		return unreachable(l.host, "it doesn't serve other hosts yet")
	case errors.Is(err, nats.ErrMaxPayload):
		return messages.Errorf(messages.PayloadTooLarge, what, "it is too large for a host's link: %w", err)
	}
	return unreachable(l.host, whyNot(err)).WithCause(err)
}

// during ends ctx when the link breaks, too.
func during(ctx, up context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(up, func() { cancel(context.Cause(up)) })
	return ctx, func() { stop(); cancel(nil) }
}

func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

func stranger(host string) *messages.Error {
	return messages.NewError(messages.Unavailable, "host "+host, "host "+host+" can't be reached: it is no member of this cluster").
		WithHint("modelops cluster lists the members")
}

// travelling is a command as it travels.
func travelling(ctx context.Context, to messages.ActorID, command proto.Message) (*messages.PeerAsk, error) {
	body, err := proto.Marshal(command)
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, to.String(), "the command can't be written: %w", err)
	}
	return &messages.PeerAsk{Actor: to.String(), Command: nameOf(command), Body: body, Meta: metaOf(ctx)}, nil
}

// metaOf is what of ctx travels with a request.
func metaOf(ctx context.Context) *messages.PeerMeta {
	m, caller := messages.MetaFrom(ctx), messages.CallerFrom(ctx)
	out := &messages.PeerMeta{Id: m.ID, Correlation: cmp.Or(m.Correlation, caller.RequestID), Causation: m.Causation, Caller: cmp.Or(m.Caller, caller.Fingerprint), Principal: messages.PeerCallerOf(caller.Principal)}
	if until, ok := ctx.Deadline(); ok {
		out.TimeoutMs = max(time.Until(until).Milliseconds(), 1)
	}
	return out
}

func nameOf(m proto.Message) string {
	if m == nil {
		return ""
	}
	return string(m.ProtoReflect().Descriptor().Name())
}

// open reads a message by its name; without one there is none.
func open(name string, body []byte) (proto.Message, error) {
	if name == "" {
		return nil, nil
	}
	full := protoreflect.FullName("modelops." + name)
	if name == "Empty" {
		full = "google.protobuf.Empty"
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(full)
	if err != nil {
		return nil, messages.NewError(messages.Unsupported, name, "this version doesn't know the message").WithHint("the hosts run different versions of modelops")
	}
	m := t.New().Interface()
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, messages.Errorf(messages.Internal, name, "it can't be read: %w", err)
	}
	return m, nil
}

func replyOf(a *messages.PeerAnswer) (r messages.Reply, err error) {
	if r.Answer, err = open(a.Answer, a.Body); err != nil {
		return r, err
	}
	for _, e := range a.Events {
		m, err := open(e.Name, e.Body)
		if err != nil {
			return r, err
		}
		r.Events = append(r.Events, m)
	}
	r.Sequence = a.Sequence
	return r, nil
}
