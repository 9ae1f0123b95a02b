package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/model"
	"modelops/messages"
)

// board is the live read model: the latest view of every actor, and the latest sample of every device. It is fed by the shells
// after each decision, in the order of the actor's sequence.
type board struct {
	onModel func(*messages.ModelView)
	onHost  func(*messages.HostView)
	now     func() time.Time
	live    func() []*messages.ModelView // the models with what runs and waits at each
	// estimate is what a model's files suggest of its need, in bytes; 0 when they say nothing.
	estimate func(context.Context, *messages.ModelSpec) (uint64, error)

	mu       sync.RWMutex
	hosts    map[messages.ActorID]*messages.HostView
	gpus     map[messages.ActorID]*messages.GpuView
	models   map[messages.ActorID]*messages.ModelView
	arbiter  *messages.ArbiterView
	readings map[string]*messages.DeviceReading // by device
	changed  chan struct{}                      // closed and replaced at every change
}

func newBoard() *board {
	return &board{
		hosts: map[messages.ActorID]*messages.HostView{}, gpus: map[messages.ActorID]*messages.GpuView{},
		models: map[messages.ActorID]*messages.ModelView{}, readings: map[string]*messages.DeviceReading{}, changed: make(chan struct{}),
	}
}

// StateChanged implements entity.Observer.
func (b *board) StateChanged(id messages.ActorID, _ uint64, view proto.Message) {
	b.mu.Lock()
	switch v := view.(type) {
	case *messages.HostView:
		b.hosts[id] = v
	case *messages.GpuView:
		b.gpus[id] = v
	case *messages.ModelView:
		b.models[id] = v
	case *messages.ArbiterView:
		b.arbiter = v
	}
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
	switch v := view.(type) {
	case *messages.ModelView:
		b.onModel(v)
	case *messages.HostView:
		b.onHost(v)
	}
}

// Recovered implements entity.Observer; recovery is visible as the state that follows it.
func (b *board) Recovered(messages.ActorID, int, time.Duration) {}

// Ledgers implements arbiter.Ledgers.
func (b *board) Ledgers() []*messages.GpuView { return b.gpuViews(false) }

// Residents implements arbiter.Ledgers: who holds or seeks memory now.
func (b *board) Residents() []*messages.Resident {
	return arbiter.ResidentsOf(b.present(), b.now().UnixMilli())
}

// present are the models as their last decisions left them, with what runs and waits at each as the gateway sees it. The gateway hears of
// decisions a moment later: by its views a load that has just begun would not count, and one too many could begin beside it.
func (b *board) present() []*messages.ModelView {
	live := map[string]*messages.ModelView{}
	for _, v := range b.live() {
		live[v.Id] = v
	}
	out := b.there()
	for i, v := range out {
		if l := live[v.Id]; l != nil {
			v = proto.CloneOf(v)
			v.Active, v.Queued, v.IdleMs, v.Breaker = l.Active, l.Queued, l.IdleMs, l.Breaker
			out[i] = v
		}
	}
	slices.SortFunc(out, func(a, b *messages.ModelView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

// there are the models that are declared or not gone yet. The actors of others stay, such as those of replicas that were dismissed.
func (b *board) there() []*messages.ModelView {
	return slices.DeleteFunc(b.modelViews(), func(v *messages.ModelView) bool { return v.Spec == nil && v.Phase == "absent" })
}

// Known implements arbiter.Ledgers: what was measured beats what was declared, and that beats what the files suggest.
func (b *board) Known(ctx context.Context, name string) (bytes uint64, kinds []string, shards uint32) {
	id, err := messages.ParseActorID(name)
	if err != nil {
		return 0, nil, 0
	}
	m := b.model(id)
	if m.GetSpec() == nil {
		return 0, nil, 0
	}
	kinds = model.RunsOn(m.Spec)
	for _, measured := range m.Footprints {
		bytes = max(bytes, measured)
	}
	if bytes == 0 {
		bytes, _ = b.estimate(ctx, m.Spec) // a file that can't be read says nothing
	}
	return bytes, kinds, model.ShardsOf(m.Spec)
}

// gpuViews lists the registered devices, with their latest sample when wanted.
func (b *board) gpuViews(withReading bool) []*messages.GpuView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []*messages.GpuView
	for _, v := range b.gpus {
		if v.CapacityBytes == 0 {
			continue // spoken to, never registered
		}
		if r := b.readings[v.Device]; withReading && r != nil {
			v = proto.CloneOf(v)
			v.Reading = r
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

func (b *board) setReading(r *messages.DeviceReading) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readings[r.Device] = r
}

func (b *board) model(id messages.ActorID) *messages.ModelView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.models[id]
}

// gpu is a device's ledger; nil when there is none.
func (b *board) gpu(id messages.ActorID) *messages.GpuView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.gpus[id]
}

func (b *board) host(id messages.ActorID) *messages.HostView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.hosts[id]
}

// holds tells whether a model has memory of any device, by the ledgers: a split one gives its parts back one after the other.
func (b *board) holds(id messages.ActorID) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, g := range b.gpus {
		if slices.ContainsFunc(g.Reservations, func(r *messages.Reservation) bool { return r.Holder == id.String() }) {
			return true
		}
	}
	return false
}

// room is what is kept for models at a time, by hints, and the moves that make it; a hint whose time is over says nothing.
func (b *board) room(now time.Time) ([]*messages.HintReply, *messages.DefragPlan) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var hints []*messages.HintReply
	for _, h := range b.arbiter.GetHints() {
		if h.UntilMs > now.UnixMilli() {
			hints = append(hints, h)
		}
	}
	return hints, b.arbiter.GetDefrag()
}

func (b *board) modelViews() []*messages.ModelView {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Collect(maps.Values(b.models))
}

// change is closed at the next change; take it before you look.
func (b *board) change() <-chan struct{} {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.changed
}
