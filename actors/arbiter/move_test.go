package arbiter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// mover is a world of three hosts with a device each, on which models are loaded, idle for some time, and moved. It does at once what owners do.
type mover struct {
	t      *rapid.T
	m      *entitytest.Bench[State]
	names  []string
	on     map[string]string // the host of each loaded model
	idle   map[string]int64
	pinned map[string]bool
	kept   map[string]bool
	may    map[string][]string // the hosts that declare it
	moved  map[string]time.Time
	moves  int
}

const moverLimit = 10

func drawMover(t *rapid.T) *mover {
	w := &mover{t: t, m: entitytest.Drive(Kind(Rules{Policy: "lru", KeepWarm: time.Minute, MaxLoads: 2}, nil, nil), messages.ArbiterActor()),
		on: map[string]string{}, idle: map[string]int64{}, pinned: map[string]bool{}, kept: map[string]bool{}, may: map[string][]string{}, moved: map[string]time.Time{}}
	for i := range rapid.IntRange(4, 7).Draw(t, "models") {
		name := fmt.Sprint("m", i)
		w.names = append(w.names, name)
		w.may[name] = rapid.SampledFrom([][]string{{"h0"}, {"h1"}, {"h0", "h1"}, {"h0", "h1", "h2"}}).Draw(t, "declared by")
		w.pinned[name], w.kept[name] = rapid.IntRange(0, 6).Draw(t, "pinned") == 0, rapid.IntRange(0, 3).Draw(t, "kept") == 0
	}
	return w
}

// bytes is what a model needs and holds: m0 3, m1 4, ...
func (w *mover) bytes(name string) uint64 { return uint64(3 + slices.Index(w.names, name)) }

// see shows the arbiter the world as it is.
func (w *mover) see(waits ...*messages.Allocation) *messages.SchedulerReadings {
	seen := &messages.SchedulerReadings{Allocations: waits}
	at := map[string]*messages.GpuView{}
	for _, host := range []string{"h0", "h1", "h2"} {
		at[host] = &messages.GpuView{Id: "gpu/" + host + "/g", Host: host, Kind: "cuda", LimitBytes: moverLimit}
		seen.Ledgers = append(seen.Ledgers, at[host])
	}
	for _, name := range w.names {
		host, loaded := w.on[name]
		if !loaded {
			continue
		}
		l, a := at[host], settled("model/"+host+"/"+name, "gpu/"+host+"/g", w.bytes(name))
		l.ReservedBytes += w.bytes(name)
		l.Reservations = append(l.Reservations, &messages.Reservation{Lease: name, Holder: a.Holder, Bytes: w.bytes(name)})
		a.IdleMs, a.Pinned, a.Kept = w.idle[name], w.pinned[name], w.kept[name]
		for _, other := range w.may[name] {
			if other != host {
				a.Elsewhere = append(a.Elsewhere, other)
			}
		}
		seen.Allocations = append(seen.Allocations, a)
		if l.ReservedBytes > moverLimit {
			w.t.Fatalf("%s holds %d", host, l.ReservedBytes)
		}
	}
	w.m.Readings = seen
	return seen
}

// ask asks for a placement, and does all that it brings about.
func (w *mover) ask(c *messages.RequestPlacement, waits ...*messages.Allocation) {
	seen := w.see(waits...)
	r, err := w.m.Do(c)
	if err != nil {
		return
	}
	for _, e := range r.Events {
		if d, ok := e.(*messages.PlacementDecided); ok {
			w.check(c, d, seen)
			w.carryOut(d)
		}
	}
}

// check: who moves is a victim that is worth it and lives nowhere else, goes where it is declared and fits as things are, and hasn't moved lately; nobody leaves for one
// that takes free memory only.
func (w *mover) check(c *messages.RequestPlacement, d *messages.PlacementDecided, seen *messages.SchedulerReadings) {
	if c.FreeOnly && len(d.Placement.Victims) > 0 {
		w.t.Fatalf("%v leave for %s, which takes free memory only", d.Placement.Victims, c.Holder)
	}
	taken := map[string]uint64{}
	for _, m := range d.Moves {
		_, from, name := parts(m.Holder)
		to := hostOf(m.To)
		taken[to] += m.Bytes
		i := slices.IndexFunc(seen.Ledgers, func(l *messages.GpuView) bool { return l.Id == m.To })
		switch at, again := w.moved[name]; {
		case !slices.Contains(d.Placement.Victims, m.Holder):
			w.t.Fatalf("%s moves and isn't to leave", m.Holder)
		case to == from || !slices.Contains(w.may[name], to):
			w.t.Fatalf("%s moves to %s, of %v", m.Holder, to, w.may[name])
		case seen.Ledgers[i].ReservedBytes+taken[to] > moverLimit:
			w.t.Fatalf("%s moves to %s, which has %d of %d", m.Holder, to, seen.Ledgers[i].ReservedBytes, moverLimit)
		case w.idle[name] >= time.Minute.Milliseconds() && !w.kept[name]:
			w.t.Fatalf("%s moves after it was idle for %d ms", m.Holder, w.idle[name])
		case again && w.m.Now.Sub(at) < 10*time.Minute:
			w.t.Fatalf("%s moves again after %s", m.Holder, w.m.Now.Sub(at))
		}
		w.moved[name] = w.m.Now
		w.moves++
	}
}

// carryOut is what owners do for a placement: its victims leave, its memory is reserved, its holder takes it. Then the victims that move ask for free memory.
func (w *mover) carryOut(d *messages.PlacementDecided) {
	id := d.Placement.Id
	for _, v := range d.Placement.Victims {
		_, _, name := parts(v)
		if w.pinned[name] {
			w.t.Fatalf("%s leaves although it is pinned", v)
		}
		delete(w.on, name)
		w.do(&messages.ReportPreempted{Id: id, Holder: v})
	}
	w.do(&messages.ReportReserved{Id: id, Epochs: []uint64{1}})
	w.do(&messages.ClosePlacement{Id: id, Reason: "handed over"})
	_, host, name := parts(d.Placement.Holder)
	if at, twice := w.on[name]; twice {
		w.t.Fatalf("%s is placed on %s and runs on %s", name, host, at)
	}
	w.on[name], w.idle[name] = host, 0
	for _, m := range d.Moves {
		if rapid.Bool().Draw(w.t, "meanwhile") { // another one is placed there first
			if other := rapid.SampledFrom(w.names).Draw(w.t, "another"); w.on[other] == "" && slices.Contains(w.may[other], hostOf(m.To)) {
				w.ask(w.claim("model/"+hostOf(m.To)+"/"+other, false))
			}
		}
		if w.on[nameOf(m.Holder)] == "" {
			w.ask(w.claim("model/"+hostOf(m.To)+"/"+nameOf(m.Holder), true))
		}
	}
}

func (w *mover) claim(holder string, freeOnly bool) *messages.RequestPlacement {
	c := &messages.RequestPlacement{Holder: holder, Preemptible: true, FreeOnly: freeOnly, Claim: &messages.Claim{Id: fmt.Sprint(w.m.Now.UnixNano(), freeOnly)}}
	_, host, name := parts(holder)
	for _, h := range w.may[name] {
		if host == messages.AnyHost || host == h {
			c.Claim.Needs = append(c.Claim.Needs, &messages.Need{Host: h, Bytes: w.bytes(name)})
		}
	}
	return c
}

func (w *mover) do(c proto.Message) {
	if _, err := w.m.Do(c); err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
}

// Whatever is asked for: a model moves only as it may, at most once in ten minutes, never runs twice, and no device is over its limit. A move brings no other about:
// there are never more moves than victims of claims.
func TestMovesEnd(t *testing.T) {
	moves := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawMover(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := rapid.SampledFrom(w.names).Draw(t, "name")
			pause := rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, 4 * time.Minute}).Draw(t, "pause")
			w.m.Wait(pause)
			for name := range w.on {
				w.idle[name] += pause.Milliseconds()
			}
			if _, loaded := w.on[name]; loaded {
				if w.idle[name] = 0; rapid.Bool().Draw(t, "unloaded") {
					delete(w.on, name)
				}
				continue
			}
			w.ask(w.claim("model/"+rapid.SampledFrom(append([]string{messages.AnyHost}, w.may[name]...)).Draw(t, "host")+"/"+name, false))
		}
		moves += w.moves
		if err := w.m.Replayed(rapid.IntRange(0, len(w.m.Recorded)).Draw(t, "snapshot")); err != nil {
			t.Fatal(err)
		}
	})
	if moves == 0 {
		t.Error("no model ever moved")
	}
}

// A claim that takes free memory only gets it when nobody waits for memory there and its model lives nowhere else, and is refused else.
func TestFreeMemoryOnly(t *testing.T) {
	g := &messages.GpuView{Id: "gpu/pc2/g", Host: "pc2", Kind: "cuda", LimitBytes: 10, ReservedBytes: 4}
	here := settled("model/pc2/other", g.Id, 4)
	here.IdleMs = 60_000
	of := func(holder string, state messages.Allocation_State) *messages.Allocation {
		return &messages.Allocation{Holder: holder, State: state, WaitedMs: 100}
	}
	waiting := func(ms int64) *messages.Allocation {
		a := of("model/pc2/x", messages.Allocation_seeking)
		a.WaitedMs, a.FreeOnly = ms, true
		return a
	}
	loads := func(n int) (out []*messages.Allocation) {
		for i := range n {
			out = append(out, of(fmt.Sprint("model/pc2/l", i), messages.Allocation_starting))
		}
		return out
	}
	for name, c := range map[string]struct {
		need uint64
		seen []*messages.Allocation
		want string // "", or a part of what it waits for or is refused with
	}{
		"there is room":                 {6, nil, ""},
		"another one would have to go":  {7, nil, "others would have to leave"},
		"it doesn't fit at all":         {11, nil, "never fits"},
		"it would fill the device":      {6, nil, "over the threshold above which idle models leave: needs "},
		"somebody waits there":          {6, []*messages.Allocation{of("model/*/w", messages.Allocation_seeking)}, "model/*/w waits for memory there"},
		"somebody waits elsewhere":      {6, []*messages.Allocation{of("model/main_pc/w", messages.Allocation_seeking)}, ""},
		"another one that moves waits":  {6, []*messages.Allocation{func() *messages.Allocation { a := waiting(9); a.Holder = "model/pc2/y"; return a }()}, ""},
		"it is loaded elsewhere":        {6, []*messages.Allocation{settled("model/main_pc/x", "gpu/main_pc/g", 6)}, "model/main_pc/x has its memory"},
		"it is about to leave":          {6, []*messages.Allocation{of("model/main_pc/x", messages.Allocation_changing)}, "on its way out"},
		"its replica is loaded":         {6, []*messages.Allocation{settled("model/pc2/x~2", "gpu/pc2/g2", 6)}, "model/pc2/x~2 has its memory"},
		"two others load":               {6, loads(2), "2 models load already"},
		"two others load for a minute":  {6, append(loads(2), waiting(61_000)), "it has waited for 1m1s"},
		"it is on its way out too long": {6, []*messages.Allocation{of("model/main_pc/x", messages.Allocation_changing), waiting(61_000)}, "has its memory, or is about to"},
	} {
		rules := Rules{MaxLoads: 2, KeepWarm: time.Minute}
		if strings.Contains(c.want, "threshold") {
			rules.ThresholdPct = 90
		}
		m := entitytest.Drive(Kind(rules, nil, nil), messages.ArbiterActor())
		m.Readings = seen([]*messages.GpuView{g}, append(slices.Clone(c.seen), here)...)
		request := &messages.RequestPlacement{Holder: "model/pc2/x", FreeOnly: true, Preemptible: true, Claim: &messages.Claim{Id: "1", Needs: []*messages.Need{{Host: "pc2", Bytes: c.need}}}}
		r, err := m.Do(request)
		reply, _ := r.Answer.(*messages.PlacementReply)
		said := reply.GetWaitsFor()
		if err != nil {
			said = err.Error()
		}
		if (reply.GetPlacement() != nil) != (c.want == "") || !strings.Contains(said, c.want) || c.want != "" && len(r.Events) > 0 {
			t.Errorf("%s: %v, %v, %v", name, reply, err, r.Events)
		}
	}
}

// telling is a door that remembers what was told.
type telling struct {
	answering
	told map[messages.ActorID]proto.Message
}

func (d telling) Tell(_ context.Context, to messages.ActorID, command proto.Message) {
	d.told[to] = command
}

// A victim that has left for the placement is loaded on the other host. One that was unloaded by hand, or hasn't left yet, isn't.
func TestAVictimThatHasLeftMovesIn(t *testing.T) {
	move := &messages.Move{Holder: "model/h/v", From: "gpu/h/g", To: "gpu/pc2/g0", Bytes: 2 * messages.GiB, FreeBytes: 8 * messages.GiB}
	for name, c := range map[string]struct {
		reply *messages.PreemptReply
		move  *messages.Move
		moves bool
	}{
		"it has left for this":  {&messages.PreemptReply{State: messages.PreemptReply_gone, LeftForIt: true}, move, true},
		"it just leaves":        {&messages.PreemptReply{State: messages.PreemptReply_gone, LeftForIt: true}, nil, false},
		"it was unloaded":       {&messages.PreemptReply{State: messages.PreemptReply_gone}, move, false},
		"it is on its way out":  {&messages.PreemptReply{State: messages.PreemptReply_leaving}, move, false},
		"it leaves and says so": {&messages.PreemptReply{State: messages.PreemptReply_leaving, LeftForIt: true}, move, false},
	} {
		var asked []proto.Message
		d := telling{answering{c.reply, 0, &asked, 0}, map[messages.ActorID]proto.Message{}}
		if _, err := (ports{d}).perform(t.Context(), evict{ID: "p", Victim: "model/h/v", For: "model/h/big", Move: c.move}); err != nil {
			t.Fatal(err)
		}
		e, _ := d.told[messages.ModelActor("pc2", "v")].(*messages.EnsureModel)
		if (e != nil) != c.moves || e != nil && (!e.FreeOnly || !e.OnDemand || e.Reason != "it moves from h, where big needs the memory; it held 2048 MiB there, and g0 had 8192 MiB free here") {
			t.Errorf("%s: told %v", name, d.told)
		}
	}
}

// Where else a model runs: on the hosts that declare it and may run it, in the order of its own declaration, unless a file differs.
func TestElsewhere(t *testing.T) {
	view := func(host, name string, hosts ...string) *messages.ModelView {
		return &messages.ModelView{Id: "model/" + host + "/" + name, Host: host, Name: name, Spec: &messages.ModelSpec{Name: name, Hosts: hosts}}
	}
	models := []*messages.ModelView{
		view("a", "free"), view("b", "free"), view("c", "free"), view("a", "ordered", "c", "b", "a"), view("b", "ordered"), view("c", "ordered"),
		view("a", "bound", "a"), view("b", "bound"), view("a", "theirs"), view("b", "theirs", "b"), view("c", "theirs", "a"), view("a", "alone"),
		view("a", "differs"), view("b", "differs"), view("c", "differs"), {Id: "model/b/alone", Host: "b", Name: "alone"},
	}
	for name, want := range map[string]string{"free": "b c", "ordered": "c b", "bound": "", "theirs": "b", "alone": "", "differs": "b", "busy": "", "asleep": ""} {
		a := settled("model/a/"+name, "gpu/a/g", 1)
		switch name {
		case "busy":
			a.Holder, a.Active = "model/a/free", 1
		case "asleep":
			a.Holder, a.State = "model/a/free", messages.Allocation_dormant
		}
		Elsewhere([]*messages.Allocation{a}, models, func(model, host string) bool { return model == "differs" && host == "c" })
		if got := strings.Join(a.Elsewhere, " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
