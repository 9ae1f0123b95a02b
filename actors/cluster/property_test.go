package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/messages"
)

// net is some hosts in virtual time, and the directed links between them.
type net struct {
	t     *rapid.T
	now   time.Time
	hosts []*netHost
	cut   map[[2]int]bool
	post  []letter
	left  map[string]bool // starts that said that they leave, or were followed by another one: BOOT
}

type netHost struct {
	name   string
	table  *Table // nil = killed
	boots  int
	offset time.Duration // of its clock
	beats  time.Time     // its next heartbeat
	mute   time.Time     // it says nothing before
}

type letter struct {
	to   int
	from int
	at   time.Time
	beat *messages.Heartbeat
}

func newNet(t *rapid.T, n int) *net {
	w := &net{t: t, now: time.Unix(1e9, 0), cut: map[[2]int]bool{}, left: map[string]bool{}}
	for i := range n {
		w.hosts = append(w.hosts, &netHost{name: fmt.Sprintf("h%d", i)})
		w.start(i)
	}
	return w
}

func (w *net) start(i int) {
	h := w.hosts[i]
	if h.boots > 0 {
		w.left[h.boot()] = true
	}
	h.boots++
	h.table = NewTable(Own{Host: h.name, Boot: h.boot(), Ready: true}, h.clock(w.now))
	for _, other := range w.hosts {
		h.table.Expect(other.name, "")
	}
	h.beats = w.now.Add(60 * time.Millisecond) // what its former start sent has come by then: a new process takes longer
	h.mute = h.beats
}

func (h *netHost) boot() string                  { return fmt.Sprintf("%s-%d", h.name, h.boots) }
func (h *netHost) clock(now time.Time) time.Time { return now.Add(h.offset) }
func (w *net) say(i int, beat *messages.Heartbeat) { // to all that a link leads to
	for j := range w.hosts {
		if j != i && !w.cut[[2]int{i, j}] {
			w.post = append(w.post, letter{j, i, w.now.Add(time.Duration(rapid.IntRange(0, 60).Draw(w.t, "delay")) * time.Millisecond), beat})
		}
	}
}

// step is 20 ms of the world.
func (w *net) step() {
	w.now = w.now.Add(20 * time.Millisecond)
	later := w.post[:0:0]
	for _, l := range w.post {
		switch h := w.hosts[l.to]; {
		case l.at.After(w.now):
			later = append(later, l)
		case h.table != nil && !w.cut[[2]int{l.from, l.to}]:
			h.table.Hear(l.beat, h.clock(w.now))
		}
	}
	w.post = later
	for i, h := range w.hosts {
		if h.table == nil {
			continue
		}
		h.table.Tick(h.clock(w.now))
		changes := h.table.Changes()
		if kept, chosen := h.table.Seat(), h.table.choose(); kept != chosen {
			w.t.Fatalf("%s goes on with the seat at %s, which is at %s now", h.name, kept, chosen)
		}
		for _, c := range changes {
			if c.To == messages.MemberView_gone && !w.left[c.Boot] {
				w.t.Fatalf("%s calls %s (%s) gone, and it only isn't heard", h.name, c.Host, c.Boot)
			}
		}
		if len(changes) > 0 && w.now.After(h.mute) || !h.beats.After(w.now) {
			h.beats = w.now.Add(Period)
			w.say(i, h.table.Beat(Facts{}, h.clock(w.now)))
		}
	}
}

func (w *net) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.step()
	}
}

func (w *net) act() {
	i := rapid.IntRange(0, len(w.hosts)-1).Draw(w.t, "host")
	j := (i + rapid.IntRange(1, len(w.hosts)-1).Draw(w.t, "other")) % len(w.hosts)
	h := w.hosts[i]
	switch what := rapid.SampledFrom([]string{"cut", "one way", "mend", "kill", "start", "leave", "jump", "drain", "run", "run"}).Draw(w.t, "what"); what {
	case "cut":
		w.cut[[2]int{i, j}], w.cut[[2]int{j, i}] = true, true
	case "one way":
		w.cut[[2]int{i, j}] = true
	case "mend":
		delete(w.cut, [2]int{i, j})
		delete(w.cut, [2]int{j, i})
	case "kill":
		h.table = nil
	case "start":
		w.start(i)
	case "leave":
		if h.table != nil {
			bye := h.table.Beat(Facts{}, h.clock(w.now))
			bye.Leaving = true
			w.left[h.boot()] = true
			w.say(i, bye)
			h.table = nil
		}
	case "jump":
		h.offset += time.Duration(rapid.IntRange(-90000, 90000).Draw(w.t, "jump")) * time.Second
	case "drain":
		if h.table != nil {
			own := h.table.Own()
			own.Draining = !own.Draining
			h.table.Set(own)
		}
	case "run":
		w.run(time.Duration(rapid.IntRange(1, 60).Draw(w.t, "steps")) * 20 * time.Millisecond)
	}
}

// hear tells whether two running hosts hear each other.
func (w *net) hear(i, j int) bool {
	return w.hosts[i].table != nil && w.hosts[j].table != nil && !w.cut[[2]int{i, j}] && !w.cut[[2]int{j, i}]
}

// agreement is how long the links must stay as they are until hosts that hear each other agree: a loss is noticed, told, and what came back has settled.
const agreement = Limit + Limit/2 + 2*Period + Settle

func TestAnyOrderOfLossesEndsInOneSeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newNet(t, rapid.IntRange(2, 4).Draw(t, "hosts"))
		for range rapid.IntRange(1, 25).Draw(t, "acts") {
			w.act()
		}
		w.run(agreement + 2*Period)
		for i, a := range w.hosts {
			for j, b := range w.hosts[:i] {
				if w.hear(i, j) && a.table.Seat() != b.table.Seat() {
					t.Fatalf("%s and %s hear each other and seat %s and %s; cut %v", a.name, b.name, a.table.Seat(), b.table.Seat(), w.cut)
				}
			}
			if a.table != nil {
				w.reached(i, a.table.Seat())
			}
		}
	})
}

// reached checks that the seat isn't given to a host that is dead, or that this host has no way to.
func (w *net) reached(i int, seat string) {
	seen, todo := map[int]bool{i: true}, []int{i}
	for ; len(todo) > 0; todo = todo[1:] {
		for j := range w.hosts {
			if !seen[j] && w.hear(todo[0], j) {
				seen[j] = true
				todo = append(todo, j)
			}
		}
	}
	if s := slices.IndexFunc(w.hosts, func(h *netHost) bool { return h.name == seat }); !seen[s] {
		w.t.Fatalf("%s seats %s, to which no way leads; cut %v", w.hosts[i].name, seat, w.cut)
	}
}
