package view

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Options of a projection.
type Options struct {
	// First is the version that the projection begins with. A later start must begin with a higher one than the former start ended with,
	// or a watcher that comes back misses changes; the time in microseconds does.
	First uint64
	// Listen is called after the projection shows a change, in the order of the actor's sequence. It must not block; may be nil.
	Listen func(actor messages.ActorID, view proto.Message)
	// ListenFar is Listen for the actors of other hosts, in the order of each host's reports; may be nil.
	ListenFar func(actor messages.ActorID, view proto.Message)
	// LastWords reads the last lines of a worker's log, and of them the one that most likely tells why it ended; may be nil. They are in no
	// journal, because they may hold secrets, so a view gets them here.
	LastWords func(logFile string) (telling string, lines []string)
}

// Projection is the live read model of a host. Views and readings in it are shared: readers must not change them.
type Projection struct {
	o Options

	mu       sync.RWMutex
	version  uint64
	actors   map[messages.ActorID]*list.Element            // of *entry
	kinds    map[string]map[messages.ActorID]*list.Element // the same by kind: thousands of ended jobs don't slow the look at a few devices down
	jobs     school
	order    *list.List // of *entry, the latest change last
	readings map[messages.ActorID]*messages.DeviceReading
	changed  chan struct{}      // closed at the next change; nil while no watcher waits
	ended    []messages.ActorID // withdrawn models, deleted jobs and goals that are still known, the oldest first
	dropped  uint64             // the highest version of a view that was dropped
}

// entry is the latest view of one actor.
type entry struct {
	actor    messages.ActorID
	sequence uint64 // of the actor's last decision
	version  uint64 // of the projection when it changed
	view     proto.Message
}

// New makes an empty projection.
func New(o Options) *Projection {
	o.First = max(o.First, 1) // 0 is the version of a watcher that knows nothing
	return &Projection{o: o, version: o.First, actors: map[messages.ActorID]*list.Element{}, order: list.New(), readings: map[messages.ActorID]*messages.DeviceReading{},
		kinds: map[string]map[messages.ActorID]*list.Element{}, jobs: newSchool()}
}

// StateChanged implements entity.Observer. A view of an older decision than the known one changes nothing.
func (p *Projection) StateChanged(id messages.ActorID, sequence uint64, view proto.Message) {
	if m, ok := view.(*messages.ModelView); ok {
		view = p.withLastWords(m)
	}
	if !p.set(id, sequence, view) || p.o.Listen == nil {
		return
	}
	p.o.Listen(id, view)
}

// withLastWords adds what a worker that failed to load wrote to the model's view and to its error.
func (p *Projection) withLastWords(m *messages.ModelView) *messages.ModelView {
	file := m.GetError().GetLogFile()
	if p.o.LastWords == nil || file == "" {
		return m
	}
	m = proto.CloneOf(m)
	telling, lines := p.o.LastWords(file)
	if m.LogTail, m.Error.Log = lines, lines; telling != "" {
		m.Error.Message += "; it said: " + telling
	}
	return m
}

func (p *Projection) set(id messages.ActorID, sequence uint64, view proto.Message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entryOf(id)
	known := e.Value.(*entry)
	if sequence < known.sequence {
		return false
	}
	known.sequence, known.view = sequence, view
	p.jobs.saw(id, view)
	p.touch(e)
	if over(view) {
		p.drop(id)
	}
	return true
}

// entryOf is an actor's entry, a new one when it is seen for the first time. p is locked.
func (p *Projection) entryOf(id messages.ActorID) *list.Element {
	e := p.actors[id]
	if e == nil {
		e = p.order.PushBack(&entry{actor: id})
		p.actors[id] = e
		if p.kinds[id.Kind] == nil {
			p.kinds[id.Kind] = map[messages.ActorID]*list.Element{}
		}
		p.kinds[id.Kind][id] = e
	}
	return e
}

// forget drops an entry. p is locked.
func (p *Projection) forget(e *list.Element) {
	x := e.Value.(*entry)
	p.dropped = max(p.dropped, x.version)
	delete(p.actors, x.actor)
	delete(p.kinds[x.actor.Kind], x.actor)
	delete(p.jobs.paid, x.actor) // what it has spent stays counted
	p.order.Remove(e)
}

// keptEnded is how many withdrawn models, deleted jobs and goals stay known: who waits for the end of one sees it a moment after it came.
const keptEnded = 16

// over tells whether a view is the last one of a model, whose declaration is withdrawn and whose worker is gone, or of a deleted job or goal.
func over(view proto.Message) bool {
	switch v := view.(type) {
	case *messages.ModelView:
		return v.Spec == nil && v.Phase == messages.ModelView_absent
	case *messages.JobView:
		return v.Deleted
	case *messages.GoalView:
		return v.Deleted && !v.Working // a job of it may still be stopped
	}
	return false
}

// drop forgets the models, jobs and goals that were withdrawn before the latest ones, of which id is one. p is locked.
func (p *Projection) drop(id messages.ActorID) {
	if slices.Contains(p.ended, id) {
		return
	}
	p.ended = append(p.ended, id)
	for len(p.ended) > keptEnded {
		oldest := p.actors[p.ended[0]]
		p.ended = slices.Delete(p.ended, 0, 1)
		if x := oldest.Value.(*entry); over(x.view) {
			p.forget(oldest)
		}
	}
}

// Recovered implements entity.Observer; a recovery shows as the state that follows it.
func (p *Projection) Recovered(messages.ActorID, int, time.Duration) {}

// SetReading replaces a device's latest reading; nil = no driver lists it any more. A reading that is equal to the last one is no change.
func (p *Projection) SetReading(gpu messages.ActorID, r *messages.DeviceReading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	same := proto.Equal(p.readings[gpu], r)
	if p.readings[gpu] = r; r == nil {
		delete(p.readings, gpu)
	}
	if e := p.actors[gpu]; e != nil && !same {
		p.touch(e)
	}
}

// touch gives an entry the next version and wakes the watchers. p is locked.
func (p *Projection) touch(e *list.Element) {
	p.version++
	e.Value.(*entry).version = p.version
	p.order.MoveToBack(e)
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Changed is closed at the next change; take it before you look.
func (p *Projection) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nextChange()
}

// nextChange is Changed with p locked for writing.
func (p *Projection) nextChange() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// Model is a model's view; nil when there is none.
func (p *Projection) Model(id messages.ActorID) *messages.ModelView {
	v, _ := p.of(id).(*messages.ModelView)
	return v
}

// GPU is a device's ledger; nil when there is none.
func (p *Projection) GPU(id messages.ActorID) *messages.GpuView {
	v, _ := p.of(id).(*messages.GpuView)
	return v
}

// Host is a host's view; nil when there is none.
func (p *Projection) Host(id messages.ActorID) *messages.HostView {
	v, _ := p.of(id).(*messages.HostView)
	return v
}

func (p *Projection) of(id messages.ActorID) proto.Message {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if e := p.actors[id]; e != nil {
		return e.Value.(*entry).view
	}
	return nil
}

// Models lists every known model, those that were withdrawn last included, by id.
func (p *Projection) Models() []*messages.ModelView {
	out := all[*messages.ModelView](p, messages.KindModel)
	slices.SortFunc(out, func(a, b *messages.ModelView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

// ModelsOf lists every known model of one host, those that were withdrawn last included, by id.
func (p *Projection) ModelsOf(host string) []*messages.ModelView {
	return slices.DeleteFunc(p.Models(), func(v *messages.ModelView) bool {
		id, err := messages.ParseActorID(v.Id)
		return err != nil || id.Host() != host
	})
}

// Job is a job's view; nil when there is none.
func (p *Projection) Job(id messages.ActorID) *messages.JobView {
	v, _ := p.of(id).(*messages.JobView)
	return v
}

// Jobs lists every job that isn't deleted, by id: those that have ended too.
func (p *Projection) Jobs() []*messages.JobView {
	return sortedJobs(slices.DeleteFunc(all[*messages.JobView](p, messages.KindJob), func(v *messages.JobView) bool { return v.Deleted || v.Spec == nil }))
}

// LiveJobsOf lists the jobs of a host that have memory or seek some, by id. Most jobs have ended long ago.
func (p *Projection) LiveJobsOf(host string) []*messages.JobView {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []*messages.JobView
	for id, v := range p.jobs.live {
		if id.Host() == host {
			out = append(out, v)
		}
	}
	return sortedJobs(out)
}

// Goal is a goal's view; nil when there is none.
func (p *Projection) Goal(id messages.ActorID) *messages.GoalView {
	v, _ := p.of(id).(*messages.GoalView)
	return v
}

// Goals lists every goal that isn't deleted, by id: those that have ended too.
func (p *Projection) Goals() []*messages.GoalView {
	out := slices.DeleteFunc(all[*messages.GoalView](p, messages.KindGoal), func(v *messages.GoalView) bool { return over(v) || v.Spec == nil })
	slices.SortFunc(out, func(a, b *messages.GoalView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

// Lineage are the versions of a model; nil when there are none.
func (p *Projection) Lineage(id messages.ActorID) *messages.LineageView {
	v, _ := p.of(id).(*messages.LineageView)
	return v
}

// GoalsOf is Goals for one host.
func (p *Projection) GoalsOf(host string) []*messages.GoalView {
	return slices.DeleteFunc(p.Goals(), func(v *messages.GoalView) bool { return hostOf(v.Id) != host })
}

func sortedJobs(out []*messages.JobView) []*messages.JobView {
	slices.SortFunc(out, func(a, b *messages.JobView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

// HostViews lists the hosts by name.
func (p *Projection) HostViews() []*messages.HostView {
	out := all[*messages.HostView](p, messages.KindHost)
	slices.SortFunc(out, func(a, b *messages.HostView) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// Present lists the models that are declared or not gone yet. Withdrawn ones whose worker is gone, such as removed
// replicas, stay known for a while.
func (p *Projection) Present() []*messages.ModelView {
	return slices.DeleteFunc(p.Models(), func(v *messages.ModelView) bool { return v.Spec == nil && v.Phase == messages.ModelView_absent })
}

// PresentOf is Present for one host.
func (p *Projection) PresentOf(host string) []*messages.ModelView {
	return slices.DeleteFunc(p.Present(), func(v *messages.ModelView) bool { return hostOf(v.Id) != host })
}

// GPUs lists the registered devices by id. A ledger of a device that is gone is left out: it is lost, no driver lists it, and no holder has a
// lease on it.
func (p *Projection) GPUs() []*messages.GpuView {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []*messages.GpuView
	for id, e := range p.kinds[messages.KindGPU] {
		v, ok := e.Value.(*entry).view.(*messages.GpuView)
		gone := ok && v.Lost && p.readings[id] == nil && len(v.Reservations) == 0
		if ok && v.CapacityBytes > 0 && !gone { // without capacity it was spoken to, never registered
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

// ReadGPUs lists the registered devices with their latest readings, and those that were never usable, which have no ledger.
func (p *Projection) ReadGPUs() []*messages.GpuView {
	out := p.GPUs()
	registered := map[string]bool{}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i, v := range out {
		registered[v.Id] = true
		if id, err := messages.ParseActorID(v.Id); err == nil {
			out[i] = withReading(v, p.readings[id])
		}
	}
	for id, r := range p.readings {
		if !registered[id.String()] && r.GetLost() {
			out = append(out, &messages.GpuView{Id: id.String(), Host: id.Host(), Device: r.Device, Kind: r.Kind, Name: r.Name, Uuid: r.Uuid, Lost: true, LostReason: r.LostReason, Reading: r})
		}
	}
	slices.SortFunc(out, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	return out
}

func withReading(v *messages.GpuView, r *messages.DeviceReading) *messages.GpuView {
	if r == nil {
		return v
	}
	v = proto.CloneOf(v)
	v.Reading = r
	return v
}

// all are the views of one kind, in no order.
func all[V proto.Message](p *Projection, kind string) (out []V) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, e := range p.kinds[kind] {
		if v, ok := e.Value.(*entry).view.(V); ok {
			out = append(out, v)
		}
	}
	return out
}

// Holds tells whether an actor has memory of any device, by the ledgers: a split model gives its parts back one after the other.
func (p *Projection) Holds(id messages.ActorID) bool {
	return slices.ContainsFunc(all[*messages.GpuView](p, messages.KindGPU), func(g *messages.GpuView) bool {
		return slices.ContainsFunc(g.Reservations, func(r *messages.Reservation) bool { return r.Holder == id.String() })
	})
}

// Inversions are the priority inversions that last, as this host's arbiter knows them.
func (p *Projection) Inversions() []*messages.Inversion {
	arbiter, _ := p.of(messages.ArbiterActor()).(*messages.ArbiterView)
	return arbiter.GetInversions()
}

// Kept is the room that hints keep for models at a time, and the moves under way; a hint whose time is over is left out.
func (p *Projection) Kept(now time.Time) (hints []*messages.HintReply, moves *messages.DefragPlan) {
	arbiter, _ := p.of(messages.ArbiterActor()).(*messages.ArbiterView)
	for _, h := range arbiter.GetHints() {
		if h.UntilMs > now.UnixMilli() {
			hints = append(hints, h)
		}
	}
	return hints, arbiter.GetDefrag()
}
