package cluster

import (
	"time"

	"modelops/messages"
)

// Facts are what this host tells of itself in its heartbeats, beside what the table knows.
type Facts struct {
	Version, Address, Actors string
	Sequence                 uint64
	Membership               map[string]uint64 // how often each host has joined and was removed
	Standby                  bool
}

// Beat is this host's heartbeat as of now.
func (t *Table) Beat(f Facts, at time.Time) *messages.Heartbeat {
	arbiter, epoch := t.Follows()
	return &messages.Heartbeat{Host: t.own.Host, BootId: t.own.Boot, Generation: t.losses(), Version: f.Version, Protocol: messages.PeerProtocol, SentMs: at.UnixMilli(),
		Address: f.Address, ActorsAddress: f.Actors, Sequence: f.Sequence, Arbiter: arbiter, ArbiterEpoch: max(epoch, t.own.Obeyed), Draining: t.own.Draining, Standby: f.Standby,
		Heard: t.heard(), Membership: f.Membership}
}

// Follows is the host whose arbiter this one follows, and that arbiter's epoch as far as it was told. A host that starts follows none.
func (t *Table) Follows() (host string, epoch uint64) {
	if !t.Ready() {
		return "", t.own.Epoch
	}
	host = t.Seat()
	if m := t.members[host]; m != nil && m.beat != nil && m.beat.Arbiter == host {
		return host, m.beat.ArbiterEpoch
	}
	if host == t.own.Host {
		return host, t.own.Epoch
	}
	return host, 0
}

// losses counts how often this host has lost a member.
func (t *Table) losses() (n uint64) {
	for _, m := range t.members {
		n += m.generation
	}
	return n
}

// heard are the members that this host hears now.
func (t *Table) heard() (out []*messages.Heard) {
	for _, m := range t.sorted() {
		if m.state != messages.MemberView_alive {
			continue
		}
		x := &messages.Heard{Host: m.host, BootId: m.beat.BootId, Address: m.address, HeardMs: (t.now - m.at).Milliseconds(), Generation: m.generation, Standing: uint32(standingOf(m.beat)), Both: m.both}
		for _, y := range m.beat.Heard {
			if y.Both {
				x.Hears = append(x.Hears, y.Host)
			}
		}
		out = append(out, x)
	}
	return out
}
