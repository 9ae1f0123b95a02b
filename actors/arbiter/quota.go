package arbiter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// Which job gets memory next. Each job counts for the goal that it serves and for the key that submitted it. Within their quotas it is entitled: it is placed
// in its turn, and jobs that go beyond theirs leave for it. Beyond a quota it borrows: it takes free memory while nobody entitled waits.

// Quota bounds what the jobs of a goal, or of a key, use.
type Quota struct {
	Devices uint32        // at once; 0 = no bound
	Hours   float64       // device hours within Per; 0 = no bound
	Per     time.Duration // the time that ends now
}

// Learning are the rules for jobs.
type Learning struct {
	// MaxJobs is how many jobs run on a host at a time, where the host doesn't say; 0 = no bound.
	MaxJobs uint32
	// Goals by the last part of their id, Keys by fingerprint; Default is that of goals and keys that have none.
	Goals, Keys map[string]Quota
	Default     Quota
	// KeepIdle: idle models don't leave for jobs.
	KeepIdle bool
	// Invert takes the remedy of a priority inversion; else it is told only.
	Invert bool
}

// account is a goal or a key.
type account struct {
	key  bool
	name string
}

func (a account) String() string {
	if a.key {
		return "key " + a.name
	}
	return a.name
}

// accountsOf are those for which a job counts. One that a goal submitted has no key.
func accountsOf(r *messages.Allocation) (out []account) {
	if r.Goal != "" {
		out = append(out, account{name: r.Goal})
	}
	if r.By != "" && !strings.HasPrefix(r.By, messages.KindGoal+"/") {
		out = append(out, account{key: true, name: r.By})
	}
	return out
}

// OfGoal is a goal's quota, by its id.
func (l Learning) OfGoal(id string) Quota {
	if q, ok := l.Goals[id[strings.LastIndexByte(id, '/')+1:]]; ok {
		return q
	}
	return l.Default
}

// OfKey is a key's quota, by its fingerprint.
func (l Learning) OfKey(fingerprint string) Quota {
	if q, ok := l.Keys[fingerprint]; ok {
		return q
	}
	return l.Default
}

func (l Learning) of(a account) Quota {
	if a.key {
		return l.OfKey(a.name)
	}
	return l.OfGoal(a.name)
}

// books are the jobs at the moment of a decision: what each account uses, who borrows, and who waits.
type books struct {
	Learning
	use      map[account]uint32 // devices of jobs that don't borrow
	lent     map[string]bool    // jobs that borrow
	run      []*messages.Allocation
	wait     []*messages.Allocation
	devices  uint32              // of all hosts
	entitled map[string][]string // by host, the first two entitled jobs that wait and may be placed now
}

// booksOf reads them from the allocations. Of the jobs of one account that run, those that were placed as borrowers give back first, and of these the youngest.
func booksOf(l Learning, s State, all []*messages.Allocation, devices int) books {
	b := books{Learning: l, use: map[account]uint32{}, lent: map[string]bool{}, entitled: map[string][]string{}, devices: uint32(max(devices, 1))}
	for _, r := range all {
		switch {
		case !r.Job:
		case r.State == messages.Allocation_seeking && !s.placed(r.Holder):
			b.wait = append(b.wait, r)
		default:
			b.run = append(b.run, r)
		}
	}
	slices.SortFunc(b.run, func(x, y *messages.Allocation) int {
		return cmp.Or(cmp.Compare(pick(s.borrows(x), 1, 0), pick(s.borrows(y), 1, 0)), cmp.Compare(y.HeldMs, x.HeldMs), strings.Compare(x.Holder, y.Holder))
	})
	for _, r := range b.run {
		if b.beyond(r) != "" && (s.borrows(r) || b.spent(r) != "") {
			b.lent[r.Holder] = true
			continue
		}
		for _, a := range accountsOf(r) {
			b.use[a] += r.Devices
		}
	}
	for _, r := range b.wait {
		if host := homeOf(r); r.NotNow == "" && len(b.entitled[host]) < 2 && b.beyond(r) == "" {
			b.entitled[host] = append(b.entitled[host], r.Holder)
		}
	}
	return b
}

// homeOf is the host of a job: it runs on no other.
func homeOf(r *messages.Allocation) string {
	_, host, _ := parts(r.Holder)
	return host
}

// borrows tells whether a job was placed beyond a quota. Its placement may still be on its way.
func (s State) borrows(r *messages.Allocation) bool {
	if r.Borrowed {
		return true
	}
	for _, o := range s.Open {
		if o.Placement.Holder == r.Holder {
			return o.Placement.Borrowed
		}
	}
	return false
}

// beyond says by which quota a job would borrow, in words and numbers; empty = it is entitled.
func (b books) beyond(r *messages.Allocation) string {
	for _, a := range accountsOf(r) {
		if q := b.of(a); q.Devices > 0 && b.use[a]+r.Devices > q.Devices {
			return fmt.Sprintf("%s has %d of its %d devices in use, and this needs %d", a, b.use[a], q.Devices, r.Devices)
		}
	}
	return b.spent(r)
}

// spent says which quota of device hours is used up.
func (b books) spent(r *messages.Allocation) string {
	for _, a := range accountsOf(r) {
		if q, hours := b.of(a), hoursOf(a, r); q.Hours > 0 && hours >= q.Hours {
			return fmt.Sprintf("%s has used %.2f of its %g device hours within %s", a, hours, q.Hours, span(q.Per))
		}
	}
	return ""
}

func hoursOf(a account, r *messages.Allocation) float64 {
	if a.key {
		return float64(r.BySpentMs) / 3.6e6
	}
	return float64(r.GoalSpentMs) / 3.6e6
}

// share is the largest part of a quota that a job's accounts use, of devices or of hours; without a quota, of all devices.
func (b books) share(r *messages.Allocation) (most float64) {
	for _, a := range accountsOf(r) {
		q := b.of(a)
		most = max(most, float64(b.use[a])/float64(cmp.Or(q.Devices, b.devices)))
		if q.Hours > 0 {
			most = max(most, hoursOf(a, r)/q.Hours)
		}
	}
	return most
}

// before orders jobs that wait: by priority, then who uses the smaller part of what is theirs, then who has waited longer.
func (b books) before(x, y *messages.Allocation) int {
	return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(b.share(x), b.share(y)), cmp.Compare(y.WaitedMs, x.WaitedMs), strings.Compare(x.Holder, y.Holder))
}

// ready tells whether a job that waits could be placed if there were room: others don't wait for one that can't.
func (b books) ready(r *messages.Allocation) bool {
	return r.NotNow == "" && (b.beyond(r) == "" || !r.Pinned && b.rival(r) == "")
}

// rival is an entitled job that waits on the same host as one that would borrow; empty when there is none.
func (b books) rival(r *messages.Allocation) string {
	for _, x := range b.entitled[homeOf(r)] {
		if x != r.Holder {
			return x
		}
	}
	return ""
}

// running are the jobs that have memory of a host, or are about to.
func (b books) running(host string) (out []*messages.Allocation) {
	for _, r := range b.run {
		if homeOf(r) == host {
			out = append(out, r)
		}
	}
	return out
}

// placeOf is a job's place among those that wait on its host, from 1.
func (b books) placeOf(me *messages.Allocation) (place, of int) {
	place = 1
	for _, r := range b.wait {
		if homeOf(r) != homeOf(me) {
			continue
		}
		of++
		if r.Holder != me.Holder && b.before(r, me) < 0 {
			place++
		}
	}
	return place, max(of, 1)
}

// forecast says about when the job of a place starts, by what is known of the ends of the jobs that run on its host.
func (b books) forecast(host string, place int) string {
	var ends []*messages.Allocation
	unknown := ""
	for _, r := range b.running(host) {
		if r.LeftMs > 0 {
			ends = append(ends, r)
		} else {
			unknown = r.Holder
		}
	}
	slices.SortFunc(ends, func(x, y *messages.Allocation) int {
		return cmp.Or(cmp.Compare(x.LeftMs, y.LeftMs), strings.Compare(x.Holder, y.Holder))
	})
	switch {
	case place <= len(ends):
		e := ends[place-1]
		return fmt.Sprintf("it may start in about %s, when %s is expected to end", span(ms(e.LeftMs)), e.Holder)
	case unknown != "":
		return "when it starts can't be known: " + unknown + " runs, and nothing is known of its end"
	}
	if len(ends) > 0 {
		return fmt.Sprintf("when it starts can't be known: %d jobs run on its host, and more go first", len(ends))
	}
	return "when it starts can't be known: no job runs on its host whose end would make room for it"
}

// span is a duration for people.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Second).String()
}

// admission is what the rules say of a job that asks for memory.
type admission struct {
	cause  string // why it waits: window, quota, jobs; empty = it may be placed
	reason string
	books  books
	me     *messages.Allocation
	leaves *messages.Allocation // a job that has to leave for it, so that not more run than may
}

// borrowing tells whether its placement goes beyond a quota.
func (a admission) borrowing() bool { return a.me != nil && a.books.beyond(a.me) != "" }

// admit decides whether a job may be placed now.
func (r Rules) admit(s State, q question, c *messages.RequestPlacement, seen *messages.SchedulerReadings) (a admission) {
	i := slices.IndexFunc(seen.Allocations, func(x *messages.Allocation) bool {
		return x.Job && x.Holder == c.Holder && x.State == messages.Allocation_seeking
	})
	if i < 0 {
		return admission{cause: "unseen", reason: "it isn't seen as a job that waits yet"}
	}
	a.me, a.books = seen.Allocations[i], booksOf(r.Learning, s, seen.Allocations, len(seen.Ledgers))
	beyond := a.books.beyond(a.me)
	rival := a.books.rival(a.me)
	host := hostOf(c.Holder)
	limit := cmp.Or(maxJobs(seen.Hosts, host), r.Learning.MaxJobs)
	running := a.books.running(host)
	switch {
	case a.me.NotNow != "":
		a.cause, a.reason = "window", a.me.NotNow
	case beyond != "" && !c.Preemptible:
		a.cause, a.reason = "quota", beyond+"; it can't borrow, because it is never asked to leave"
	case beyond != "" && rival != "":
		a.cause, a.reason = "quota", fmt.Sprintf("%s; it can't borrow while %s, which is entitled, waits", beyond, rival)
	case limit > 0 && uint32(len(running)) >= limit:
		if a.leaves = q.gives(a, running); a.leaves == nil || uint32(len(running)) > limit {
			a.cause, a.reason = "jobs", fmt.Sprintf("%d jobs run on %s, at most %d may at a time", len(running), host, limit)
		}
	}
	return a
}

// gives is the job on a host that has to leave for an entitled one or one of higher priority; nil when none has to.
func (q question) gives(a admission, running []*messages.Allocation) (first *messages.Allocation) {
	if a.borrowing() {
		return nil
	}
	t := terms{priority: q.priority, job: true, lent: a.books.lent}
	for _, r := range running {
		if q.stays(r) && t.moves(r, busy) && (first == nil || cmp.Or(cmp.Compare(r.Priority, first.Priority), cmp.Compare(r.UnsavedMs, first.UnsavedMs)) < 0) {
			first = r
		}
	}
	return first
}

// maxJobs is how many jobs a host says may run there at a time; 0 = it doesn't say.
func maxJobs(hosts []*messages.HostReading, host string) uint32 {
	for _, h := range hosts {
		if h.Host == host {
			return h.MaxJobs
		}
	}
	return 0
}

// queue puts a job behind the jobs that go first by the books, instead of those that have waited longer. Models that go first stay in front of it.
func (q *question) queue(s State, a admission) {
	q.earlier = slices.DeleteFunc(q.earlier, func(w waiter) bool { return w.job })
	for _, r := range a.books.wait {
		if r.Holder != a.me.Holder && homeOf(r) == homeOf(a.me) && a.books.before(r, a.me) < 0 && a.books.ready(r) {
			q.earlier = append(q.earlier, waiter{holder: r.Holder, waited: ms(r.WaitedMs), priority: true, hosts: s.Postponed[r.Holder].Hosts, bytes: r.WantsBytes, job: true, why: a.first(r)})
		}
	}
	slices.SortStableFunc(q.earlier, func(x, y waiter) int { return cmp.Compare(pick(x.job, 1, 0), pick(y.job, 1, 0)) })
}

// first says why another job goes before this one.
func (a admission) first(r *messages.Allocation) string {
	theirs, mine := a.books.share(r), a.books.share(a.me)
	switch {
	case r.Priority != a.me.Priority:
		return fmt.Sprintf("its priority is %d, this one's is %d", r.Priority, a.me.Priority)
	case theirs != mine:
		return fmt.Sprintf("it uses %.0f %% of what it may, this one %.0f %%", theirs*100, mine*100)
	}
	return "it has waited longer, for " + ms(r.WaitedMs).Round(time.Second).String()
}

// settleEarlier drops the jobs of higher priority that couldn't be placed whatever were free: a model doesn't wait for these.
func (r Rules) settleEarlier(s State, q *question, seen *messages.SchedulerReadings) {
	if !slices.ContainsFunc(q.earlier, func(w waiter) bool { return w.job }) {
		return
	}
	b := booksOf(r.Learning, s, seen.Allocations, len(seen.Ledgers))
	q.earlier = slices.DeleteFunc(q.earlier, func(w waiter) bool {
		return w.job && !slices.ContainsFunc(b.wait, func(x *messages.Allocation) bool { return x.Holder == w.holder && b.ready(x) })
	})
}

// inLine adds a job's place and the forecast to why it waits.
func (a admission) inLine(reason string) (text string, place, of uint32) {
	if a.me == nil {
		return reason, 0, 0
	}
	p, n := a.books.placeOf(a.me)
	if a.cause == "window" { // it says when
		return fmt.Sprintf("%s; place %d of %d jobs that wait on %s", reason, p, n, homeOf(a.me)), uint32(p), uint32(n)
	}
	return fmt.Sprintf("%s; place %d of %d jobs that wait on %s; %s", reason, p, n, homeOf(a.me), a.books.forecast(homeOf(a.me), p)), uint32(p), uint32(n)
}
