package view

import (
	"context"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// maxDelta bounds the changes of one delta. A watcher that is further behind gets a snapshot.
const maxDelta = 512

// Change is one actor as it was at a version.
type Change struct {
	Actor    messages.ActorID
	Version  uint64
	Sequence uint64 // of the actor's last decision
	View     proto.Message
}

// Delta is what a watcher applies to its copy: the latest view of each actor that changed, in the order of their versions.
type Delta struct {
	// Snapshot: the changes are the whole projection, and replace the watcher's copy.
	Snapshot bool
	// Version to watch from next.
	Version uint64
	Changes []Change
}

// Watch yields what changed since a version, as it comes, until ctx ends. Since 0, since a version of another start, and after more
// changes than a delta holds, it yields a snapshot, and after a model or a job that it hasn't seen to end was dropped. The loop body may take any time: the projection doesn't wait for it, and changes
// meanwhile come together in the next delta.
func (p *Projection) Watch(ctx context.Context, since uint64) iter.Seq[Delta] {
	return func(yield func(Delta) bool) {
		for ctx.Err() == nil {
			d, changed := p.since(since, maxDelta)
			if changed == nil {
				since = d.Version
				if !yield(d) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// since is what changed after a version, as a snapshot when that is more than most; when nothing did, changed is closed at the next change.
func (p *Projection) since(version uint64, most int) (d Delta, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if version == p.version && version != 0 {
		return d, p.nextChange()
	}
	d.Version = p.version
	d.Snapshot = version == 0 || version < p.o.First || version > p.version || version < p.dropped
	for e := p.order.Back(); e != nil; e = e.Prev() {
		x := e.Value.(*entry)
		if !d.Snapshot && x.version <= version {
			break
		}
		if !d.Snapshot && len(d.Changes) == most {
			d.Snapshot = true
		}
		d.Changes = append(d.Changes, p.change(x))
	}
	slices.Reverse(d.Changes)
	return d, nil
}

func (p *Projection) change(x *entry) Change {
	c := Change{Actor: x.actor, Version: x.version, Sequence: x.sequence, View: x.view}
	if g, ok := x.view.(*messages.GpuView); ok {
		c.View = withReading(g, p.readings[x.actor])
	}
	return c
}

// AwaitModel waits until a model's view satisfies a condition.
func (p *Projection) AwaitModel(ctx context.Context, id messages.ActorID, wanted func(*messages.ModelView) bool) (*messages.ModelView, error) {
	for {
		changed := p.Changed()
		if v := p.Model(id); v != nil && wanted(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			e := messages.AsError(context.Cause(ctx))
			return nil, messages.Errorf(e.Code, id.String(), "%s", e.Message).WithHint("it goes on; modelops why " + id.Name() + " says what it waits for").WithCause(e)
		}
	}
}
