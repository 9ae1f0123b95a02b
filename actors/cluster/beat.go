package cluster

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"

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
	if arbiter != "" && arbiter != t.own.Host {
		if epoch > 0 && epoch == t.own.Epoch { // both took over under it, on two sides of a split: owners couldn't tell their decisions apart, so that it has to take over again
			epoch++
		}
		epoch = max(epoch, t.Epoch())
	}
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

// Pulse decides when this host's heartbeats are due.
type Pulse struct {
	said []byte    // the last heartbeat, without what changes all the time
	next time.Time // when the next one is due
}

// Anew has the next heartbeat sent at once: a link has come up, and who is at its end has heard nothing yet.
func (p *Pulse) Anew() { p.said = nil }

// Due is the heartbeat to send now: the period is over, or something in it changed. nil = none is.
func (p *Pulse) Due(t *Table, f Facts, now time.Time) *messages.Heartbeat {
	h := t.Beat(f, now)
	if said := lasting(h); bytes.Equal(said, p.said) {
		if now.Before(p.next) && p.next.Sub(now) <= Period {
			return nil
		}
	} else {
		p.said = said
	}
	p.next = now.Add(Period)
	return h
}

// lasting is what of a heartbeat is worth telling at once when it changes. It is computed in each look at the table, so the heartbeat isn't copied for it.
func lasting(h *messages.Heartbeat) []byte {
	sent, sequence, ages := h.SentMs, h.Sequence, make([]int64, len(h.Heard))
	h.SentMs, h.Sequence = 0, 0
	for i, x := range h.Heard {
		ages[i], x.HeardMs = x.HeardMs, 0
	}
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(h)
	h.SentMs, h.Sequence = sent, sequence
	for i, x := range h.Heard {
		x.HeardMs = ages[i]
	}
	return b
}
