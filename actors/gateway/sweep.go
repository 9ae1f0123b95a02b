package gateway

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// sweepEvery is how often the lanes are looked at for what only time brings.
const sweepEvery = 250 * time.Millisecond

// Run looks at the lanes until ctx ends: models whose idle time is over are unloaded or put to sleep, their workers become more or fewer,
// and those that do their work badly are replaced. A request that comes in the same instant waits in the lane and brings the model back.
func (g *Gateway) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, h := range g.hints(now) {
				g.o.Door.Tell(ctx, h.to, h.command)
			}
		}
	}
}

// hint is what a model's actor should hear.
type hint struct {
	to      messages.ActorID
	command proto.Message
}

func (g *Gateway) hints(now time.Time) (out []hint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stay := g.routes.Load().tried()
	for _, l := range g.lanes {
		l.mu.Lock()
		out = append(out, g.hintsOf(l, now, stay[l])...)
		l.mu.Unlock()
	}
	return out
}

// tried are the lanes of both models of each swap that is being tried: whoever is idle meanwhile is still needed.
func (r *routes) tried() map[*guarded]bool {
	out := map[*guarded]bool{}
	for _, t := range r.byName {
		if t.canary != nil {
			out[t.to], out[t.canary] = true, true
		}
	}
	return out
}

// hintsOf is what a lane's model should hear; stay tells that it is needed even when it is idle. l is locked.
func (g *Gateway) hintsOf(l *guarded, now time.Time, stay bool) (out []hint) {
	if l.lane.expired(now) && !stay {
		return []hint{{l.id, &messages.UnloadModel{Reason: "its idle time is over"}}}
	}
	for _, s := range l.lane.sleepy(now) {
		out = append(out, hint{messages.ModelActor(g.o.Host, s.name), &messages.SleepModel{Reason: "it is idle"}})
	}
	if s, why := l.lane.unwell(now); s != nil {
		out = append(out, hint{l.id, &messages.ReplaceWorker{Replica: s.name, Attempt: s.view.GetAttempt(), Reason: why}})
	}
	if l.lane.bereft(now) {
		out = append(out, hint{l.id, &messages.EnsureModel{Reason: "only its other workers serve it"}})
	}
	if n, why, ok := l.lane.scale(now); ok {
		out = append(out, hint{l.id, &messages.ScaleModel{Replicas: n, Reason: why}})
	}
	return out
}
