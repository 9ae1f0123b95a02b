package cli

import (
	"context"
	"encoding/json"
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

// client asks a running daemon over NATS.
type client struct {
	nc *nats.Conn
}

// dial connects to the daemon that the flags name. The error is Unavailable when no server answers there.
func (c *cli) dial(ctx context.Context) (*client, error) {
	address, left, err := c.serverURL()
	if err != nil {
		return nil, err
	}
	wait := 2 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(d), time.Millisecond))
	}
	nc, err := nats.Connect(address, nats.Name("modelops cli"), nats.Timeout(wait), nats.MaxReconnects(5), nats.ReconnectWait(200*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // a lost message shows as a gap in a stream or as a timeout
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
	return &client{nc}, nil
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
	if key := os.Getenv("MODELOPS_API_KEY"); key != "" {
		h.Set(natsapi.AuthorizationHeader, "Bearer "+key)
	}
	return &nats.Msg{Subject: apiRoot + subject, Header: h, Data: body}
}

// subjectFor is the subject for a request about a model. An empty name is left out, because a subject can't end in an empty token; the
// daemon then reports that the name is missing.
func subjectFor(what, model string) string {
	if model == "" {
		return what
	}
	return what + "." + natsapi.Token(model)
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

// askFor is ask with messages for question and answer; q may be nil.
func (k *client) askFor(ctx context.Context, subject string, q, answer proto.Message) error {
	var body []byte
	if q != nil {
		var err error
		if body, err = protojson.Marshal(q); err != nil {
			return err
		}
	}
	m, err := k.ask(ctx, subject, body)
	if err != nil {
		return err
	}
	return readReply(m.Data, answer)
}

// send brings a command to an actor. The journal names request as the origin of what the command causes.
func (k *client) send(ctx context.Context, request string, actor messages.ActorID, command string, body json.RawMessage) (messages.Sent, error) {
	var reply messages.Sent
	q, err := json.Marshal(map[string]any{"actor": actor.String(), "command": command, "body": body})
	if err != nil {
		return reply, err
	}
	m, err := k.askAs(ctx, request, "send", q)
	if err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(m.Data, &reply)
}

// tell sends a command as a message and reads its answer. An answer of another type leaves answer empty.
func (k *client) tell(ctx context.Context, actor messages.ActorID, command, answer proto.Message) error {
	body, err := protojson.Marshal(command)
	if err != nil {
		return err
	}
	reply, err := k.send(ctx, uuid.NewString(), actor, string(command.ProtoReflect().Descriptor().Name()), body)
	if err != nil {
		return err
	}
	return readReply(reply.Answer, answer)
}

// readReply ignores fields that this build doesn't know, so that answers of newer daemons can be read.
func readReply(b []byte, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return messages.Errorf(messages.Internal, "reply", "it can't be decoded: %w", err).WithHint("do the daemon and this program have the same version?")
	}
	return nil
}

func (k *client) status(ctx context.Context) (*messages.StatusView, error) {
	s := &messages.StatusView{}
	return s, k.askFor(ctx, "status", nil, s)
}

func (k *client) state(ctx context.Context, actor messages.ActorID) (*messages.StateReply, error) {
	q, err := json.Marshal(map[string]string{"actor": actor.String()})
	if err != nil {
		return nil, err
	}
	m, err := k.ask(ctx, "state", q)
	if err != nil {
		return nil, err
	}
	s := &messages.StateReply{}
	return s, readReply(m.Data, s)
}

// model is the current view of a model.
func (k *client) model(ctx context.Context, actor messages.ActorID) (*messages.ModelView, error) {
	s, err := k.state(ctx, actor)
	if err != nil {
		return nil, err
	}
	v := &messages.ModelView{}
	return v, readReply([]byte(s.ViewJson), v)
}

// host is the name of the daemon's host.
func (k *client) host(ctx context.Context) (string, error) {
	v, err := k.version(ctx)
	return v.Host, err
}

type versionReply struct {
	Version string `json:"version"`
	Host    string `json:"host"`
}

func (k *client) version(ctx context.Context) (v versionReply, err error) {
	m, err := k.ask(ctx, "version", nil)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(m.Data, &v)
}

// journal reads the daemon's journal over the same connection.
func (k *client) journal(ctx context.Context) (*journal.Reader, string, error) {
	host, err := k.host(ctx)
	if err != nil {
		return nil, "", err
	}
	r, err := journal.Dial(ctx, k.nc, host)
	return r, host, err
}
