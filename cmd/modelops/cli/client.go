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

// Client asks a running daemon over NATS.
type Client struct {
	nc *nats.Conn
}

// dial connects to the daemon of the flags. The error is Unavailable when nobody answers there.
func (c *cli) dial(ctx context.Context) (*Client, error) {
	address, left, err := c.serverURL()
	if err != nil {
		return nil, err
	}
	wait := 2 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = min(wait, max(time.Until(d), time.Millisecond))
	}
	nc, err := nats.Connect(address, nats.Name("modelops cli"), nats.Timeout(wait), nats.MaxReconnects(5), nats.ReconnectWait(200*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // what is lost shows as a gap or a timeout where it matters
	if ctx.Err() != nil || wait < time.Second && errors.Is(err, nats.ErrTimeout) {
		if nc != nil {
			nc.Close()
		}
		return nil, messages.NewError(messages.DeadlineExceeded, withoutPassword(address), "the time was over before the daemon was reached").WithCause(err)
	}
	if err != nil {
		hint := "start one with `modelops serve`, or name another with --server"
		if c.named() != "" {
			hint = "is this the NATS address that `modelops serve` printed?"
		} else if left != "" {
			hint = "the daemon that wrote " + left + " is gone; start it again with `modelops serve`"
		}
		return nil, messages.Errorf(messages.Unavailable, withoutPassword(address), "no daemon can be reached: %w", err).WithHint(hint)
	}
	return &Client{nc}, nil
}

func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the NATS server"
	}
	return u.Redacted()
}

// Close ends the connection.
func (k *Client) Close() { k.nc.Close() }

// message writes a request; it asks the daemon to give up when ctx does.
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

// subjectFor is the subject about a model. The daemon says what is wrong with an empty name; a subject can't end in an empty token.
func subjectFor(what, model string) string {
	if model == "" {
		return what
	}
	return what + "." + natsapi.Token(model)
}

// ask sends a request and waits for its one reply.
func (k *Client) ask(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	return k.askAs(ctx, uuid.NewString(), subject, body)
}

func (k *Client) askAs(ctx context.Context, id, subject string, body []byte) (*nats.Msg, error) {
	// The daemon ends at the same deadline and says why; its answer is worth a moment more.
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

const grace = 250 * time.Millisecond

// lost says why there was no answer at all.
func (k *Client) lost(err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return messages.NewError(messages.Unavailable, k.nc.ConnectedUrlRedacted(), "no daemon answers at this NATS server").
			WithHint("it may be starting or stopping; is this the address that `modelops serve` printed?")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return messages.AsError(err)
	}
	return messages.Errorf(messages.Unavailable, withoutPassword(k.nc.Opts.Url), "the connection was lost: %w", err)
}

// failureIn reads the error that a reply carries, nil when it is an answer.
func failureIn(m *nats.Msg) error {
	name := m.Header.Get(micro.ErrorHeader)
	if name == "" {
		return nil
	}
	body := &messages.ErrorBody{}
	if protojson.Unmarshal(m.Data, body) == nil && body.Code != "" {
		return body.Err()
	}
	e := messages.NewError(messages.ParseCode(name), m.Subject, "the daemon refused it without a word")
	if ms, err := strconv.ParseInt(m.Header.Get(natsapi.RetryHeader), 10, 64); err == nil {
		e.Retry = time.Duration(ms) * time.Millisecond
	}
	return e
}

// askFor is ask with a message of the language as question and answer; q may be nil.
func (k *Client) askFor(ctx context.Context, subject string, q, answer proto.Message) error {
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

// readReply takes answers of newer daemons too: fields that this build doesn't know are left out.
func readReply(b []byte, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return messages.Errorf(messages.Internal, "reply", "it can't be read: %w", err).WithHint("are daemon and client of one version?")
	}
	return nil
}

func (k *Client) status(ctx context.Context) (*messages.StatusView, error) {
	s := &messages.StatusView{}
	return s, k.askFor(ctx, "status", nil, s)
}

func (k *Client) state(ctx context.Context, actor messages.ActorID) (*messages.StateReply, error) {
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

// model is a model's live view.
func (k *Client) model(ctx context.Context, actor messages.ActorID) (*messages.ModelView, error) {
	s, err := k.state(ctx, actor)
	if err != nil {
		return nil, err
	}
	v := &messages.ModelView{}
	return v, readReply([]byte(s.ViewJson), v)
}

// host is the name of the daemon's host.
func (k *Client) host(ctx context.Context) (string, error) {
	v, err := k.version(ctx)
	return v.Host, err
}

type versionReply struct {
	Version string `json:"version"`
	Host    string `json:"host"`
}

func (k *Client) version(ctx context.Context) (v versionReply, err error) {
	m, err := k.ask(ctx, "version", nil)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(m.Data, &v)
}

// journal reads the daemon's journal over the same connection.
func (k *Client) journal(ctx context.Context) (*journal.Reader, string, error) {
	host, err := k.host(ctx)
	if err != nil {
		return nil, "", err
	}
	r, err := journal.Dial(ctx, k.nc, host)
	return r, host, err
}
