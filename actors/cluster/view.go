package cluster

import (
	"cmp"
	"slices"
	"time"

	"modelops/messages"
)

// View is the cluster as this host sees it. Copied is the last sequence of a member's journal that is copied here; it may be nil.
func (t *Table) View(f Facts, copied func(host string) uint64, at time.Time) *messages.ClusterView {
	arbiter, epoch := t.Follows()
	v := &messages.ClusterView{Host: t.own.Host, Arbiter: cmp.Or(arbiter, t.own.Host), ArbiterEpoch: epoch, Members: []*messages.MemberView{t.self(f, arbiter)}}
	for _, m := range t.sorted() {
		row := t.row(m, at)
		if copied != nil {
			row.Copied = copied(m.host)
		}
		v.Apart = v.Apart || m.state == messages.MemberView_unreachable || m.state == messages.MemberView_alive && !m.both
		v.Members = append(v.Members, row)
	}
	slices.SortFunc(v.Members, func(a, b *messages.MemberView) int { return cmp.Compare(a.Host, b.Host) })
	v.Notes = t.notes(f, at)
	return v
}

func (t *Table) self(f Facts, arbiter string) *messages.MemberView {
	return &messages.MemberView{Host: t.own.Host, Self: true, State: messages.MemberView_alive, BootId: t.own.Boot, Version: f.Version, Protocol: messages.PeerProtocol,
		Address: f.Address, ActorsAddress: f.Actors, Sequence: f.Sequence, Draining: t.own.Draining, Arbiter: arbiter, Standby: f.Standby}
}

func (t *Table) row(m *member, at time.Time) *messages.MemberView {
	row := &messages.MemberView{Host: m.host, State: m.state, Reason: t.reason(m, at), Generation: m.generation, Address: m.address, ByHub: m.link.ByHub, RttUs: m.link.RTT.Microseconds()}
	row.LinkFrom = m.state == messages.MemberView_alive // a connection to or from a host that died looks open for a while: heartbeats say what is heard
	row.LinkTo = m.link.Up && m.both
	if m.beat == nil {
		return row
	}
	h := m.beat
	row.BootId, row.Version, row.Protocol, row.ActorsAddress = h.BootId, h.Version, h.Protocol, h.ActorsAddress
	row.HeardMs, row.ClockOffsetMs = max(at.Sub(m.seen).Milliseconds(), 0), m.offset()
	row.Sequence, row.Draining, row.Arbiter, row.Standby = h.Sequence, h.Draining, h.Arbiter, h.Standby
	return row
}

// offset is the member's clock minus ours, in milliseconds, as the link measured it, else as a heartbeat tells it.
func (m *member) offset() int64 {
	if m.link.Up {
		return m.link.Offset.Milliseconds()
	}
	return m.beat.SentMs - m.seen.UnixMilli()
}

// reason says why a member isn't alive, or why it is and doesn't count.
func (t *Table) reason(m *member, at time.Time) string {
	switch m.state {
	case messages.MemberView_expected:
		return say("it has not been heard since this host started", m.link.Why)
	case messages.MemberView_unreachable:
		return say("it has not been heard for "+ago(at.Sub(m.seen)), m.link.Why)
	case messages.MemberView_gone:
		return m.reason
	}
	if !m.both {
		return say("it is heard, and doesn't hear this host", m.link.Why)
	}
	return ""
}

func say(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// ago is a duration as people say it: to the second, and to the minute after an hour.
func ago(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return max(d, 0).Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
