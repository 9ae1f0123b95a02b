package explain

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// tiny limits make an index forget within a few decisions.
var tiny = limits{ids: 24, models: 24, notes: 2, recent: 64, chunk: 8}

// ward draws a host's history: loads, evictions, leases, rollouts, lost devices, requests.
type ward struct {
	*tale
	t      *rapid.T
	ids    []string // of placements, leases and requests that were
	n      uint64
	placed map[string]*messages.Placement
}

func newWard(t *rapid.T) *ward {
	w := &ward{tale: newTale().devices(), t: t, placed: map[string]*messages.Placement{}}
	for _, name := range []string{"a", "b", "c"} {
		w.declare(name, &messages.ModelSpec{VramBytes: 12000 * mb})
	}
	return w
}

func (w *ward) name() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.t, "model") }
func (w *ward) device() string {
	return rapid.SampledFrom([]string{"sim0", "sim1"}).Draw(w.t, "device")
}

// request draws the request that causes something: none, one that was seen before, or a new one.
func (w *ward) request() string {
	switch rapid.IntRange(0, 3).Draw(w.t, "cause") {
	case 0:
		return ""
	case 1:
		return rapid.SampledFrom([]string{"r1", "r2"}).Draw(w.t, "request")
	}
	w.n++
	id := fmt.Sprintf("r-%d", w.n)
	w.ids = append(w.ids, id)
	return id
}

// step lets the next thing happen.
func (w *ward) step() {
	if rapid.IntRange(0, 9).Draw(w.t, "pause") == 0 {
		w.wait(time.Minute)
	}
	name, device := w.name(), w.device()
	switch rapid.IntRange(0, 11).Draw(w.t, "step") {
	case 0, 1:
		w.caused(w.request(), m(name), &messages.ModelWanted{Reason: "a request waits for it", Attempt: w.n})
	case 2, 3, 4:
		w.place(name, device)
	case 5:
		w.tell("arbiter", &messages.PlacementPostponed{Holder: rapid.SampledFrom([]string{m(name), "model/*/" + name}).Draw(w.t, "holder"), Claim: "name", Reason: "full",
			Candidates: []*messages.Candidate{weighed(device, 12000, 12000, refused("full"))}})
	case 6:
		w.leave(name, "its idle time is over", "")
	case 7:
		w.n++
		id := fmt.Sprintf("lease-%d", w.n)
		w.ids = append(w.ids, id)
		w.tell(dev(device), &messages.VramReserved{Lease: id, Holder: "client/train", Bytes: 100 * mb, TtlSeconds: 30})
		if rapid.Bool().Draw(w.t, "expires") {
			w.tell(dev(device), &messages.LeaseExpired{Lease: id})
		}
	case 8:
		w.tell(m(name), &messages.ModelPinned{Owner: rapid.SampledFrom([]string{"", "ops"}).Draw(w.t, "owner")})
	case 9:
		w.tell(dev(device), rapid.SampledFrom([]proto.Message{&messages.DeviceLost{Reason: "gone"}, &messages.DeviceRecovered{}, &messages.DeviceFaulted{Fault: "xid", Code: 79}}).Draw(w.t, "fate"))
	case 10:
		w.n++
		id := fmt.Sprintf("s-%d", w.n)
		w.tell("host/main_pc", &messages.RolloutStarted{Id: id, Name: "chat", From: name, To: w.name(), Declared: "a"})
		w.tell("host/main_pc", &messages.RolloutCanaried{Id: id})
		w.tell("host/main_pc", rapid.SampledFrom([]proto.Message{&messages.RolloutPromoted{Id: id, Reason: "x"}, &messages.RolloutRolledBack{Id: id, Reason: "x"}}).Draw(w.t, "end"))
	case 11:
		w.tell("arbiter", &messages.PressureRelieved{Gpu: dev(device), Reason: "full", Victims: []*messages.Victim{out(name, 12000, 1, 1)}})
		w.leave(name, "makes room", reliefID(uint64(len(w.records))))
	}
}

// place loads a model, up to some point, after a victim has left.
func (w *ward) place(name, device string) {
	w.n++
	c := weighed(device, 0, 12000, chosen)
	victim := ""
	if rapid.Bool().Draw(w.t, "evicts") {
		if victim = w.name(); victim != name {
			leaves(0.5, out(victim, 12000, 1000, 1000))(c)
		}
	}
	d := decided(name, w.n, device, messages.Need_declared, c)
	p := d.Placement
	w.ids = append(w.ids, p.Id)
	w.tell("arbiter", d)
	if len(p.Victims) > 0 {
		w.leave(victim, "makes room for "+m(name), p.Id)
		w.tell("arbiter", &messages.VictimPreempted{Id: p.Id, Holder: m(victim)})
	}
	ends := []func(){
		func() { w.tell("arbiter", &messages.PlacementRefused{Id: p.Id}) },
		func() {
			w.tell(dev(device), &messages.VramReserved{Lease: p.Id, Holder: p.Holder, Bytes: p.Bytes()})
			w.tell(p.Holder, &messages.ModelLoadStarted{Attempt: w.n, Placement: p})
			w.tell("arbiter", &messages.PlacementClosed{Id: p.Id, Reason: "handed over"})
			w.placed[name] = p
		},
		func() {
			w.tell(p.Holder, &messages.ModelReady{Attempt: w.n, MeasuredBytes: p.Bytes(), Slots: 4, LoadMs: 1300})
			w.tell(dev(device), &messages.VramSettled{Lease: p.Id, MeasuredBytes: 11000 * mb})
		},
		func() { w.tell(dev(device), &messages.VramResized{Lease: p.Id, Bytes: 500 * mb}) },
	}
	for _, f := range ends[rapid.IntRange(0, 1).Draw(w.t, "refused"):rapid.IntRange(1, 4).Draw(w.t, "ends")] {
		f()
	}
}

func (w *ward) leave(name, why, placement string) {
	w.tell(m(name), &messages.ModelUnwanted{Reason: why, Placement: placement}, &messages.ModelDraining{Reason: why})
	w.tell(m(name), &messages.WorkerExited{ExitCode: 1, Reason: rapid.SampledFrom([]string{"stopped", "exit status 1"}).Draw(w.t, "end")}, &messages.LoadFailed{RetryMs: 100})
	if p := w.placed[name]; p != nil {
		w.tell(p.Gpu(), &messages.VramReleased{Lease: p.Shares[0].Lease, Reason: "its worker is gone"})
		delete(w.placed, name)
	}
}

// question draws what is asked: a model, an id that was or never was, a request that memory knows.
func (w *ward) question() Question {
	model := messages.ModelActor("main_pc", w.name())
	id := rapid.SampledFrom(slices.Concat([]string{"r1", "r2", "never"}, w.ids, w.ids[max(0, len(w.ids)-3):])).Draw(w.t, "id")
	switch rapid.IntRange(0, 3).Draw(w.t, "question") {
	case 0:
		return Question{Subject: model.Name(), Model: model}
	case 1:
		return Question{Subject: "relief", ID: reliefID(rapid.Uint64Range(1, uint64(len(w.records))).Draw(w.t, "relief"))}
	case 2:
		r := &Request{ID: id, Asked: model.Name(), Model: model, Began: rapid.SampledFrom(w.records).Draw(w.t, "began").At}
		if rapid.Bool().Draw(w.t, "granted") {
			r.Granted = r.Began.Add(time.Duration(rapid.IntRange(0, 20).Draw(w.t, "waited")) * time.Second)
		}
		return Question{Subject: id, ID: id, Model: model, Request: r}
	}
	return Question{Subject: id, ID: id}
}

// growing is a journal in memory that grows. It counts the readings from its start.
type growing struct {
	*tale
	replays atomic.Int32
	reads   atomic.Int32
}

func (g *growing) Sequence() uint64 { return uint64(len(g.records)) }

func (g *growing) Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	if after == 0 {
		g.replays.Add(1)
	}
	return library(g.records).Replay(ctx, after, until, fn)
}

func (g *growing) Read(ctx context.Context, sequences []uint64, fn func(messages.Recorded) error) error {
	g.reads.Add(int32(len(sequences)))
	return library(g.records).Read(ctx, sequences, fn)
}

// An index that grows with the journal, forgets what it has no room for and hears of decisions one way or the other answers as one that has
// just read everything and forgets nothing.
func TestTheIndexAnswersAsAFullReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWard(t)
		b := newBook("", &growing{tale: w.tale}, tiny)
		for range rapid.SampledFrom([]int{5, 40, 150}).Draw(t, "steps") {
			told := len(w.records)
			w.step()
			if rapid.Bool().Draw(t, "fed") {
				for _, r := range w.records[told:] {
					b.Take(r)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "asked") > 0 {
				continue
			}
			q := w.question()
			got := plain(Why(context.Background(), q, w.present(), b))
			full := newBook("", library(w.records), limits{recent: tiny.recent, chunk: tiny.chunk})
			if want := plain(Why(context.Background(), q, w.present(), full)); got != want {
				t.Fatalf("%+v after %d decisions:\n%s\nwant\n%s", q, len(w.records), got, want)
			}
		}
	})
}

// However long the journal: what is kept beside the states of actors is within its bounds.
func TestTheIndexIsBounded(t *testing.T) {
	x := newIndex(tiny)
	s := evicted()
	for n := range 3000 {
		for _, r := range s.records {
			r.Sequence, r.ID, r.Meta.Correlation = x.seen+1, fmt.Sprint("d", n, r.Sequence), fmt.Sprint("r", n, r.Sequence)
			x.take(r)
		}
	}
	count := func(t trail) (n int) {
		for _, c := range t.chunks {
			n += len(c)
		}
		return n
	}
	if n, k := count(x.ids), count(x.models); n > tiny.ids+tiny.chunk || k > tiny.models+tiny.chunk || len(x.notes.all) > 2*tiny.notes || len(x.recent.all) > tiny.recent || len(x.recent.set) > tiny.recent {
		t.Errorf("%d ids, %d facts of models, %d notes, %d decisions", n, k, len(x.notes.all), len(x.recent.set))
	}
	if len(x.stories) != 3 || len(x.latest.actors) != 6 {
		t.Errorf("%d stories, %d actors", len(x.stories), len(x.latest.actors))
	}
	for name, s := range x.stories {
		if len(s.window) > keep {
			t.Errorf("%s: %d facts", name, len(s.window))
		}
	}
}

func TestTrail(t *testing.T) {
	tr := trail{most: 4, chunk: 2}
	a, b := topicOf(ofID, "a"), topicOf(ofAsked, "a")
	if a == b {
		t.Fatal("two uses of a word are one subject")
	}
	for n := range uint64(5) {
		tr.add(a, n+1, int(n))
		tr.add(b, n+1, 300) // beyond what a mark can hold
	}
	if got := tr.find(a); !slices.Equal(got, []spot{{3, 2}, {4, 3}, {5, 4}}) || tr.dropped != 2 || tr.find(b) != nil {
		t.Errorf("%v, %d let go", got, tr.dropped)
	}
}

func TestNotes(t *testing.T) {
	n := notes{most: 2}
	for s := range uint64(5) {
		n.add(ref{spot{s + 1, 0}, fmt.Sprint(s + 1)})
	}
	if n.of(spot{5, 0}) != "5" || n.of(spot{3, 0}) != "3" || n.of(spot{2, 0}) != "" || n.of(spot{5, 1}) != "" || n.dropped != 2 {
		t.Errorf("%+v", n)
	}
}
