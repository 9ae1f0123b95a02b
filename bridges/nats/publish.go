package natsapi

import (
	"cmp"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Publish tells watchers of m on modelops.v1.events.SUFFIX, as JSON. Names within the suffix must have gone through Token. It
// waits for no watcher, and one that isn't subscribed misses the message: the journal keeps it.
func (a *API) Publish(suffix string, m proto.Message) error {
	for token := range strings.SplitSeq(suffix, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return invalid("subject "+suffix, "it can't end a NATS subject", "put names through Token")
		}
	}
	body, err := shown.Marshal(m)
	if err != nil {
		return messages.Errorf(messages.Internal, "event "+suffix, "it can't be written as JSON: %w", err)
	}
	var failed error
	for _, in := range a.entered() {
		if in.principal.Allows(journalOperation, messages.Model{}) != nil {
			continue
		}
		if err := in.conn.Publish(root+".events."+suffix, body); err != nil {
			failed = messages.Errorf(messages.Unavailable, "event "+suffix, "it could not be sent: %w", err)
		}
	}
	return failed
}

// PublishEvents tells watchers of a decision: one message an event, on modelops.v1.events.KIND.NAME.EVENT. A message
// that can't be sent is dropped: the journal has the event.
func (a *API) PublishEvents(r messages.Recorded) {
	name := cmp.Or(r.Actor.Name(), r.Actor.ID, r.Actor.Kind)
	for _, e := range r.Events {
		_ = a.Publish(r.Actor.Kind+"."+Token(name)+"."+Token(messages.EventName(e)), e)
	}
}
