//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"modelops/journal"
	"modelops/messages"
)

// confess notes what a host decided in the timeline, as far as it can still say so.
func (h *labHost) confess() {
	if !h.running() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	nc, err := nats.Connect(h.at.NATS, nats.NoReconnect(), nats.Timeout(waitLimit), nats.Token(h.operatorKey()), nats.SetCustomDialer(h.site))
	if err != nil {
		h.lab.timeline.note(h.name(), "can't say what it decided: %v", err)
		return
	}
	defer nc.Close()
	err = journalOf(h.name(), nc).Replay(ctx, journal.Query{}, func(r messages.Recorded) error {
		if ownedBy(h.name(), r.Actor.String()) || r.Actor.Kind == messages.KindArbiter {
			var events []string
			for _, e := range r.Events {
				name := messages.EventName(e)
				if p, ok := e.(*messages.PlacementPostponed); ok {
					name += fmt.Sprintf(" of %s: %.200s", p.Holder, p.Reason)
				}
				events = append(events, name)
			}
			h.lab.timeline.noteAt(r.At, h.name(), fmt.Sprintf("decision %d of %s: %s", r.Sequence, r.Actor, slices.Compact(events)))
		}
		return nil
	})
	if err != nil {
		h.lab.timeline.note(h.name(), "its decisions can't be read to their end: %v", err)
	}
}
