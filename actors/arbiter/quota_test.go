package arbiter

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/messages"
)

// run is a job of a small world that has jobs only: they ask each second, in any order, and run when they are placed.
type run struct {
	name, goal string
	bytes      uint64
	shards     uint32
	priority   int32
	left       time.Duration
	fixed      bool // never asked to leave
	waited     time.Duration
	held       time.Duration
	placement  *messages.Placement
	turns      int
}

type school struct {
	t     *rapid.T
	rules Rules
	s     State
	jobs  []*run
	now   time.Time
	spent map[string]time.Duration
	ids   int
}

func (w *school) allocation(j *run) *messages.Allocation {
	a := &messages.Allocation{Holder: "job/h/" + j.name, Job: true, Goal: j.goal, Devices: j.shards, Priority: j.priority, Pinned: j.fixed, GoalSpentMs: w.spent[j.goal].Milliseconds(), WantsBytes: j.bytes}
	if j.placement == nil {
		a.State, a.WaitedMs = messages.Allocation_seeking, j.waited.Milliseconds()
		return a
	}
	a.State, a.Active, a.Shares, a.Borrowed, a.HeldMs, a.LeftMs = messages.Allocation_settled, 1, j.placement.Shares, j.placement.Borrowed, j.held.Milliseconds(), j.left.Milliseconds()
	return a
}

func (w *school) seen() *messages.SchedulerReadings {
	out := &messages.SchedulerReadings{}
	for d := range 2 {
		out.Ledgers = append(out.Ledgers, &messages.GpuView{Id: fmt.Sprintf("gpu/h/g%d", d), Host: "h", Kind: "cuda", LimitBytes: 10})
	}
	for _, j := range w.jobs {
		if j.left <= 0 {
			continue
		}
		out.Allocations = append(out.Allocations, w.allocation(j))
		for _, share := range j.placement.GetShares() {
			l := out.Ledgers[share.Gpu[len(share.Gpu)-1]-'0']
			l.Reservations, l.ReservedBytes = append(l.Reservations, &messages.Reservation{Lease: share.Lease, Holder: "job/h/" + j.name, Bytes: share.Bytes}), l.ReservedBytes+share.Bytes
		}
	}
	return out
}

func (w *school) do(c proto.Message) entity.Verdict {
	w.ids++
	v, err := w.rules.Decide(w.s, c, entity.Stamp{Now: w.now, ID: fmt.Sprint("p", w.ids), Readings: w.seen()})
	if err != nil {
		w.t.Fatalf("%v was refused: %v", c, err)
	}
	for _, e := range v.Events {
		w.s = Evolve(w.s, e, uint64(w.ids))
	}
	return v
}

// ask is one question of a waiting job; its placement is carried out at once.
func (w *school) ask(j *run) {
	v := w.do(&messages.RequestPlacement{Holder: "job/h/" + j.name, Priority: j.priority, Preemptible: !j.fixed,
		Claim: &messages.Claim{Id: fmt.Sprint(j.turns), Needs: []*messages.Need{{Host: "h", Bytes: j.bytes * uint64(j.shards), Shards: j.shards}}}})
	reply := v.Answer(0).(*messages.PlacementReply)
	if reply.Placement == nil {
		if reply.WaitsFor == "" {
			w.t.Fatal("it waits and isn't told why")
		}
		return
	}
	p := reply.Placement
	for _, victim := range p.Victims {
		i := slices.IndexFunc(w.jobs, func(x *run) bool { return "job/h/"+x.name == victim })
		x := w.jobs[i]
		if x.fixed || x.placement == nil || x.priority >= j.priority && !w.lends(x) {
			w.t.Fatalf("%s has to leave for %s: %+v", victim, j.name, x)
		}
		w.do(&messages.ReportPreempted{Id: p.Id, Holder: victim})
		x.placement, x.waited, x.held = nil, 0, 0
		x.turns++
	}
	w.do(&messages.ReportReserved{Id: p.Id, Epochs: slices.Repeat([]uint64{1}, len(p.Shares))})
	w.do(&messages.ClosePlacement{Id: p.Id, Reason: "handed over"})
	j.placement, j.held = p, 0
}

// lends tells whether a job goes beyond its goal's quota: it was placed so, or the goal's hours are used up.
func (w *school) lends(j *run) bool {
	q := w.rules.Learning.OfGoal(j.goal)
	return j.placement.GetBorrowed() || q.Hours > 0 && w.spent[j.goal].Hours() >= q.Hours
}

// check: no goal has more devices than its quota by jobs that don't borrow, no more jobs run than may, and no device holds more than it has.
func (w *school) check() {
	own, running := map[string]uint32{}, uint32(0)
	for _, j := range w.jobs {
		if j.placement == nil {
			continue
		}
		running++
		if !w.lends(j) {
			own[j.goal] += j.shards
		}
	}
	for goal, devices := range own {
		if q := w.rules.Learning.OfGoal(goal); q.Devices > 0 && devices > q.Devices {
			w.t.Fatalf("%s has %d devices, its quota is %d", goal, devices, q.Devices)
		}
	}
	if most := w.rules.Learning.MaxJobs; running > most {
		w.t.Fatalf("%d jobs run, at most %d may", running, most)
	}
	for _, l := range w.seen().Ledgers {
		if l.ReservedBytes > l.LimitBytes {
			w.t.Fatalf("%s holds %d", l.Id, l.ReservedBytes)
		}
	}
}

func drawSchool(t *rapid.T) *school {
	w := &school{t: t, s: New(messages.ArbiterActor()), now: time.Unix(1_000_000, 0), spent: map[string]time.Duration{}}
	w.rules.Learning = Learning{MaxJobs: rapid.Uint32Range(1, 4).Draw(t, "most jobs"), Goals: map[string]Quota{
		"a": {Devices: 2}, "b": {Devices: 2, Hours: rapid.Float64Range(0.001, 0.1).Draw(t, "hours"), Per: time.Hour}}}
	for n := range rapid.IntRange(1, 8).Draw(t, "jobs") {
		j := &run{name: fmt.Sprint("j", n), goal: rapid.SampledFrom([]string{"", "goal/h/a", "goal/h/b", "goal/h/c"}).Draw(t, "goal"), bytes: rapid.Uint64Range(1, 10).Draw(t, "bytes"),
			shards: rapid.SampledFrom([]uint32{1, 1, 2}).Draw(t, "shards"), priority: rapid.SampledFrom([]int32{-10, -10, 0, 5}).Draw(t, "priority"),
			left: time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second}
		j.fixed = j.goal != "goal/h/b" && rapid.IntRange(0, 4).Draw(t, "fixed") == 0 // one that can't borrow never runs when its hours are used up
		w.jobs = append(w.jobs, j)
	}
	return w
}

// Every job of a finite set gets its turn and ends, whatever the order in which they ask; quotas are overrun by borrowers only.
func TestEveryJobGetsItsTurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawSchool(t)
		total := time.Duration(0)
		for _, j := range w.jobs {
			total += j.left + 10*coolDown
		}
		for end := w.now.Add(total + time.Duration(len(w.jobs))*jobPatience); ; w.now = w.now.Add(time.Second) {
			waiting := slices.DeleteFunc(slices.Clone(w.jobs), func(j *run) bool { return j.left <= 0 })
			if len(waiting) == 0 {
				return
			}
			if w.now.After(end) {
				t.Fatalf("after %s these haven't ended: %+v %+v", total, waiting[0], w.s.Postponed)
			}
			for _, j := range rapid.Permutation(waiting).Draw(t, "order") {
				if j.placement == nil {
					w.ask(j)
					w.check()
				}
			}
			for _, j := range w.jobs {
				switch {
				case j.placement != nil:
					j.held += time.Second
					j.left -= time.Second
					w.spent[j.goal] += time.Second * time.Duration(j.shards)
					if j.left <= 0 {
						j.placement = nil
					}
				case j.left > 0:
					j.waited += time.Second
				}
			}
		}
	})
}

// A borrower gives back as soon as somebody entitled asks, if its memory is what is missing.
func TestBorrowersGiveBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &school{t: t, s: New(messages.ArbiterActor()), now: time.Unix(1_000_000, 0), spent: map[string]time.Duration{},
			rules: Rules{Learning: Learning{MaxJobs: rapid.Uint32Range(2, 4).Draw(t, "most"), Default: Quota{Devices: 1}}}}
		for n := range 2 {
			w.jobs = append(w.jobs, &run{name: fmt.Sprint("a", n), goal: "goal/h/a", bytes: 10, shards: 1, left: time.Hour, priority: rapid.Int32Range(-10, 5).Draw(t, "priority")})
		}
		for _, j := range w.jobs {
			w.ask(j)
		}
		b := &run{name: "b", goal: "goal/h/b", bytes: 10, shards: 1, left: time.Hour, priority: -20}
		w.jobs = append(w.jobs, b)
		w.ask(b)
		w.check()
		if b.placement == nil || w.jobs[0].placement == nil || w.jobs[1].placement != nil {
			t.Fatalf("entitled: %v, first: %v, borrower: %v", b.placement, w.jobs[0].placement, w.jobs[1].placement)
		}
	})
}

func TestForecasts(t *testing.T) {
	run := func(name string, left int64) *messages.Allocation {
		return &messages.Allocation{Holder: "job/h/" + name, Job: true, State: messages.Allocation_settled, LeftMs: left}
	}
	for _, c := range []struct {
		run   []*messages.Allocation
		place int
		want  string
	}{
		{nil, 1, "when it starts can't be known: no job runs on its host whose end would make room for it"},
		{[]*messages.Allocation{run("a", 90_000), run("b", 30_000)}, 1, "it may start in about 30s, when job/h/b is expected to end"},
		{[]*messages.Allocation{run("a", 90_000), run("b", 30_000)}, 2, "it may start in about 1m30s, when job/h/a is expected to end"},
		{[]*messages.Allocation{run("a", 90_000), run("b", 30_000)}, 3, "when it starts can't be known: 2 jobs run on its host, and more go first"},
		{[]*messages.Allocation{run("a", 0)}, 1, "when it starts can't be known: job/h/a runs, and nothing is known of its end"},
	} {
		if got := (books{run: c.run}).forecast("h", c.place); got != c.want {
			t.Errorf("place %d: %s, want %s", c.place, got, c.want)
		}
	}
}
