package gateway

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

func (g *Gateway) obey(command proto.Message) (messages.Reply, error) {
	switch c := command.(type) {
	case *messages.QueryView:
		return messages.Reply{Answer: g.show()}, nil
	case *messages.Crash:
		panic("crash on command: " + c.Reason)
	}
	return messages.Reply{}, entity.Unknown(g.id(), command)
}

func (g *Gateway) id() messages.ActorID {
	return messages.ActorID{Kind: messages.KindGateway, ID: g.o.Host}
}

// show is the gateway's state reply. It has no journal: its sequence is 0 and its state is its view.
func (g *Gateway) show() *messages.StateReply {
	view, err := protojson.Marshal(&messages.StatusView{Models: g.Models()})
	if err != nil {
		view = []byte("{}")
	}
	return &messages.StateReply{Actor: messages.KindGateway + "/" + g.o.Host, StateJson: string(view), ViewJson: string(view)}
}

// Models lists the models and their replicas as now known, with what runs and waits at each.
func (g *Gateway) Models() []*messages.ModelView {
	var out []*messages.ModelView
	for _, l := range g.all() {
		out = append(out, l.snapshots()...)
	}
	slices.SortFunc(out, func(a, b *messages.ModelView) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Id, b.Id))
	})
	return out
}

// all are the pools of declared models.
func (g *Gateway) all() []*lockedPool {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*lockedPool, 0, len(g.pools))
	for _, l := range g.pools {
		if l.spec != nil {
			out = append(out, l)
		}
	}
	return out
}

// snapshots are the views of a model and its replicas, on all hosts. Requests that wait are counted at the declaration.
func (l *lockedPool) snapshots() []*messages.ModelView {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	endpoints := l.pool.Endpoints()
	out := make([]*messages.ModelView, 0, len(endpoints))
	for _, e := range endpoints {
		if e.View().Spec == nil { // withdrawn: it isn't shown while it stops
			continue
		}
		v := proto.CloneOf(e.View())
		v.Active, v.IdleMs = uint32(e.Active()), l.pool.Idle(now).Milliseconds()
		v.Breaker, _ = e.Breaker(now)
		if why := e.Differs(); why != nil {
			v.Differs = messages.AsError(why).Message
		}
		if e.View() == l.pool.Declaration() {
			v.Queued = uint32(l.pool.Waiting())
		}
		out = append(out, v)
	}
	return out
}

// Queue lists the requests that run and wait, grouped by model, in the order in which they will run.
func (g *Gateway) Queue() *messages.QueueView {
	host := g.host.Counts()
	out := &messages.QueueView{MaxActive: uint32(max(host.MaxRunning, 0)), MaxQueued: uint32(max(host.MaxWaiting, 0))}
	for _, l := range g.all() {
		out.Requests = append(out.Requests, g.requests(l)...)
	}
	slices.SortStableFunc(out.Requests, func(a, b *messages.QueuedRequest) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), cmp.Compare(a.Position, b.Position), cmp.Compare(b.WaitedMs, a.WaitedMs))
	})
	for _, r := range out.Requests {
		if r.Position == 0 {
			out.Active++
		} else {
			out.Queued++
		}
	}
	return out
}

func (g *Gateway) requests(l *lockedPool) (out []*messages.QueuedRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for ticket, r := range l.pool.Running() {
		a := l.running[ticket].caller
		out = append(out, &messages.QueuedRequest{RequestId: a.RequestID, Model: l.name, State: "running", Class: g.class(r.Class), Caller: a.Name,
			WaitedMs: r.Began.Sub(r.Since).Milliseconds()})
	}
	for ticket, w := range l.waiters {
		at := g.placeOf(l, ticket, w, now)
		out = append(out, &messages.QueuedRequest{RequestId: w.caller.RequestID, Model: l.name, State: "waiting", Class: g.class(g.rank(w.caller.Class)), Caller: w.caller.Name,
			Position: uint32(at.Position), WaitedMs: at.Waited.Milliseconds(), ExpectedMs: at.Expected.Milliseconds(), WaitsFor: at.WaitsFor})
	}
	return out
}

// class names a rank; empty when there are no classes.
func (g *Gateway) class(rank int) string {
	if c := g.figure.Load().Classes; rank < len(c) {
		return c[rank]
	}
	return ""
}

// Awaited tells whether a request or a load by hand waits for a model.
func (g *Gateway) Awaited(model string) bool {
	g.mu.Lock()
	l := g.pools[model]
	g.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool.Interested()
}

// Seeking lists, in the form of the scheduler's readings, the names for which requests wait and no actor seeks memory.
func (g *Gateway) Seeking() (out []*messages.Allocation) {
	now := time.Now()
	for _, l := range g.all() {
		l.mu.Lock()
		if waited, seeks := l.pool.Seeking(now); seeks {
			out = append(out, &messages.Allocation{Holder: messages.ModelActor(messages.AnyHost, l.name).String(), State: messages.Allocation_seeking,
				WaitedMs: waited.Milliseconds(), Queued: uint32(l.pool.Waiting())})
		}
		l.mu.Unlock()
	}
	return out
}
