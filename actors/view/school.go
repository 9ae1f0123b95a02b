package view

import (
	"time"

	"modelops/actors/arbiter"
	"modelops/messages"

	"google.golang.org/protobuf/proto"
)

// school keeps what decisions need of all jobs, so that a decision looks at those that live only: there may be thousands that have ended.
type school struct {
	live  map[messages.ActorID]*messages.JobView // those that have memory or seek some
	spent map[payer]map[int64]int64              // device time of ended attempts in ms, by the hour since 1970
	paid  map[messages.ActorID]payment
	means map[string]mean // by recipe
}

// payer is a goal or a key.
type payer struct {
	key  bool
	name string
}

// payment is what a job has added to the sums.
type payment struct {
	goal, by  string
	hour      int64
	ms        int64
	recipe    string
	completed bool
	ranMS     int64
}

// mean is of the runs of a recipe that were completed.
type mean struct {
	runs  int64
	ranMS int64
}

// longestPeriod is the longest for which sums are kept.
const longestPeriod = 32 * 24 * time.Hour

func newSchool() school {
	return school{live: map[messages.ActorID]*messages.JobView{}, spent: map[payer]map[int64]int64{}, paid: map[messages.ActorID]payment{}, means: map[string]mean{}}
}

// saw takes a job's new view. What a job has spent counts at the time of its last change: so it is the same after a restart, which sees the last view only. A
// deleted job has spent its time too.
func (s school) saw(id messages.ActorID, view proto.Message) {
	j, ok := view.(*messages.JobView)
	if !ok {
		return
	}
	delete(s.live, id)
	if !j.Deleted && (j.Placement != nil || j.WaitingSinceMs > 0) {
		s.live[id] = j
	}
	if j.Spec == nil { // of another host, and not reported any more
		return
	}
	was, now := s.paid[id], paymentOf(j)
	if was == now {
		return
	}
	s.book(was, -1)
	s.book(now, 1)
	s.paid[id] = now
}

func paymentOf(j *messages.JobView) payment {
	at := max(j.EndedMs, j.WaitingSinceMs, j.RetryAtMs, j.BeganMs, j.StartedMs)
	p := payment{goal: j.Spec.Goal, by: j.By, ms: j.DeviceMs, recipe: j.Spec.GetRecipe().GetName()}
	if p.ms > 0 {
		p.hour = at / time.Hour.Milliseconds()
	}
	if j.Phase == messages.JobView_completed {
		p.completed, p.ranMS = true, j.RanMs
	}
	return p
}

func (s school) book(p payment, sign int64) {
	for _, who := range []payer{{name: p.goal}, {key: true, name: p.by}} {
		if who.name == "" || p.ms == 0 {
			continue
		}
		if s.spent[who] == nil {
			s.spent[who] = map[int64]int64{}
		}
		hours := s.spent[who]
		if hours[p.hour] += sign * p.ms; hours[p.hour] == 0 {
			delete(hours, p.hour)
		}
		for hour := range hours { // few: a month's at most
			if hour < p.hour-int64(longestPeriod/time.Hour) {
				delete(hours, hour)
			}
		}
	}
	if p.completed && p.recipe != "" {
		m := s.means[p.recipe]
		m.runs, m.ranMS = m.runs+sign, m.ranMS+sign*p.ranMS
		s.means[p.recipe] = m
	}
}

// within is what somebody has spent in the time that ends now.
func (s school) within(who payer, per time.Duration, now time.Time) (sum int64) {
	from := now.Add(-per).UnixMilli() / time.Hour.Milliseconds()
	for hour, ms := range s.spent[who] {
		if hour > from || hour == from && per >= longestPeriod {
			sum += ms
		}
	}
	return sum
}

// bill fills in what the rules for jobs need: the device time that their goals and submitters have spent, of all hosts and of running attempts too, and about
// how long each runs on.
func (l Ledgers) bill(all []*messages.Allocation) {
	jobs := 0
	for _, a := range all {
		if a.Job {
			jobs++
		}
	}
	if jobs == 0 {
		return
	}
	var rules arbiter.Learning
	if l.Learning != nil {
		rules = l.Learning()
	}
	now, v := l.Now(), l.View
	v.mu.RLock()
	defer v.mu.RUnlock()
	running := map[payer]int64{}
	for _, j := range v.jobs.live {
		if j.BeganMs == 0 {
			continue
		}
		ms := max(now.UnixMilli()-j.BeganMs, 0) * int64(j.Spec.RunsOn())
		for _, who := range []payer{{name: j.Spec.GetGoal()}, {key: true, name: j.By}} {
			if who.name != "" {
				running[who] += ms
			}
		}
	}
	for _, a := range all {
		if !a.Job {
			continue
		}
		goal, key := payer{name: a.Goal}, payer{key: true, name: a.By}
		a.GoalSpentMs = running[goal] + v.jobs.within(goal, rules.OfGoal(a.Goal).Per, now)
		a.BySpentMs = running[key] + v.jobs.within(key, rules.OfKey(a.By).Per, now)
		if id, err := messages.ParseActorID(a.Holder); err == nil && a.State == messages.Allocation_settled {
			a.LeftMs = l.left(v.jobs, id, now)
		}
	}
}

// left is about how long a running job still runs: as its trainer says, else by the mean of its recipe's runs; 0 = not known.
func (l Ledgers) left(s school, id messages.ActorID, now time.Time) int64 {
	j := s.live[id]
	if l.Left != nil {
		if d := l.Left(id); d > 0 {
			return d.Milliseconds()
		}
	}
	m := s.means[j.GetSpec().GetRecipe().GetName()]
	if j == nil || m.runs == 0 || j.BeganMs == 0 {
		return 0
	}
	return max(m.ranMS/m.runs-j.RanMs-(now.UnixMilli()-j.BeganMs), 0)
}
