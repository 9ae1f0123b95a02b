package cluster

import (
	"fmt"
	"time"

	"modelops/messages"
)

// clocksApart is the difference of two hosts' clocks from which somebody should set them.
const clocksApart = 2 * time.Second

// quiet is how long a member is unreachable before somebody should look at it: a reboot or a pulled cable is shorter.
const quiet = 10 * time.Second

// notes say what somebody should do about the cluster.
func (t *Table) notes(f Facts, at time.Time) (out []string) {
	note := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if t.removes != "" {
		note("%s says that this host was removed from the cluster: join again with a new token, or delete data_dir/cluster to stay alone", t.removes)
	}
	if t.twins && t.now-t.twin < time.Minute {
		note("another host of this cluster calls itself %s too: give one of them another name (host: in its configuration) and let it join again", t.own.Host)
	}
	for _, m := range t.sorted() {
		t.noted(m, f, at, note)
	}
	return out
}

func (t *Table) noted(m *member, f Facts, at time.Time, note func(string, ...any)) {
	switch {
	case m.twins && t.now-m.echo < time.Minute:
		note("two hosts call themselves %s: give one of them another name (host: in its configuration) and let it join again", m.host)
	case m.state == messages.MemberView_expected && t.now > quiet:
		note("%s hasn't been heard since this host started: is it on, does it listen at %s, and is it a member of this cluster?", m.host, where(m))
	case m.state == messages.MemberView_unreachable && at.Sub(m.seen) > quiet:
		note("%s hasn't been heard for %s: is it on, and does it answer at %s? Its models are placed on other hosts that declare them; `modelops cluster remove %s` forgets it for good", m.host, ago(at.Sub(m.seen)), where(m), m.host)
	case m.state == messages.MemberView_alive && !m.both && t.now-m.at < Limit && t.now > quiet:
		note("%s is heard, and doesn't hear this host: does this host's cluster port answer there? %s", m.host, m.link.Why)
	}
	if m.beat == nil || m.state != messages.MemberView_alive {
		return
	}
	if d := time.Duration(m.offset()) * time.Millisecond; d.Abs() > clocksApart {
		note("the clock of %s differs from this host's by %s: set both by NTP, or times in the journals mislead", m.host, ago(d.Abs()))
	}
	if f.Version != "" && m.beat.Version != f.Version {
		note("%s runs version %s and this host %s: they work together, and the older one should be upgraded", m.host, m.beat.Version, f.Version)
	}
}

func where(m *member) string {
	if m.address != "" {
		return m.address
	}
	return "its cluster port"
}
