package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Reader reads a host's journal over the journal's own connection.
type Reader struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	host   string
	stream atomic.Pointer[jetstream.Stream]
	files  *files // set when the journal is open read-only: blocks are read without a server
}

const askLimit = 5 * time.Second

func newReader(nc *nats.Conn, host string) (*Reader, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(askLimit))
	if err != nil {
		return nil, messages.Errorf(messages.Internal, host, "%w", err)
	}
	return &Reader{nc: nc, js: js, host: host}, nil
}

func (r *Reader) close() {
	if r.nc != nil {
		r.nc.Close()
	}
}

// awaitServer waits until nc has found the server with this id. Being connected is not enough: it may be to the one that just left.
func (r *Reader) awaitServer(ctx context.Context, id string) error {
	tick := time.NewTicker(reconnectWait / 5)
	defer tick.Stop()
	for !r.nc.IsConnected() || r.nc.ConnectedServerId() != id {
		select {
		case <-ctx.Done():
			return r.unreachable(ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

func (r *Reader) unreachable(err error) *messages.Error {
	if errors.Is(err, context.Canceled) {
		return messages.AsError(err)
	}
	return messages.Errorf(messages.JournalUnavailable, "journal of "+r.host, "it can't be read: %w", err).WithRetry(time.Second)
}

func (r *Reader) state(ctx context.Context) (jetstream.StreamState, error) {
	info, err := (*r.stream.Load()).Info(ctx)
	if err != nil {
		return jetstream.StreamState{}, r.unreachable(err)
	}
	return info.State, nil
}

// lastOf is the sequence and id of the last message of a subject; 0 when there is none.
func (r *Reader) lastOf(ctx context.Context, subject string) (uint64, string, error) {
	if len(subject) > longestSubject {
		return 0, "", nil // no append takes it
	}
	m, err := (*r.stream.Load()).GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	return m.Sequence, m.Header.Get(headID), nil
}

// Last is the sequence of the actor's last decision, 0 when it has none.
func (r *Reader) Last(ctx context.Context, a messages.ActorID) (uint64, error) {
	if r.files != nil {
		return r.files.last(subjectOf(r.host, a)), nil
	}
	seq, _, err := r.lastOf(ctx, subjectOf(r.host, a))
	if err != nil {
		return 0, r.unreachable(err)
	}
	return seq, nil
}

// Actors lists every actor that has a decision in the journal, sorted by kind and identity.
func (r *Reader) Actors(ctx context.Context) ([]messages.ActorID, error) {
	if r.files != nil {
		return actorsOf(r.files.report.heads)
	}
	info, err := (*r.stream.Load()).Info(ctx, jetstream.WithSubjectFilter(hostSubjects(r.host)))
	if err != nil {
		return nil, r.unreachable(err)
	}
	return actorsOf(info.State.Subjects)
}

func actorsOf(subjects map[string]uint64) ([]messages.ActorID, error) {
	out := make([]messages.ActorID, 0, len(subjects))
	for subject := range subjects {
		_, a, err := actorOf(subject)
		if err != nil {
			return nil, messages.Errorf(messages.JournalDamaged, subject, "%w", err)
		}
		out = append(out, a)
	}
	sortActors(out)
	return out, nil
}

// ordered opens a consumer that delivers from sequence on, in order.
func (r *Reader) ordered(ctx context.Context, from uint64, subject string) (jetstream.MessagesContext, error) {
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from}
	if subject != "" {
		cfg.FilterSubjects = []string{subject}
	}
	c, err := (*r.stream.Load()).OrderedConsumer(ctx, cfg)
	if err != nil {
		return nil, r.unreachable(err)
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(4096), jetstream.PullHeartbeat(5*time.Second), jetstream.PullExpiry(30*time.Second))
	if err != nil {
		return nil, r.unreachable(err)
	}
	return messages, nil
}

func fromNATS(m jetstream.Msg) (stored, error) {
	meta, err := m.Metadata()
	if err != nil {
		return stored{}, fmt.Errorf("message on %s: %w", m.Subject(), err)
	}
	return stored{subject: []byte(m.Subject()), sequence: meta.Sequence.Stream, head: natsHeads(m.Headers()), body: m.Data()}, nil
}

func natsHeads(from nats.Header) heads {
	var h heads
	for key, values := range from {
		if len(values) > 0 {
			h.set(key, values[0])
		}
	}
	return h
}
