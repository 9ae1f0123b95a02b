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

// renewedLook is how often the time of a lease that was renewed is looked at, once its first time to live is over. Times to live are whole seconds.
const renewedLook = time.Second

// expire ends a lease when its time is over: it is done first when the time to live is over, and again as long as a renewal gave more.
type expire struct {
	Device messages.ActorID
	Lease  string
	Holder string
	Epoch  uint64
	TTL    time.Duration
}

func (e expire) Key() string { return "expire/" + e.Lease }

// Delay implements entity.Delayed.
func (e expire) Delay() time.Duration { return e.TTL }

// Pace implements entity.Paced.
func (expire) Pace() (first, longest time.Duration) { return renewedLook, renewedLook }

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

// renewals remembers when leases were last renewed: on this process's clock, never in the journal. Only a lease that its ledger has can be
// renewed, and what ends it ends its entry.
type renewals struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[timer]time.Time
}

// note hears of each command that a ledger accepted.
func (r *renewals) note(device messages.ActorID, command proto.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c := command.(type) {
	case *messages.RenewLease:
		r.at[timer{device, c.Lease, c.Epoch}] = r.now()
	case *messages.ReleaseVram, *messages.ExpireLease, *messages.ReportLeaseDiffers:
		ended := c.(fenced)
		delete(r.at, timer{device, ended.GetLease(), ended.GetEpoch()})
	}
}

// expire ends a lease unless a renewal left it time.
func (r *renewals) expire(e expire) proto.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, renewed := r.at[timer{e.Device, e.Lease, e.Epoch}]; renewed && r.now().Sub(at) < e.TTL {
		return nil
	}
	return &messages.ExpireLease{Lease: e.Lease, Holder: e.Holder, Epoch: e.Epoch}
}
