package view

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

func chat(n int) messages.ActorID { return messages.ModelActor("h", fmt.Sprintf("m%d", n)) }

func modelView(id messages.ActorID, attempt int) *messages.ModelView {
	return &messages.ModelView{Id: id.String(), Name: id.Name(), Attempt: uint64(attempt)}
}

// follower is a watcher's copy of the view, made from deltas.
type follower struct {
	version   uint64
	views     map[messages.ActorID]proto.Message
	snapshots int
}

func (f *follower) apply(d Delta) error {
	if d.Snapshot {
		f.views, f.snapshots = map[messages.ActorID]proto.Message{}, f.snapshots+1
	}
	last := f.version
	for _, c := range d.Changes {
		if !d.Snapshot && c.Version <= last || c.Version > d.Version {
			return fmt.Errorf("version %d of %s after %d, in a delta up to %d", c.Version, c.Actor, last, d.Version)
		}
		last = c.Version
		f.views[c.Actor] = c.View
	}
	f.version = d.Version
	return nil
}

// same compares a copy with the projection.
func (f *follower) same(p *Projection) bool {
	want := map[messages.ActorID]proto.Message{}
	for _, v := range p.Models() {
		id, _ := messages.ParseActorID(v.Id)
		want[id] = v
	}
	for _, v := range p.ReadGPUs() {
		id, _ := messages.ParseActorID(v.Id)
		want[id] = v
	}
	return maps.EqualFunc(want, f.views, proto.Equal)
}

// A new watcher gets a snapshot, and then deltas with the latest view of each actor once.
func TestWatchBeginsWithASnapshot(t *testing.T) {
	p := New(Options{First: 100})
	p.StateChanged(chat(1), 1, modelView(chat(1), 1))
	p.StateChanged(chat(2), 2, modelView(chat(2), 1))
	next := 0
	for d := range p.Watch(t.Context(), 0) {
		switch next++; next {
		case 1:
			if !d.Snapshot || d.Version != 102 || len(d.Changes) != 2 {
				t.Fatalf("began with %+v", d)
			}
			for n := range 5 {
				p.StateChanged(chat(1), uint64(3+n), modelView(chat(1), 2+n))
			}
			p.StateChanged(chat(3), 9, modelView(chat(3), 1))
		case 2:
			if d.Snapshot || d.Version != 108 || len(d.Changes) != 2 || d.Changes[0].Version != 107 || d.Changes[0].Sequence != 7 || d.Changes[1].Actor != chat(3) {
				t.Fatalf("went on with %+v", d)
			}
			return
		}
	}
}

func TestWatchSinceAVersion(t *testing.T) {
	p := New(Options{First: 100})
	for n := range maxDelta + 10 {
		p.StateChanged(chat(n), uint64(n), modelView(chat(n), 1))
	}
	last := p.version
	for _, c := range []struct {
		name     string
		since    uint64
		snapshot bool
		changes  int
	}{
		{"the version of another start", 99, true, maxDelta + 10},
		{"a version that is yet to come", last + 1, true, maxDelta + 10},
		{"one change behind", last - 1, false, 1},
		{"as far behind as a delta holds", last - maxDelta, false, maxDelta},
		{"too far behind", last - maxDelta - 1, true, maxDelta + 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			for d := range p.Watch(t.Context(), c.since) {
				if d.Snapshot != c.snapshot || len(d.Changes) != c.changes || d.Version != last {
					t.Errorf("snapshot %t with %d changes up to %d", d.Snapshot, len(d.Changes), d.Version)
				}
				return
			}
		})
	}
}

// A restarted actor shows the state of its journal; late views of a former incarnation are dropped.
func TestAnOlderDecisionChangesNothing(t *testing.T) {
	heard := 0
	p := New(Options{Listen: func(messages.ActorID, proto.Message) { heard++ }})
	p.StateChanged(chat(1), 7, modelView(chat(1), 7))
	version := p.version
	p.StateChanged(chat(1), 6, modelView(chat(1), 6))
	if p.Model(chat(1)).Attempt != 7 || p.version != version || heard != 1 {
		t.Errorf("it shows %v, heard %d", p.Model(chat(1)), heard)
	}
	if p.StateChanged(chat(1), 7, modelView(chat(1), 8)); p.Model(chat(1)).Attempt != 8 || heard != 2 {
		t.Errorf("recovered it shows %v", p.Model(chat(1)))
	}
}

func TestAnEqualReadingIsNoChange(t *testing.T) {
	p := New(Options{})
	gpu := messages.GPUActor("h", "gpu0")
	reading := func(used uint64) *messages.DeviceReading {
		return &messages.DeviceReading{Device: "gpu0", UsedBytes: used}
	}
	p.SetReading(gpu, reading(1)) // before its ledger is known
	p.StateChanged(gpu, 1, &messages.GpuView{Id: gpu.String(), Device: "gpu0", CapacityBytes: 9})
	version := p.version
	if p.SetReading(gpu, reading(1)); p.version != version {
		t.Error("an equal reading got a version")
	}
	p.SetReading(gpu, reading(2))
	for d := range p.Watch(t.Context(), version) {
		if v, ok := d.Changes[0].View.(*messages.GpuView); !ok || v.Reading.GetUsedBytes() != 2 {
			t.Errorf("the watcher sees %v", d)
		}
		break
	}
	if p.GPU(gpu).Reading != nil || p.ReadGPUs()[0].Reading.GetUsedBytes() != 2 {
		t.Error("the ledger's own view holds a reading, or the joined one doesn't")
	}
}

// Watchers of any pace end with the projection's view, and a blocked watcher holds up neither the feed nor the others.
func TestWatchersOfAnyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{First: 7})
		ctx, end := context.WithCancel(t.Context())
		paces := []time.Duration{0, time.Second, time.Hour}
		copies := make([]*follower, len(paces))
		for i, pace := range paces {
			copies[i] = &follower{}
			go func() {
				for d := range p.Watch(ctx, 0) {
					if err := copies[i].apply(d); err != nil {
						t.Error(err)
					}
					time.Sleep(pace)
				}
			}()
		}
		synctest.Wait()
		for n := range 2000 {
			id := chat(n % 700)
			p.StateChanged(id, uint64(n), modelView(id, n))
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if copies[2].version == p.version || !copies[0].same(p) {
			t.Error("the slow watcher has all already, or the fast one hasn't")
		}
		time.Sleep(2 * time.Hour)
		for i, c := range copies {
			if !c.same(p) || c.version != p.version {
				t.Errorf("the watcher that rests for %s is at %d of %d", paces[i], c.version, p.version)
			}
		}
		if copies[0].snapshots != 1 || copies[2].snapshots != 2 {
			t.Errorf("%d and %d snapshots", copies[0].snapshots, copies[2].snapshots)
		}
		end()
		synctest.Wait()
	})
}

// For any changes and any times at which a watcher reads, snapshots and deltas give the projection's view, and versions rise.
func TestWatchersEndWithTheView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New(Options{First: rapid.Uint64Range(0, 3).Draw(t, "first")})
		copies := []*follower{{}, {version: rapid.Uint64Range(0, 5).Draw(t, "stale")}, {}}
		copies[1].views = map[messages.ActorID]proto.Message{}
		if copies[1].version >= p.version { // what a watcher of this start may say was told to it
			copies[1].version = 0
		}
		sequence := map[messages.ActorID]uint64{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); what {
			case 0, 1:
				id := chat(rapid.IntRange(0, 4).Draw(t, "model"))
				sequence[id] = max(sequence[id]+rapid.Uint64Range(0, 3).Draw(t, "ahead"), 1) - 1
				p.StateChanged(id, sequence[id], modelView(id, rapid.IntRange(0, 9).Draw(t, "attempt")))
			case 2, 3:
				gpu := messages.GPUActor("h", rapid.SampledFrom([]string{"gpu0", "gpu1"}).Draw(t, "gpu"))
				if what == 2 {
					p.StateChanged(gpu, 1, &messages.GpuView{Id: gpu.String(), CapacityBytes: rapid.Uint64Range(1, 3).Draw(t, "capacity")})
				} else {
					p.SetReading(gpu, &messages.DeviceReading{UsedBytes: rapid.Uint64Range(0, 2).Draw(t, "used")})
				}
			default:
				look(t, p, copies[rapid.IntRange(0, 1).Draw(t, "watcher")])
			}
		}
		for i, c := range copies {
			look(t, p, c)
			if !c.same(p) {
				t.Fatalf("watcher %d knows %v", i, c.views)
			}
		}
	})
}

func look(t *rapid.T, p *Projection, f *follower) {
	d, changed := p.since(f.version, maxDelta)
	if changed != nil {
		return
	}
	if err := f.apply(d); err != nil {
		t.Fatal(err)
	}
}

func TestAwaitModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{})
		go func() {
			for n := range 4 {
				time.Sleep(time.Second)
				p.StateChanged(chat(n%2), uint64(n), modelView(chat(n%2), n))
			}
		}()
		v, err := p.AwaitModel(t.Context(), chat(1), func(v *messages.ModelView) bool { return v.Attempt == 3 })
		if err != nil || v.Attempt != 3 {
			t.Errorf("%v, %v", v, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.AwaitModel(ctx, chat(9), func(*messages.ModelView) bool { return true }); messages.CodeOf(err) != messages.DeadlineExceeded || messages.AsError(err).Subject != chat(9).String() {
			t.Errorf("%v", err)
		}
	})
}

func TestViewsAreSortedAndChosen(t *testing.T) {
	p := New(Options{})
	for n, id := range []string{"b", "a", "gone"} {
		actor := messages.ModelActor("h", id)
		v := &messages.ModelView{Id: actor.String(), Name: id, Phase: messages.ModelView_absent, Spec: &messages.ModelSpec{Name: id}}
		if id == "gone" {
			v.Spec = nil
		}
		p.StateChanged(actor, uint64(n), v)
	}
	gpu, spoken := messages.GPUActor("h", "gpu0"), messages.GPUActor("h", "typo")
	p.StateChanged(spoken, 4, &messages.GpuView{Id: spoken.String()})
	p.StateChanged(gpu, 5, &messages.GpuView{Id: gpu.String(), CapacityBytes: 1, Reservations: []*messages.Reservation{{Holder: "model/h/a"}}})
	host := messages.HostActor("h")
	p.StateChanged(host, 6, &messages.HostView{BootId: "b"})
	p.StateChanged(messages.ArbiterActor(), 7, &messages.ArbiterView{Hints: []*messages.HintReply{{Model: "old", UntilMs: 10}, {Model: "a", UntilMs: 20}}})
	names := func(vs []*messages.ModelView) (out []string) {
		for _, v := range vs {
			out = append(out, v.Name)
		}
		return out
	}
	if got := names(p.Models()); !slices.Equal(got, []string{"a", "b", "gone"}) {
		t.Errorf("models %v", got)
	}
	if got := p.ModelsOf("h"); len(got) != 3 || len(p.ModelsOf("another")) != 0 {
		t.Errorf("of a host %v", names(got))
	}
	if got := names(p.Present()); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("present %v", got)
	}
	if got := p.GPUs(); len(got) != 1 || got[0].Id != gpu.String() || p.GPU(spoken) == nil || p.Host(host).GetBootId() != "b" || p.Model(gpu) != nil {
		t.Errorf("devices %v", got)
	}
	if !p.Holds(messages.ModelActor("h", "a")) || p.Holds(messages.ModelActor("h", "b")) {
		t.Error("the ledgers say something else")
	}
	if hints, moves := p.Kept(time.UnixMilli(15)); len(hints) != 1 || hints[0].Model != "a" || moves != nil {
		t.Errorf("kept %v, %v", hints, moves)
	}
}

// Models that are withdrawn are dropped but for the latest few; a watcher that hasn't seen the end of a dropped one gets a snapshot, and one that is
// declared again meanwhile stays.
func TestWithdrawnModelsAreDropped(t *testing.T) {
	p := New(Options{First: 100})
	declared := func(n int) *messages.ModelView {
		v := modelView(chat(n), 1)
		v.Phase, v.Spec = messages.ModelView_absent, &messages.ModelSpec{Name: v.Name}
		return v
	}
	f := &follower{}
	next := func() {
		d, changed := p.since(f.version, maxDelta)
		if changed != nil {
			return
		}
		if err := f.apply(d); err != nil {
			t.Fatal(err)
		}
		for id := range f.views { // a watcher's own rule for what has ended
			if over(f.views[id]) {
				delete(f.views, id)
			}
		}
	}
	for n := range 1000 {
		v := declared(n)
		p.StateChanged(chat(n), 1, v)
		if n%3 == 0 {
			next()
		}
		v = proto.CloneOf(v)
		v.Spec = nil
		p.StateChanged(chat(n), 2, v)
	}
	next()
	if len(f.views) != 0 {
		t.Errorf("a watcher has %d models", len(f.views))
	}
	if n := len(p.Models()); n != keptEnded || p.order.Len() != keptEnded || len(p.ended) != keptEnded {
		t.Errorf("%d models are known, %d in order, %d have ended", n, p.order.Len(), len(p.ended))
	}
	p.StateChanged(chat(999), 3, declared(999))
	for n := range keptEnded {
		v := modelView(chat(2000+n), 1)
		v.Phase = messages.ModelView_absent
		p.StateChanged(chat(2000+n), 1, v)
	}
	if p.Model(chat(999)).GetSpec() == nil {
		t.Error("a model that came back was dropped")
	}
	v := declared(999)
	v.Spec = nil
	p.StateChanged(chat(999), 4, v)
	if n := len(p.Models()); n != keptEnded {
		t.Errorf("%d models are known", n)
	}
}
