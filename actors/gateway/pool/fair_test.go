package pool

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// sibling is one of the pools of a host, with what a caller knows of it: which requests it gave to the pool, and where each of them is.
type sibling struct {
	*Pool
	queued  []Request // in order of their arrival
	running map[uint64]*Endpoint
	probes  map[*Endpoint]uint64 // the request that was let in at an open breaker
}

// fair plays requests of two pools that share a host with few places.
type fair struct {
	*rapid.T
	pools [2]*sibling
	host  *bounded
	now   time.Time
	next  uint64
}

const fairWait = time.Minute

func newFair(t *rapid.T) *fair {
	f := &fair{T: t, now: entitytest.Epoch, host: &bounded{counts{MaxRunning: rapid.Int64Range(1, 5).Draw(t, "host"), MaxWaiting: rapid.Int64Range(1, 8).Draw(t, "host queue")}}}
	for i := range f.pools {
		p := New("tiny", "main_pc", Figures{Limits{rapid.IntRange(1, 3).Draw(t, "concurrent"), 6}, rapid.IntRange(1, 2).Draw(t, "threshold"), 20 * time.Second, fairWait, false, 0, false}, f.host)
		for _, id := range []string{"model/pc2/tiny", "model/main_pc/tiny~2", "model/main_pc/tiny"}[:rapid.IntRange(1, 3).Draw(t, "endpoints")] {
			_ = p.Update(&messages.ModelView{Id: id, Name: "tiny", Attempt: 1, Phase: messages.ModelView_ready, Wanted: true, Spec: &messages.ModelSpec{}}, f.now)
		}
		f.pools[i] = &sibling{p, nil, map[uint64]*Endpoint{}, map[*Endpoint]uint64{}}
	}
	return f
}

// turn is how many classes are before a request, by the rule of docs/architecture.md: whole steps of its wait, in integers.
func turn(r Request, now time.Time) int {
	return max(r.Class-int(time.Duration(r.Class+1)*now.Sub(r.Since)/fairWait), -1)
}

// due is the request whose turn it is.
func (s *sibling) due(now time.Time) (first Request) {
	for i, r := range s.queued {
		if i == 0 || turn(r, now) < turn(first, now) || turn(r, now) == turn(first, now) && r.Since.Before(first.Since) {
			first = r
		}
	}
	return first
}

// open tells whether a request may run at an endpoint; shut, that its breaker keeps one out.
func (s *sibling) open(e *Endpoint, now time.Time) (may, shut bool) {
	full := s.at(e) >= s.figures.Limits.MaxConcurrent
	switch {
	case !e.breaker.open:
		return !full, false
	case s.probes[e] != 0:
		return false, !full
	case now.Sub(e.breaker.openedAt) < s.figures.ResetTimeout:
		return false, true
	}
	return !full, false
}

func (s *sibling) at(e *Endpoint) (n int) {
	for _, at := range s.running {
		if at == e {
			n++
		}
	}
	return n
}

// begins takes a request to where the pool lets it run, and checks that it was the right place: the first of the endpoints that have the fewest
// requests and may be given one.
func (f *fair) begins(s *sibling, ticket uint64) {
	var want *Endpoint
	for _, e := range s.endpoints {
		if may, _ := s.open(e, f.now); may && (want == nil || s.at(e) < s.at(want)) {
			want = e
		}
	}
	at := s.Pool.running[ticket].Endpoint
	if at != want {
		f.Fatalf("%d runs at %v, its place was at %v", ticket, at, want)
	}
	if at.breaker.open {
		s.probes[at] = ticket
	}
	s.running[ticket] = at
}

func (f *fair) admit(s *sibling) {
	f.next++
	r := Request{Ticket: f.next, Class: rapid.IntRange(0, 3).Draw(f.T, "class"), Since: f.now}
	shut, opened, least := 0, 0, time.Hour
	for _, e := range s.endpoints {
		if _, is := s.open(e, f.now); is {
			shut++
			rest := time.Second // a probe runs: its outcome comes soon
			if s.probes[e] == 0 {
				opened++
				rest = s.figures.ResetTimeout - f.now.Sub(e.breaker.openedAt)
			}
			least = min(least, rest)
		}
	}
	refused := shut == len(s.endpoints) && (opened == shut || len(s.queued) == 0)
	position, err := s.Admit(r)
	switch code := messages.CodeOf(err); {
	case (code == messages.CircuitBreakerOpen) != refused || refused && messages.AsError(err).Retry != least:
		f.Fatalf("%v, with %d of %d breakers shut, the next probe after %s", err, shut, len(s.endpoints), least)
	case err == nil && position == 0 && len(s.queued) > 0:
		f.Fatalf("%d runs at once, past %v", r.Ticket, s.queued)
	case err == nil && position == 0:
		f.begins(s, r.Ticket)
	case err == nil:
		s.queued = append(s.queued, r)
	}
}

// dispatch checks each grant: it was that request's turn, and that endpoint's. Then no place is left that a waiting request could have.
func (f *fair) dispatch(s *sibling) {
	d := s.Dispatch(f.now)
	for _, ticket := range d.Granted {
		if due := s.due(f.now); due.Ticket != ticket {
			f.Fatalf("%d runs, it was the turn of %+v among %+v at %s", ticket, due, s.queued, f.now)
		}
		s.queued = slices.DeleteFunc(s.queued, func(r Request) bool { return r.Ticket == ticket })
		f.begins(s, ticket)
	}
	opened, may := 0, false
	for _, e := range s.endpoints {
		is, shut := s.open(e, f.now)
		may = may || is
		opened += bit(shut && s.probes[e] == 0)
	}
	if (d.Refusal != nil) != (len(s.queued) > 0 && opened == len(s.endpoints)) {
		f.Fatalf("refusal %v, %d wait, %d of %d breakers are open", d.Refusal, len(s.queued), opened, len(s.endpoints))
	}
	if waits := len(s.queued) > 0 && may; waits != d.WaitsForHost || waits && f.host.Running < f.host.MaxRunning {
		f.Fatalf("%v wait beside a free place: waits for the host %t, where %d of %d run", s.queued, d.WaitsForHost, f.host.Running, f.host.MaxRunning)
	}
}

func (f *fair) finish(s *sibling) {
	if len(s.running) == 0 {
		return
	}
	ticket := rapid.SampledFrom(sorted(s.running)).Draw(f.T, "ends")
	at := s.running[ticket]
	o := rapid.SampledFrom([]messages.Outcome{{}, {Failed: true}, {Failed: true}, {Err: messages.NewError(messages.Cancelled, "", "left")}}).Draw(f.T, "outcome")
	if e, _ := s.Finish(ticket, o, f.now); e != at {
		f.Fatalf("%d ran at %v, and ended at %v", ticket, at, e)
	}
	delete(s.running, ticket)
	if s.probes[at] == ticket || !at.breaker.open {
		delete(s.probes, at)
	}
}

func (f *fair) step() {
	s := f.pools[rapid.IntRange(0, 1).Draw(f.T, "pool")]
	switch rapid.IntRange(0, 6).Draw(f.T, "step") {
	case 0, 1, 2:
		f.admit(s)
	case 3, 4:
		f.finish(s)
		f.dispatch(s)
	case 5:
		if len(s.queued) > 0 {
			r := rapid.SampledFrom(s.queued).Draw(f.T, "leaves")
			if !s.Leave(r.Ticket, f.now) || s.Leave(r.Ticket, f.now) {
				f.Fatalf("%d leaves once", r.Ticket)
			}
			s.queued = slices.DeleteFunc(s.queued, func(x Request) bool { return x == r })
		}
	case 6:
		f.dispatch(s)
	}
}

// Two pools of one host, in any order of steps: a request is in one place, runs when it is its turn and nobody's before, at the endpoint that has
// the fewest; an open breaker lets nothing through but one probe; and the host counts each request once, wherever it was when it left.
func TestPoolsOfOneHostAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFair(t)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			f.now = f.now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 10, 25}).Draw(t, "seconds")) * time.Second)
			f.step()
			var running, waiting int64
			for _, s := range f.pools {
				for _, r := range s.queued {
					if _, runs := s.Pool.running[r.Ticket]; runs || s.Position(r.Ticket, f.now) == 0 {
						t.Fatalf("%+v waits, and the pool has it at %d, running %t", r, s.Position(r.Ticket, f.now), runs)
					}
				}
				if !slices.Equal(sorted(s.Pool.running), sorted(s.running)) || s.Waiting() != len(s.queued) {
					t.Fatalf("%v run and %d wait, of %v and %v", sorted(s.Pool.running), s.Waiting(), sorted(s.running), s.queued)
				}
				running, waiting = running+int64(len(s.running)), waiting+int64(len(s.queued))
			}
			if f.host.Running != running || f.host.Waiting != waiting {
				t.Fatalf("%d run and %d wait, the host counts %d and %d", running, waiting, f.host.Running, f.host.Waiting)
			}
		}
	})
}

// A class rises in equal steps, the last of which ends with maxWait; equals go by arrival, whatever their classes are.
func TestClassesRiseInEqualSteps(t *testing.T) {
	o := order{maxWait: time.Minute}
	for class, rises := range [][]int{{60}, {30, 60}, {20, 40, 60}, {15, 30, 45, 60}} {
		for step, second := range rises {
			r := Request{Class: class, Since: entitytest.Epoch}
			at := r.Since.Add(time.Duration(second) * time.Second)
			if before, then := o.rank(r, at.Add(-time.Millisecond)), o.rank(r, at); before != class-step || then != class-step-1 {
				t.Errorf("class %d after %d s: rank %d, and %d just before", class, second, then, before)
			}
		}
	}
	early, late := Request{Ticket: 7, Class: 2, Since: entitytest.Epoch}, Request{Ticket: 8, Since: entitytest.Epoch}
	if now := entitytest.Epoch.Add(time.Minute); !o.before(early, late, now) || o.before(late, early, now) {
		t.Error("both are before all classes and came at the same time: the first that came goes first")
	}
}

// As the daemon configures it: figures that change hold for what runs and waits already.
func TestFiguresChangeWhileRequestsWait(t *testing.T) {
	p := newPool(1, 4)
	f := p.figures
	_ = p.Update(&messages.ModelView{Id: "model/main_pc/tiny", Attempt: 1, Phase: messages.ModelView_ready, Spec: &messages.ModelSpec{}}, entitytest.Epoch)
	for ticket, class := range []int{0, 2, 0} {
		if _, err := p.Admit(Request{Ticket: uint64(ticket + 1), Class: class, Since: entitytest.Epoch.Add(time.Duration(ticket) * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	now := entitytest.Epoch.Add(3 * time.Minute)
	if p.Position(3, now) != 1 {
		t.Fatal("a lower class goes first while no class rises")
	}
	f.MaxWait, f.FailureThreshold, f.ResetTimeout = time.Minute, 1, time.Hour
	p.Configure(f)
	if p.Position(2, now) != 1 {
		t.Error("request 2 has waited for longer than the new bound")
	}
	if _, changed := p.Finish(1, messages.Outcome{Failed: true}, now); !changed {
		t.Error("the new threshold of one failure isn't that of the endpoint's breaker")
	}
	if d := p.Dispatch(now); d.Refusal == nil || messages.AsError(d.Refusal).Retry != time.Hour {
		t.Errorf("the breaker is open for the new time: %+v", d)
	}
}
