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
	subject  []byte
	sequence uint64
	head     heads
	body     []byte
}

// heads are the headers of a stored decision.
type heads struct{ id, expected, at, boot, caller, causation, correlation string }

func (h *heads) set(key, value string) {
	switch key {
	case headID:
		h.id = value
	case headExpected:
		h.expected = value
	case headAt:
		h.at = value
	case headBoot:
		h.boot = value
	case headCaller:
		h.caller = value
	case headCausation:
		h.causation = value
	case headCorrelation:
		h.correlation = value
	}
}

// decoder reads stored messages one after the other. It keeps what repeats: few actors make many decisions.
type decoder struct {
	actors map[string]named
	boot   string
}

type named struct {
	subject string
	actor   messages.ActorID
}

func (d *decoder) named(subject []byte) (named, error) {
	if n, ok := d.actors[string(subject)]; ok {
		return n, nil
	}
	n := named{subject: string(subject)}
	var err error
	if _, n.actor, err = actorOf(n.subject); err == nil {
		if d.actors == nil {
			d.actors = map[string]named{}
		}
		d.actors[n.subject] = n
	}
	return n, err
}

// decode reads a stored message. The actor is taken from the subject, which can't be forged by a header.
func (d *decoder) decode(s stored) (subject string, r messages.Recorded, err error) {
	n, err := d.named(s.subject)
	if err != nil {
		return "", r, damagedAt(s.sequence, "%v", err)
	}
	expected, err := strconv.ParseUint(s.head.expected, 10, 64)
	if err != nil {
		return "", r, damagedAt(s.sequence, "the decision of %s has no expected sequence, so it was not written by a journal", n.actor)
	}
	at, err := time.Parse(time.RFC3339Nano, s.head.at)
	if err != nil {
		return "", r, damagedAt(s.sequence, "the decision of %s has no readable time", n.actor)
	}
	decision := new(messages.Decision)
	if err := proto.Unmarshal(s.body, decision); err != nil {
		return "", r, damagedAt(s.sequence, "the body is no decision: %v", err)
	}
	if d.boot != s.head.boot {
		d.boot = s.head.boot
	}
	h := s.head
	return n.subject, messages.Recorded{
		Actor: n.actor, Sequence: s.sequence, Expected: expected, ID: h.id,
		Meta:   messages.Meta{ID: h.id, Correlation: h.correlation, Causation: h.causation, Caller: h.caller},
		BootID: d.boot, At: at, Decision: decision,
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

const hintDamaged = "nothing was changed on disk; `modelops journal verify` lists what is wrong; `modelops restore --from COPY` brings the journal back from a copy, and `modelops journal repair` keeps the decisions before the damage"
