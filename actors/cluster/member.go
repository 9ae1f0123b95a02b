package cluster

import (
	"slices"
	"time"

	"modelops/messages"
)

// Link is what is known of this host's connection to a member.
type Link struct {
	Up     bool          // ours to it
	ByHub  bool          // ours goes over the hub
	RTT    time.Duration // 0 = not measured
	Offset time.Duration // its clock minus ours
	Why    string        // why it isn't up
}

// member is a host as this one hears it.
type member struct {
	host, address string
	state         State
	reason        string
	beat          *messages.Heartbeat // its last; nil = never heard
	at            time.Duration       // when that was, in time that this host has listened
	seen          time.Time           // the same by its clock
	generation    uint64
	both          bool          // it is heard, and hears us
	since         time.Duration // since when
	link          Link
	counted       *messages.Heartbeat // that of which the seat was last chosen; nil = it didn't count

	past  []ending // starts of it that are over
	echo  time.Duration
	twins bool // a start that is over goes on to be heard, at echo
}

// ending is a start that is over.
type ending struct {
	boot string
	at   time.Duration
	left bool // it said so: nothing more comes from it
}

// remembered bounds how many ended starts of a member are known: late heartbeats come from the last few.
const remembered = 8

// late tells whether a heartbeat is of a start that is over: another one was heard after it, and still is. Which start is the newer one is told by the
// sender's clock; when that was set back, the start that goes on being heard is the newer one.
func (m *member) late(h *messages.Heartbeat, now time.Duration) bool {
	switch i := m.ending(h.BootId); {
	case i >= 0 && m.past[i].left:
		return true
	case m.beat == nil || m.beat.BootId == h.BootId || m.state != messages.MemberView_alive || now-m.at > Limit:
		return false
	case i >= 0:
		return true
	}
	return h.SentMs < m.beat.SentMs
}

func (m *member) ending(boot string) int {
	return slices.IndexFunc(m.past, func(e ending) bool { return e.boot == boot })
}

// begin takes a start for one that isn't over.
func (m *member) begin(boot string) {
	m.past = slices.DeleteFunc(m.past, func(e ending) bool { return e.boot == boot })
}

func (m *member) end(boot string, now time.Duration) {
	m.past = append(m.past, ending{boot: boot, at: now, left: m.beat.Leaving && m.beat.BootId == boot})
	m.past = m.past[max(0, len(m.past)-remembered):]
}

// echoes notes a heartbeat of a start that is over. A late one says nothing; one that comes long after its end is sent by a second host of that name.
func (m *member) echoes(h *messages.Heartbeat, now time.Duration) {
	i := m.ending(h.BootId)
	if i < 0 {
		m.past = append(m.past, ending{boot: h.BootId, at: now})
	} else if now-m.past[i].at > 2*Limit && !m.past[i].left {
		m.echo, m.twins = now, true
	}
}

// mutual notes whether the member hears this start of ours.
func (m *member) mutual(own Own, now time.Duration) {
	hears := slices.ContainsFunc(m.beat.Heard, func(x *messages.Heard) bool { return x.Host == own.Host && x.BootId == own.Boot })
	if hears && !m.both {
		m.since = now
	}
	m.both = hears
}

// settled tells whether both sides have heard each other long enough to count for the seat.
func (m *member) settled(now time.Duration) bool { return m.both && now-m.since >= Settle }
