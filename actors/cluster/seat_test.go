package cluster

import (
	"testing"
	"time"

	"modelops/messages"
)

// Of a host that two neighbours hear and this one doesn't, the two may say different things while its news are on their way. However often this host looks, it
// sees the same.
func TestNeighboursThatDisagreeGiveOneSeat(t *testing.T) {
	far := "far"
	for score(far) < max(score("main_pc"), score("pc2"), score("pc3")) {
		far += "x"
	}
	for name, c := range map[string]struct {
		second standing
		has    bool
	}{"both call it ready": {ready, true}, "one calls it starting": {starting, false}} {
		l := newListening()
		l.Expect("pc3", "pc3:7422")
		for end := l.now.Add(Settle + time.Second); l.now.Before(end); l.after(Period) {
			for host, says := range map[string]standing{"pc2": ready, "pc3": c.second} {
				l.Hear(&messages.Heartbeat{Host: host, BootId: "b", Version: "1", Arbiter: host, SentMs: l.now.UnixMilli(), Heard: []*messages.Heard{
					{Host: "main_pc", BootId: "m1", Both: true}, {Host: far, BootId: "f", Both: true, Standing: uint32(says), Hears: []string{"pc2", "pc3"}}}}, l.now)
			}
		}
		for range 100 {
			if seat := l.choose(); (seat == far) != c.has {
				t.Fatalf("%s: the seat is at %s", name, seat)
			}
		}
	}
}
