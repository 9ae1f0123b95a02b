package gpu

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// leaseLook is how often the time of a lease is looked at. Times to live are whole seconds.
const leaseLook = time.Second

// unwatchedFor is after how long without a look at a lease the clock may have been set on: the daemon wasn't there, or the machine slept.
const unwatchedFor = 5 * time.Second

// expire ends a lease when its time is over.
type expire struct {
	Device messages.ActorID
	Lease  string
	Holder string
	Epoch  uint64
	TTL    time.Duration
	Until  int64 // by the journal, in ms since 1970
	Last   int64 // the grant or renewal that is journaled last, in ms since 1970
	Once   bool  // it was given its time to live again without its holder, and won't be twice
}

func (e expire) Key() string { return "expire/" + e.Lease }

// Delay implements entity.Delayed.
func (expire) Delay() time.Duration { return leaseLook }

// Pace implements entity.Paced.
func (expire) Pace() (first, longest time.Duration) { return leaseLook, leaseLook }

// Owed lists a timer for each lease that has a time to live, and a comparison with its holder for each whose holder is an actor. A restart doesn't
// lengthen a lease that was never renewed, and another by at most half its time to live.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, id := range slices.Sorted(maps.Keys(s.Leases)) {
		l := s.Leases[id]
		if l.TTL > 0 {
			out = append(out, expire{Device: s.ID, Lease: id, Holder: l.Holder, Epoch: l.Epoch, TTL: time.Duration(l.TTL) * time.Second, Until: l.until(), Last: max(l.GrantedMS, l.RenewedMS), Once: l.Unwatched})
		}
		if holder, err := messages.ParseActorID(l.Holder); err == nil && messages.Holds(holder.Kind) {
			out = append(out, reconcile{Lease: id, Holder: holder, Epoch: l.Epoch, TakenOver: l.TakenOver,
				Arbiter: l.Arbiter, ArbiterEpoch: l.ArbiterEpoch, Outdated: l.ArbiterEpoch > 0 && l.ArbiterEpoch < s.Obeyed})
		}
	}
	return out
}

// ports are what a ledger touches the world with.
type ports struct {
	renewals *renewals
	door     messages.Door
}

func (p ports) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	switch e := effect.(type) {
	case expire:
		return p.renewals.expire(e), nil
	case reconcile:
		return p.reconcile(ctx, e)
	}
	panic(fmt.Sprintf("a ledger owes no %T", effect))
}

// timer names the time of a lease. Lease names are chosen by callers: two devices may have a lease of one name, and one name comes back.
type timer struct {
	Device messages.ActorID
	Lease  string
	Epoch  uint64
}

// renewals remembers when leases were last renewed, on the journal's clock, which goes steadily within a process. Most renewals aren't journaled. Only a
// lease that its ledger has can be renewed, and what ends it ends its entry.
type renewals struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[timer]time.Time
	// looked is when each lease was last looked at.
	looked map[timer]time.Time
	// checked is when holders last asked whether they have their leases.
	checked map[timer]time.Time
}

// note hears of each command that a ledger accepted.
func (r *renewals) note(device messages.ActorID, command proto.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c := command.(type) {
	case *messages.RenewLease:
		r.at[timer{device, c.Lease, c.Epoch}] = r.now()
	case *messages.CheckLease:
		if c.Epoch > 0 {
			r.checks(timer{device, c.Lease, c.Epoch})
		}
	case *messages.ReleaseVram, *messages.ExpireLease, *messages.ReportLeaseDiffers:
		ended := c.(fenced)
		t := timer{device, ended.GetLease(), ended.GetEpoch()}
		delete(r.at, t)
		delete(r.looked, t)
	}
}

// checkLasts is how long a holder's question keeps its lease from being reclaimed: longer than a comparison of the two takes.
const checkLasts = 2 * askWithin

func (r *renewals) checks(t timer) {
	for old, at := range r.checked {
		if r.now().Sub(at) > checkLasts {
			delete(r.checked, old)
		}
	}
	r.checked[t] = r.now()
}

// expire ends a lease unless its grant or a renewal left it time. When nobody looked while its time passed, its holder may have been told that it has
// it for longer, since a clock that is set on can't be told from time that passed: then it gets its time to live once more. Its entry goes: one that is there when the report arrives is of a renewal meanwhile.
func (r *renewals) expire(e expire) proto.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := timer{e.Device, e.Lease, e.Epoch}
	until := time.UnixMilli(e.Until)
	if at, renewed := r.at[t]; renewed {
		until = at.Add(e.TTL)
	}
	now, last := r.now(), time.UnixMilli(e.Last)
	for _, known := range []time.Time{r.looked[t], r.at[t]} {
		if known.After(last) {
			last = known
		}
	}
	r.looked[t] = now
	switch {
	case now.Before(until):
		return nil
	case now.Sub(last) > unwatchedFor && !e.Once:
		return &messages.RenewLease{Lease: e.Lease, Holder: e.Holder, Epoch: e.Epoch, Unwatched: true}
	}
	delete(r.at, t)
	return &messages.ExpireLease{Lease: e.Lease, Holder: e.Holder, Epoch: e.Epoch}
}

// observe gives, for the report of a lease's end, the renewal that came after it was sent, and for the report that its holder doesn't know it the holder's
// latest question; nil for none. An epoch is one grant's alone.
func (r *renewals) observe(_ context.Context, command proto.Message) proto.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, differs := command.(*messages.ReportLeaseDiffers); differs {
		for t, at := range r.checked {
			if t.Lease == c.Lease && t.Epoch == c.Epoch && r.now().Sub(at) <= checkLasts {
				return &messages.CheckLease{Lease: c.Lease, Holder: c.Holder, Epoch: c.Epoch}
			}
		}
		return nil
	}
	c, ends := command.(*messages.ExpireLease)
	if !ends {
		return nil
	}
	for t := range r.at {
		if t.Lease == c.Lease && t.Epoch == c.Epoch {
			return &messages.RenewLease{Lease: c.Lease, Holder: c.Holder, Epoch: c.Epoch}
		}
	}
	return nil
}
