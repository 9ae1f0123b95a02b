package cluster

import (
	"math"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

var began = time.Unix(1e9, 0)

// listening is the table of main_pc, of a cluster with pc2, and the time.
type listening struct {
	*Table
	now time.Time
}

func newListening() *listening {
	l := &listening{NewTable(Own{Host: "main_pc", Boot: "m1", Ready: true}, began), began}
	l.Expect("pc2", "pc2:7422")
	return l
}

// after lets time pass in the steps of a host that listens.
func (l *listening) after(d time.Duration) {
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(min(look, end.Sub(l.now)))
		l.Tick(l.now)
	}
}

// beat is a heartbeat of pc2 that hears main_pc.
func (l *listening) beat(boot string, change ...func(*messages.Heartbeat)) {
	h := &messages.Heartbeat{Host: "pc2", BootId: boot, Version: "1", Arbiter: "pc2", SentMs: l.now.UnixMilli(), Heard: []*messages.Heard{{Host: "main_pc", BootId: "m1", Both: true}}}
	for _, c := range change {
		c(h)
	}
	l.Hear(h, l.now)
}

// beats has pc2 send heartbeats for a time.
func (l *listening) beats(d time.Duration, boot string, change ...func(*messages.Heartbeat)) {
	for end := l.now.Add(d); l.now.Before(end); {
		l.beat(boot, change...)
		l.after(min(Period, end.Sub(l.now)))
	}
}

func deaf(h *messages.Heartbeat) { h.Heard = nil }

func (l *listening) pc2() *messages.MemberView {
	for _, m := range l.View(Facts{Version: "1"}, nil, l.now).Members {
		if m.Host == "pc2" {
			return m
		}
	}
	return nil
}

func TestStatesOfAMember(t *testing.T) {
	for _, c := range []struct {
		name   string
		story  func(*listening)
		state  State
		reason string
		gen    uint64
	}{
		{"never heard", func(l *listening) { l.after(time.Second) }, messages.MemberView_expected, "it has not been heard since this host started", 0},
		{"heard", func(l *listening) { l.beats(time.Second, "b1") }, messages.MemberView_alive, "", 1},
		{"silent for less than the limit", func(l *listening) { l.beat("b1"); l.after(Limit) }, messages.MemberView_alive, "", 1},
		{"silent for longer", func(l *listening) { l.beat("b1"); l.after(3 * time.Minute) }, messages.MemberView_unreachable, "it has not been heard for 3m0s", 1},
		{"heard again", func(l *listening) { l.beat("b1"); l.after(time.Minute); l.beat("b1") }, messages.MemberView_alive, "", 2},
		{"it leaves", func(l *listening) { l.beat("b1"); l.beat("b1", func(h *messages.Heartbeat) { h.Leaving = true }) }, messages.MemberView_gone, "it said that it leaves", 1},
		{"a late heartbeat of a start that left", func(l *listening) {
			l.beat("b1", func(h *messages.Heartbeat) { h.Leaving = true })
			l.beat("b1")
		}, messages.MemberView_gone, "it said that it leaves", 0},
		{"started again", func(l *listening) { l.beat("b1"); l.after(Period); l.beat("b2") }, messages.MemberView_alive, "", 2},
		{"a late heartbeat of a former start", func(l *listening) {
			l.beat("b1")
			l.after(Period)
			l.beat("b2")
			l.beat("b1")
		}, messages.MemberView_alive, "", 2},
		{"its clock was set back before it was started again", func(l *listening) {
			l.beats(Period, "b1")
			l.beats(2*time.Second, "b2", func(h *messages.Heartbeat) { h.SentMs -= 3600_000 })
		}, messages.MemberView_alive, "", 2},
		{"it doesn't hear us", func(l *listening) { l.beats(time.Second, "b1", deaf) }, messages.MemberView_alive, "it is heard, and doesn't hear this host", 1},
		{"it hears our former start", func(l *listening) {
			l.beats(time.Second, "b1", func(h *messages.Heartbeat) { h.Heard[0].BootId = "m0" })
		}, messages.MemberView_alive, "it is heard, and doesn't hear this host", 1},
		{"this host was stopped for a minute", func(l *listening) {
			l.beats(time.Second, "b1")
			l.now = l.now.Add(time.Minute)
			l.Tick(l.now)
		}, messages.MemberView_alive, "", 1},
		{"this host's clock was set back by an hour", func(l *listening) {
			l.beats(time.Second, "b1")
			l.now = l.now.Add(-time.Hour)
			l.after(2 * Limit)
		}, messages.MemberView_unreachable, "it has not been heard for 0s", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newListening()
			c.story(l)
			if v := l.pc2(); v.State != c.state || v.Reason != c.reason || v.Generation != c.gen {
				t.Errorf("%s (%s), generation %d; expected %s (%s), %d", v.State, v.Reason, v.Generation, c.state, c.reason, c.gen)
			}
		})
	}
}

// Connections look up for a while after a host has died, or was cut off. What is said of the link follows what is heard.
func TestLinksOfAMember(t *testing.T) {
	l := newListening()
	link := func(to, from bool) {
		t.Helper()
		l.Link("pc2", Link{Up: true})
		if v := l.pc2(); v.LinkTo != to || v.LinkFrom != from {
			t.Errorf("%s: to it %t, from it %t; expected %t, %t", v.State, v.LinkTo, v.LinkFrom, to, from)
		}
	}
	link(false, false)
	l.beats(time.Second, "b1")
	link(true, true)
	l.beats(time.Second, "b1", deaf)
	link(false, true)
	l.beats(time.Second, "b1")
	l.after(1700 * time.Millisecond)
	link(false, false)
	l.Link("pc2", Link{Why: "refused"})
	if l.beats(time.Second, "b2"); l.pc2().LinkTo || !l.pc2().LinkFrom {
		t.Error("a connection that is down isn't shown so")
	}
}

func TestWhoHasTheSeat(t *testing.T) {
	first, second := inOrder("main_pc", "pc2")
	here := func(change func(*Own)) func(*listening) {
		return func(l *listening) {
			own := l.Own()
			change(&own)
			l.Set(own)
			l.beats(2*time.Second, "b1")
		}
	}
	there := func(change func(*messages.Heartbeat)) func(*listening) {
		return func(l *listening) { l.beats(2*time.Second, "b1", change) }
	}
	for _, c := range []struct {
		name, seat string
		story      func(*listening)
	}{
		{"nobody else is heard", "main_pc", func(l *listening) { l.after(time.Second) }},
		{"both", first, there(func(*messages.Heartbeat) {})},
		{"this host is being emptied", "pc2", here(func(o *Own) { o.Draining = true })},
		{"the other host is being emptied", "main_pc", there(func(h *messages.Heartbeat) { h.Draining = true })},
		{"this host starts", "pc2", here(func(o *Own) { o.Ready = false })},
		{"the other host starts", "main_pc", there(func(h *messages.Heartbeat) { h.Arbiter = "" })},
		{"both are being emptied", first, func(l *listening) {
			here(func(o *Own) { o.Draining = true })(l)
			l.beats(time.Second, "b1", func(h *messages.Heartbeat) { h.Draining = true })
		}},
		{"the other host doesn't hear this one", "main_pc", there(deaf)},
		{"it came back a moment ago", "main_pc", func(l *listening) {
			l.beat("b1")
			l.after(time.Minute)
			l.beat("b1")
			l.after(Settle - time.Millisecond)
		}},
		{"it came back", first, func(l *listening) { l.beat("b1"); l.after(time.Minute); l.beat("b1"); l.after(Settle) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newListening()
			if c.story(l); l.Seat() != c.seat {
				t.Errorf("the seat is at %s, expected %s (the other one is %s)", l.Seat(), c.seat, second)
			}
		})
	}
}

// A link that works for a moment now and then doesn't bring the member back for the seat.
func TestFlappingLinkKeepsTheSeat(t *testing.T) {
	l := newListening()
	l.beats(2*time.Second, "b1")
	l.after(time.Second)
	moves, seat := 0, l.Seat()
	for range 50 {
		l.beat("b1")
		l.after(Settle / 2)
		l.beat("b1", deaf)
		l.after(time.Second)
		if now := l.Seat(); now != seat {
			moves, seat = moves+1, now
		}
	}
	if moves != 0 {
		t.Errorf("the seat moved %d times", moves)
	}
}

func TestHostThatWasRemovedStaysAway(t *testing.T) {
	l := newListening()
	l.beats(time.Second, "b1")
	l.Changes()
	if l.Seat() != "pc2" {
		t.Errorf("%s has the seat, want pc2, which comes first", l.Seat())
	}
	l.Remove("pc2")
	if l.Seat() != "main_pc" {
		t.Errorf("%s has the seat after pc2 was removed", l.Seat())
	}
	if c := l.Changes(); len(c) != 1 || !c[0].Removed || c[0].To != messages.MemberView_gone {
		t.Errorf("changes %v", c)
	}
	l.beat("b1")
	if l.pc2() != nil {
		t.Error(l.pc2())
	}
	l.Admit("pc2", "")
	if l.beat("b1"); l.pc2().State != messages.MemberView_alive {
		t.Error("it was admitted again and is", l.pc2())
	}
}

func TestMembersAreKnownFromAnyOther(t *testing.T) {
	l := newListening()
	l.beat("b1", func(h *messages.Heartbeat) {
		h.Heard = append(h.Heard, &messages.Heard{Host: "pc3", BootId: "c1", Address: "pc3:7422"})
		h.Membership = map[string]uint64{"main_pc": 2}
	})
	v := l.View(Facts{}, nil, l.now)
	if len(v.Members) != 3 || v.Members[2].Host != "pc3" || v.Members[2].Address != "pc3:7422" {
		t.Errorf("members %v", v.Members)
	}
	if !strings.Contains(strings.Join(v.Notes, "\n"), "pc2 says that this host was removed") {
		t.Errorf("notes %q", v.Notes)
	}
	l.beat("b1", func(h *messages.Heartbeat) { h.Membership = map[string]uint64{"main_pc": 3} })
	if notes := l.View(Facts{}, nil, l.now).Notes; strings.Contains(strings.Join(notes, "\n"), "was removed") {
		t.Errorf("it joined again, notes %q", notes)
	}
}

func TestNotesSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name  string
		story func(*listening)
		want  []string
	}{
		{"all is well", func(l *listening) { l.beats(time.Minute, "b1") }, nil},
		{"never heard", func(l *listening) { l.after(time.Minute) }, []string{"pc2 hasn't been heard since this host started", "pc2:7422"}},
		{"a short silence is no matter", func(l *listening) { l.beat("b1"); l.after(5 * time.Second) }, nil},
		{"silent", func(l *listening) { l.beat("b1"); l.after(3 * time.Minute) }, []string{"pc2 hasn't been heard for 3m0s", "modelops cluster remove pc2"}},
		{"deaf", func(l *listening) { l.beats(time.Minute, "b1", deaf) }, []string{"pc2 is heard, and doesn't hear this host"}},
		{"clocks", func(l *listening) {
			l.beats(time.Minute, "b1", func(h *messages.Heartbeat) { h.SentMs += 86400_000 })
		}, []string{"the clock of pc2 differs from this host's by 24h0m0s"}},
		{"versions", func(l *listening) { l.beats(time.Minute, "b1", func(h *messages.Heartbeat) { h.Version = "2" }) }, []string{"pc2 runs version 2 and this host 1"}},
		{"two hosts of a peer's name", func(l *listening) {
			for range 30 {
				l.beat("b1")
				l.after(Period / 2)
				l.beat("b2")
				l.after(Period / 2)
			}
		}, []string{"two hosts call themselves pc2"}},
		{"two hosts of our name", func(l *listening) {
			l.beats(time.Minute, "b1")
			l.Hear(&messages.Heartbeat{Host: "main_pc", BootId: "m9"}, l.now)
		}, []string{"another host of this cluster calls itself main_pc too"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newListening()
			c.story(l)
			notes := l.View(Facts{Version: "1"}, nil, l.now).Notes
			if len(c.want) == 0 && len(notes) > 0 {
				t.Errorf("notes %q", notes)
			}
			for _, want := range c.want {
				if !strings.Contains(strings.Join(notes, "\n"), want) {
					t.Errorf("notes %q lack %q", notes, want)
				}
			}
		})
	}
}

// A host that follows another one's arbiter tells it of each epoch that it doesn't know, its own among them: on two sides of a split, two can take over under one.
func TestFollowersTellOfEpochs(t *testing.T) {
	l := newListening()
	own := l.Own()
	own.Epoch = 4
	l.Set(own)
	if h := l.Beat(Facts{}, l.now); h.ArbiterEpoch != 4 {
		t.Errorf("alone: %v", h)
	}
	for theirs, tells := range map[uint64]uint64{2: 4, 4: 5, 6: 6} {
		l := newListening()
		l.Set(own)
		l.beats(time.Second, "b1", func(h *messages.Heartbeat) { h.ArbiterEpoch = theirs })
		if h := l.Beat(Facts{}, l.now); h.Arbiter != "pc2" || h.ArbiterEpoch != tells {
			t.Errorf("pc2 has epoch %d: %v", theirs, h)
		}
	}
}

func TestTakeOverIsOutdatedByAnother(t *testing.T) {
	l := newListening()
	if !l.Outdated() {
		t.Error("an arbiter that never took over is up to date")
	}
	own := l.Own()
	own.Epoch = 4
	l.Set(own)
	if l.Outdated() || l.Epoch() != 4 {
		t.Error("outdated by nobody")
	}
	l.beat("b1", func(h *messages.Heartbeat) { h.ArbiterEpoch = 7 })
	if !l.Outdated() || l.Epoch() != 7 {
		t.Error("another arbiter took over, and ours is up to date")
	}
}

// An epoch with which no arbiter can have taken over is passed over. As the highest of all it would be told on, and no arbiter after it would be obeyed.
func TestAnAbsurdEpochIsNotHeard(t *testing.T) {
	for _, absurd := range []uint64{1 << 40, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
		l := newListening()
		own := l.Own()
		own.Epoch = 4
		l.Set(own)
		said := &messages.Heartbeat{Host: "pc2", BootId: "b1", Arbiter: "pc2", ArbiterEpoch: absurd, Heard: []*messages.Heard{{Host: "main_pc", BootId: "m1", Both: true}}}
		l.Hear(said, l.now)
		l.after(Settle)
		l.beats(time.Second, "b1", func(h *messages.Heartbeat) { h.ArbiterEpoch = absurd })
		if h := l.Beat(Facts{}, l.now); l.Epoch() != 4 || h.ArbiterEpoch != 4 || said.ArbiterEpoch != absurd {
			t.Errorf("%d: known is %d, told is %v", absurd, l.Epoch(), h)
		}
	}
}
