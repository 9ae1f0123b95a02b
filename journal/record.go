package journal

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Headers of a decision. They are on disk: names are never changed.
const (
	headID          = nats.MsgIdHdr
	headExpected    = "Nats-Expected-Last-Subject-Sequence"
	headActor       = "Modelops-Actor"
	headAt          = "Modelops-At"
	headBoot        = "Modelops-Boot"
	headCaller      = "Modelops-Caller"
	headCausation   = "Modelops-Causation"
	headCorrelation = "Modelops-Correlation"
	headSchema      = "Modelops-Schema"
	headTypes       = "Modelops-Types"
)

// schemaVersion is that of the envelope (headers and Decision); events carry versions of their own.
const schemaVersion = "1"

// newMessage writes a decision as it will lie in the journal.
func newMessage(subject, bootID string, a Append, d *messages.Decision, body []byte) *nats.Msg {
	types := make([]string, 0, len(d.Events))
	for _, e := range d.Events {
		types = append(types, e.Type)
	}
	m := &nats.Msg{Subject: subject, Data: body, Header: make(nats.Header, 10)}
	put := func(key, value string) {
		if value != "" {
			m.Header[key] = []string{oneLine(value)}
		}
	}
	put(headID, a.Meta.ID)
	put(headExpected, strconv.FormatUint(a.Expected, 10))
	put(headActor, a.Actor.String())
	put(headAt, a.At.UTC().Format(time.RFC3339Nano))
	put(headBoot, bootID)
	put(headCaller, a.Meta.Caller)
	put(headCausation, a.Meta.Causation)
	put(headCorrelation, a.Meta.Correlation)
	put(headSchema, schemaVersion)
	put(headTypes, strings.Join(types, ","))
	return m
}

// oneLine keeps a caller's text from ending a header early.
func oneLine(s string) string {
	clean := func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}
	return strings.TrimSpace(strings.Map(clean, s))
}

// stored is a message as it came from the stream or from a block. Its bytes are only valid during the call it is passed to.
type stored struct {
	subject  string
	sequence uint64
	head     func(key string) string
	body     []byte
}

// decode reads a stored message. The actor is taken from the subject, which can't be forged by a header.
func (s stored) decode() (messages.Recorded, error) {
	_, actor, err := actorOf(s.subject)
	if err != nil {
		return messages.Recorded{}, damagedAt(s.sequence, "%v", err)
	}
	expected, err := strconv.ParseUint(s.head(headExpected), 10, 64)
	if err != nil {
		return messages.Recorded{}, damagedAt(s.sequence, "the decision of %s has no expected sequence, so it was not written by a journal", actor)
	}
	at, err := time.Parse(time.RFC3339Nano, s.head(headAt))
	if err != nil {
		return messages.Recorded{}, damagedAt(s.sequence, "the decision of %s has no readable time", actor)
	}
	d := new(messages.Decision)
	if err := proto.Unmarshal(s.body, d); err != nil {
		return messages.Recorded{}, damagedAt(s.sequence, "the body is no decision: %v", err)
	}
	id := s.head(headID)
	return messages.Recorded{
		Actor: actor, Sequence: s.sequence, Expected: expected, ID: id,
		Meta:   messages.Meta{ID: id, Correlation: s.head(headCorrelation), Causation: s.head(headCausation), Caller: s.head(headCaller)},
		BootID: s.head(headBoot), At: at, Decision: d,
	}, nil
}

// open decodes the events of r. The error names sequence and type.
func open(r *messages.Recorded) error {
	events, err := r.Decision.Open()
	if err != nil {
		e := messages.AsError(err)
		return messages.Errorf(e.Code, r.Actor.String(), "sequence %d, event %s: %s", r.Sequence, e.Subject, e.Message).
			WithHint(e.Hint).WithCause(err)
	}
	r.Events = events
	return nil
}

func damagedAt(sequence uint64, format string, args ...any) *messages.Error {
	return messages.Errorf(messages.JournalDamaged, "journal sequence "+strconv.FormatUint(sequence, 10), format, args...).
		WithHint(hintDamaged)
}

const hintDamaged = "nothing was changed on disk; look with `modelops journal verify`, bring the journal back with `modelops restore`, or start read-only"
