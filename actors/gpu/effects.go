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

// expire ends a lease when its time is over.
type expire struct {
	Device messages.ActorID
	Lease  string
	Holder string
	Epoch  uint64
	TTL    time.Duration
}

func (e expire) Key() string { return "expire/" + e.Lease }

// Owed lists a timer for each lease that has a time to live, and a comparison with its holder for each whose holder is an actor. After a
// restart both begin again: a lease lives longer, never shorter.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, id := range slices.Sorted(maps.Keys(s.Leases)) {
		l := s.Leases[id]
		if l.TTL > 0 {
			out = append(out, expire{Device: s.ID, Lease: id, Holder: l.Holder, Epoch: l.Epoch, TTL: time.Duration(l.TTL) * time.Second})
		}
		if holder, err := messages.ParseActorID(l.Holder); err == nil && messages.Holds(holder.Kind) {
			out = append(out, reconcile{Lease: id, Holder: holder, Epoch: l.Epoch, TakenOver: l.TakenOver})
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
		return p.renewals.expire(ctx, e)
	case reconcile:
		return p.reconcile(ctx, e)
	}
	panic(fmt.Sprintf("a ledger owes no %T", effect))
}

// timer names the time of a lease. Lease names are chosen by callers: two devices may have a lease of one name.
type timer struct {
	Device messages.ActorID
	Lease  string
}

// renewals remembers when running leases were renewed: on this process's monotonic clock, never in the journal. Only leases with a running
// timer have an entry, so that renewing an unknown lease leaves none behind.
type renewals struct {
	mu sync.Mutex
	at map[timer]*time.Time
}

func (r *renewals) note(lease timer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from := r.at[lease]; from != nil {
		*from = time.Now()
	}
}

// watch begins a lease's time. The entry is told apart by its address, because a lease may come back under its name.
func (r *renewals) watch(lease timer) *time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.at[lease] = &now
	return &now
}

func (r *renewals) left(from *time.Time, ttl time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(from.Add(ttl))
}

func (r *renewals) forget(lease timer, from *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at[lease] == from {
		delete(r.at, lease)
	}
}

// expire waits until a lease's time is over.
func (r *renewals) expire(ctx context.Context, e expire) (proto.Message, error) {
	lease := timer{e.Device, e.Lease}
	from := r.watch(lease)
	defer r.forget(lease, from)
	for {
		left := r.left(from, e.TTL)
		if left <= 0 {
			return &messages.ExpireLease{Lease: e.Lease, Holder: e.Holder, Epoch: e.Epoch}, nil
		}
		if err := entity.Pause(ctx, left); err != nil {
			return nil, err
		}
	}
}
