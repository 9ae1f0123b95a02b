package journal

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A decision that is larger than a message of the hub may be lies in parts in a stream beside the archive, so that a sequence of the archive stays the
// journal's. Its message there names the parts. They are stored first: parts that no message names are what a failure left.

// Headers of a message that stands for a decision in parts. They are at the hub: names are never changed.
const (
	headParts = "Modelops-Parts" // their sequences, divided by commas
	headSum   = "Modelops-Sha256"
)

// partsOf is the stream with the parts of an archive.
func partsOf(archive string) string { return "PARTS_" + strings.TrimPrefix(archive, "JOURNAL_") }

// message is what the hub stores for a decision.
func (a *Archive) message(ctx context.Context, js jetstream.JetStream, to jetstream.StreamConfig, d *messages.RecordedDecision) (*nats.Msg, error) {
	body, err := proto.Marshal(d)
	if err != nil {
		return nil, err
	}
	m := &nats.Msg{Subject: to.Subjects[0], Data: body}
	if len(body) <= a.most {
		return m, nil
	}
	ctx, cancel := context.WithTimeout(ctx, archiveLimit)
	defer cancel()
	subject := to.Subjects[0] + "_parts"
	if _, err := js.CreateStream(ctx, kept(partsOf(to.Name), "parts of large "+to.Description, subject)); err != nil {
		err = a.taken(ctx, js, err)
		return nil, fmt.Errorf("decision %d has %s, and there is no stream for its parts: %w", d.Sequence, messages.FormatBytes(uint64(len(body))), err)
	}
	var parts []string
	for rest := body; len(rest) > 0; rest = rest[min(a.most, len(rest)):] {
		ack, err := js.Publish(ctx, subject, rest[:min(a.most, len(rest))])
		if err != nil {
			err = cmp.Or(context.Cause(ctx), err)
			return nil, fmt.Errorf("decision %d has %s, and a part of it isn't stored: %w", d.Sequence, messages.FormatBytes(uint64(len(body))), err)
		}
		parts = append(parts, strconv.FormatUint(ack.Sequence, 10))
	}
	m.Data = nil
	m.Header = nats.Header{headParts: {strings.Join(parts, ",")}, headSum: {sum(body)}}
	return m, nil
}

var errTooLarge = errors.New("the hub takes no messages of that size, smaller ones are tried")

// tooLargeLooks is how often it is looked whether the hub has refused a message for its size: it ends the leaf's connection and answers nothing.
const tooLargeLooks = 50 * time.Millisecond

// unlessTooLarge ends a context when the hub refuses a message of this host for its size.
func (a *Archive) unlessTooLarge(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	before := a.o.Journal.hubTooLarge.Load()
	go func() {
		for tick := time.NewTicker(tooLargeLooks); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if a.o.Journal.hubTooLarge.Load() != before {
					cancel(errTooLarge)
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

func sum(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:])
}

// joined reads a decision's parts. messages.JournalDamaged: they aren't there any more, or aren't what was stored.
func joined(ctx context.Context, js jetstream.JetStream, stream, parts, want string, sequence uint64) ([]byte, error) {
	s, err := js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, damagedAt(sequence, "it lies in parts in stream %s, which the hub doesn't have any more", stream)
	}
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	for _, text := range strings.Split(parts, ",") {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, damagedAt(sequence, "its parts are said to be %q", parts)
		}
		m, err := s.GetMsg(ctx, n)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, damagedAt(sequence, "part %d in stream %s is missing", n, stream)
		}
		if err != nil {
			return nil, err
		}
		body.Write(m.Data)
	}
	if sum(body.Bytes()) != want {
		return nil, damagedAt(sequence, "its parts in stream %s aren't what was stored", stream)
	}
	return body.Bytes(), nil
}
