package cli

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	natsapi "modelops/bridges/nats"
	"modelops/journal"
	"modelops/messages"
)

const apiRoot = "modelops.v1."

// client asks a running daemon over NATS. A request's id is the correlation of the context's meta, or a new one.
type client struct {
	messages.Operations
	nc      *nats.Conn
	refused context.Context // ends when the server refuses a subject, with the reason as its cause: the request gets no answer then
}

// dial connects to the daemon that the flags name. The error is Unavailable when no server answers there.
func (c *cli) dial(ctx context.Context) (*client, error) {
	address, left, err := c.serverURL()
	if err != nil {
		return nil, err
	}
	if address, err = c.natsAt(ctx, address); err != nil {
		return nil, err
	}
	wait := 2 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(d), time.Millisecond))
	}
	secured, err := c.secure(address)
	if err != nil {
		return nil, err
	}
	proof := c.credentialFor(address)
	refused, refuse := context.WithCancelCause(context.WithoutCancel(ctx))
	options := append(secured, nats.Name("modelops cli"), nats.Timeout(wait), nats.MaxReconnects(5), nats.ReconnectWait(200*time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { // a lost message shows as a gap in a stream or as a timeout
			if errors.Is(err, nats.ErrPermissionViolation) {
				refuse(denied(address, err))
			}
		}))
	if proof.option != nil {
		options = append(options, proof.option)
	}
	nc, err := nats.Connect(address, options...)
	if errors.Is(err, nats.ErrAuthorization) {
		return nil, proof.refused(address, err)
	}
	if ctx.Err() != nil || wait < time.Second && errors.Is(err, nats.ErrTimeout) {
		if nc != nil {
			nc.Close()
		}
		return nil, messages.NewError(messages.DeadlineExceeded, withoutPassword(address), "the deadline passed before the daemon was reached").WithCause(err)
	}
	if err != nil {
		hint := "start one with `modelops serve`, or name another with --server"
		if c.named() != "" {
			hint = "is this the NATS address that `modelops serve` printed?"
		} else if left != "" {
			hint = "the daemon that wrote " + left + " no longer runs; start it again with `modelops serve`"
		}
		return nil, messages.Errorf(messages.Unavailable, withoutPassword(address), "no daemon can be reached: %w", err).WithHint(hint)
	}
	k := &client{nc: nc, refused: refused}
	k.Operations = messages.Through(k.operate)
	return k, nil
}

func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the NATS server"
	}
	return u.Redacted()
}

// close ends the connection.
func (k *client) close() { k.nc.Close() }

// message is a request. It carries the deadline of ctx, so that the daemon gives up at the same time.
func message(ctx context.Context, subject, id string, body []byte) *nats.Msg {
	h := nats.Header{natsapi.RequestIDHeader: {id}}
	if d, ok := ctx.Deadline(); ok {
		h.Set(natsapi.TimeoutHeader, max(time.Until(d), time.Millisecond).String())
	}
	if key := os.Getenv(apiKeyVariable); key != "" {
		h.Set(natsapi.AuthorizationHeader, "Bearer "+key)
	}
	if host := messages.CallerFrom(ctx).Only.Host; host != "" {
		h.Set(messages.HostHeader, host)
	}
	return &nats.Msg{Subject: apiRoot + subject, Header: h, Data: body}
}

// ask sends a request and waits for its one reply.
func (k *client) ask(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	return k.askAs(ctx, uuid.NewString(), subject, body)
}

func (k *client) askAs(ctx context.Context, id, subject string, body []byte) (*nats.Msg, error) {
	// The daemon stops at the same deadline and answers with the reason: wait a little longer for that answer.
	wait, cancel := context.WithCancel(ctx)
	if d, ok := ctx.Deadline(); ok {
		wait, cancel = context.WithDeadline(context.WithoutCancel(ctx), d.Add(grace))
		defer context.AfterFunc(ctx, func() {
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				cancel()
			}
		})()
	}
	defer cancel()
	defer context.AfterFunc(k.refused, cancel)()
	m, err := k.nc.RequestMsgWithContext(wait, message(ctx, subject, id, body))
	if err != nil {
		return nil, k.lost(err)
	}
	return m, failureIn(m)
}

// grace is how much longer than its deadline a request waits for an answer.
const grace = 250 * time.Millisecond

// lost is the error of a request that got no answer at all.
func (k *client) lost(err error) error {
	if why := context.Cause(k.refused); why != nil {
		return why
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return messages.NewError(messages.Unavailable, k.nc.ConnectedUrlRedacted(), "no daemon answers at this NATS server").
			WithHint("it may be starting or stopping; is this the address that `modelops serve` printed?")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return messages.AsError(err)
	}
	return messages.Errorf(messages.Unavailable, withoutPassword(k.nc.Opts.Url), "the connection was lost: %w", err)
}

// failureIn is the error that a reply carries; nil when the reply is an answer.
func failureIn(m *nats.Msg) error {
	name := m.Header.Get(micro.ErrorHeader)
	if name == "" {
		return nil
	}
	body := &messages.ErrorBody{}
	if protojson.Unmarshal(m.Data, body) == nil && body.Code != "" {
		return body.Err()
	}
	e := messages.NewError(messages.ParseCode(name), m.Subject, "the daemon refused it and gave no reason")
	if ms, err := strconv.ParseInt(m.Header.Get(natsapi.RetryHeader), 10, 64); err == nil {
		e.Retry = time.Duration(ms) * time.Millisecond
	}
	return e
}

// operate runs an operation of the daemon.
func (k *client) operate(ctx context.Context, o messages.Operation, request proto.Message) (proto.Message, error) {
	if o.NATS == "" {
		return nil, messages.Errorf(messages.Internal, o.Name, "it is not offered over NATS")
	}
	body, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	m, err := k.askAs(ctx, cmp.Or(messages.MetaFrom(ctx).Correlation, uuid.NewString()), o.NATS, body)
	if err != nil {
		return nil, err
	}
	answer := o.Answer()
	return answer, readReply(m.Data, answer)
}

func readReply(b []byte, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return messages.Errorf(messages.Internal, "reply", "it can't be decoded: %w", err).WithHint("do the daemon and this program have the same version?")
	}
	return nil
}

// model is the current view of a model.
func (k *client) model(ctx context.Context, actor messages.ActorID) (*messages.ModelView, error) {
	s, err := k.GetState(ctx, &messages.StateRequest{Actor: actor.String()})
	if err != nil {
		return nil, err
	}
	v := &messages.ModelView{}
	return v, readReply([]byte(s.ViewJson), v)
}

// host is the name of the daemon's host.
func (k *client) host(ctx context.Context) (string, error) {
	v, err := k.GetVersion(ctx, nil)
	return v.GetHost(), err
}

// journal reads the daemon's journal through its operation, so that it needs no right but that.
func (k *client) journal(ctx context.Context) (*journal.Remote, string, error) {
	host, err := k.host(ctx)
	return journal.NewRemote(host, k), host, err
}
