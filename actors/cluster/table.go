package cluster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	// Period is the time between two heartbeats of a host in which nothing changes.
	Period = 200 * time.Millisecond
	// Limit is how long a member may be silent before it is unreachable.
	Limit = 700 * time.Millisecond
	// Settle is how long a member must be heard, and hear us, before it counts for the seat: a link that comes and goes doesn't move the seat each time.
	Settle = 150 * time.Millisecond
)

// State of a member.
type State = messages.MemberView_State

// Own is what the table must know of the host that keeps it.
type Own struct {
	Host, Boot string
	// It has recovered: its arbiter can take the seat.
	Ready bool
	// It is being emptied: the seat goes to another host while there is one.
	Draining bool
	// Epoch of its own arbiter's last take-over; 0 = none.
	Epoch uint64
	// Obeyed is the highest epoch that its owners have obeyed.
	Obeyed uint64
}

// Change is a member's new state.
type Change struct {
	Host, Boot string
	From, To   State
	Reason     string // why it isn't alive any more
	Removed    bool   // for good
}

// Table is the members of a cluster as one host hears them. It has no clock of its own: each call brings a stamp, and a stamp may jump.
type Table struct {
	own     Own
	last    time.Time     // the newest stamp
	now     time.Duration // how long this host has listened
	members map[string]*member
	removed map[string]bool
	epoch   uint64 // the highest of an arbiter that was heard of
	twin    time.Duration
	twins   bool   // another host with this one's name was heard, at twin
	removes string // who says that this host was removed; empty = nobody
	changes []Change
	seat    string   // as last chosen; empty = it has to be chosen anew
	stood   standing // of this host, then
}

// NewTable starts a table that has heard nobody.
func NewTable(own Own, at time.Time) *Table {
	return &Table{own: own, last: at, members: map[string]*member{}, removed: map[string]bool{}}
}

// Expect makes a host known that hasn't been heard: it is declared, or an earlier start has met it.
func (t *Table) Expect(host, address string) {
	if host == t.own.Host || host == "" || t.removed[host] {
		return
	}
	if m := t.member(host); address != "" && m.beat == nil {
		m.address = address
	}
}

// Set changes what the table knows of its own host.
func (t *Table) Set(own Own) { t.own = own }

// Own is what the table knows of its own host.
func (t *Table) Own() Own { return t.own }

// Tick lets time pass: members that were silent for too long are unreachable from then on.
func (t *Table) Tick(at time.Time) {
	// Silence counts only while this host listened. When it was stopped or asleep, or its clock was set, the time since the last stamp says nothing of the others.
	t.now += min(max(at.Sub(t.last), 0), Limit/2)
	t.last = at
	var silent []*member
	for _, m := range t.members {
		if m.state == messages.MemberView_alive && t.now-m.at > Limit {
			silent = append(silent, m)
		}
	}
	for _, m := range byName(silent) {
		t.become(m, messages.MemberView_unreachable, "it has not been heard for "+ago(t.now-m.at))
	}
}

// Hear takes a heartbeat.
func (t *Table) Hear(h *messages.Heartbeat, at time.Time) {
	t.Tick(at)
	switch {
	case h.Host == t.own.Host:
		if h.BootId != t.own.Boot {
			t.twin, t.twins = t.now, true
		}
		return
	case h.Host == "" || t.removed[h.Host]:
		return
	}
	if messages.LeapsAhead(h.ArbiterEpoch, t.Epoch()) { // told on, it would be all hosts' epoch, with none above it
		h = proto.CloneOf(h)
		h.ArbiterEpoch = 0
	}
	m := t.member(h.Host)
	if m.late(h, t.now) {
		m.echoes(h, t.now)
		return
	}
	t.starts(m, h)
	t.takes(m, h, at)
	t.gossip(h)
}

// starts ends the member's former start when the heartbeat is of another one.
func (t *Table) starts(m *member, h *messages.Heartbeat) {
	if m.beat == nil || m.beat.BootId == h.BootId {
		return
	}
	m.begin(h.BootId)
	m.end(m.beat.BootId, t.now)
	if m.state != messages.MemberView_gone {
		t.become(m, messages.MemberView_gone, "it was started again")
	}
}

func (t *Table) takes(m *member, h *messages.Heartbeat, at time.Time) {
	m.beat, m.at, m.seen, m.address = h, t.now, at, cmp.Or(h.Address, m.address)
	t.epoch = max(t.epoch, h.ArbiterEpoch)
	if h.Leaving {
		m.end(h.BootId, t.now)
		t.become(m, messages.MemberView_gone, "it said that it leaves")
		return
	}
	if m.state != messages.MemberView_alive {
		m.generation++
		t.become(m, messages.MemberView_alive, "")
	}
	m.mutual(t.own, t.now)
}

// gossip takes what a member says of others.
func (t *Table) gossip(h *messages.Heartbeat) {
	for _, x := range h.Heard {
		t.Expect(x.Host, x.Address)
	}
	switch n := h.Membership[t.own.Host]; {
	case n > 0 && n%2 == 0:
		t.removes = h.Host
	case t.removes == h.Host: // it has heard that this host joined again
		t.removes = ""
	}
}

// Remove forgets a member: heartbeats of it are passed over until it is admitted again.
func (t *Table) Remove(host string) {
	if host == t.own.Host || t.removed[host] {
		return
	}
	t.removed[host] = true
	m := t.member(host)
	t.changes = append(t.changes, Change{Host: host, From: m.state, To: messages.MemberView_gone, Reason: "it was removed from the cluster", Removed: true})
	delete(t.members, host)
	t.seat = ""
}

// Admit lets a host in again that was removed.
func (t *Table) Admit(host, address string) {
	delete(t.removed, host)
	t.Expect(host, address)
}

// Link sets what is known of the connections to and from a member; up is true when ours to it has just come up.
func (t *Table) Link(host string, l Link) (up bool) {
	m := t.members[host]
	if m == nil {
		return false
	}
	up = l.Up && !m.link.Up
	m.link = l
	return up
}

// Changes returns what changed since it was last asked, in order.
func (t *Table) Changes() []Change {
	out := t.changes
	t.changes = nil
	return out
}

// Active are the members that are heard and hear this host, by name.
func (t *Table) Active() (out []Active) {
	for _, m := range t.sorted() {
		if m.settled(t.now) {
			out = append(out, Active{m.host, m.beat.BootId, m.beat.ActorsAddress, m.generation})
		}
	}
	return out
}

// State tells whether a member is heard now, and why not.
func (t *Table) State(host string, now time.Time) (State, string) {
	m := t.members[host]
	if m == nil {
		return messages.MemberView_state_unknown, "it is no member of this cluster"
	}
	return m.state, t.reason(m, now)
}

// Epoch is the highest epoch of an arbiter that this host has heard of, its own included.
func (t *Table) Epoch() uint64 { return max(t.epoch, t.own.Epoch, t.own.Obeyed) }

func (t *Table) become(m *member, to State, reason string) {
	if m.state == to {
		return
	}
	boot := ""
	if m.beat != nil {
		boot = m.beat.BootId
	}
	t.changes = append(t.changes, Change{Host: m.host, Boot: boot, From: m.state, To: to, Reason: reason})
	m.state, m.reason = to, reason
	if to != messages.MemberView_alive {
		m.both = false
	}
}

func (t *Table) member(host string) *member {
	m := t.members[host]
	if m == nil {
		m = &member{host: host, state: messages.MemberView_expected}
		t.members[host] = m
	}
	return m
}

// sorted are the members by name, so that the same input gives the same changes.
func (t *Table) sorted() []*member { return byName(slices.Collect(maps.Values(t.members))) }

func byName(members []*member) []*member {
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.host, b.host) })
	return members
}
