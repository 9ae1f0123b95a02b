package gpu

import (
	"context"
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
	Lease string
	Epoch uint64
	TTL   time.Duration
}

func (e expire) Key() string { return "expire/" + e.Lease }

// Owed lists a timer per lease that has a time to live. After a restart each starts anew: a lease lives longer, never shorter.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, id := range slices.Sorted(maps.Keys(s.Leases)) {
		if l := s.Leases[id]; l.TTL > 0 {
			out = append(out, expire{Lease: id, Epoch: l.Epoch, TTL: time.Duration(l.TTL) * time.Second})
		}
	}
	return out
}

// renewals remembers when leases were renewed: on this process's monotonic clock, never in the journal.
type renewals struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (r *renewals) note(lease string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[lease] = time.Now()
}

func (r *renewals) left(e expire, began time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := began
	if t, ok := r.at[e.Lease]; ok && t.After(from) {
		from = t
	}
	return time.Until(from.Add(e.TTL))
}

func (r *renewals) forget(lease string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, lease)
}

func (r *renewals) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	e := effect.(expire)
	began := time.Now()
	defer r.forget(e.Lease)
	for {
		left := r.left(e, began)
		if left <= 0 {
			return &messages.ExpireLease{Lease: e.Lease}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(left):
		}
	}
}
