package host

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// While a host is drained, its models leave one by one: first a worker becomes ready on another host that can run the model, then the one here ends. A model
// that can run nowhere else ends when it is idle, unless it is pinned. Running requests are finished first.

// leave is what a drain does next with one model or job.
type leave struct {
	Model string           // its name; of a job job/ID
	At    messages.ActorID // whom the drain asks
	Asks  proto.Message    // for what; nil = it waits
	Waits string           // what becomes of the model, in words
	Todo  string           // what a person can do, because it doesn't leave as things are; empty = it leaves by itself
}

// residents is what Residents shows at one moment.
type residents struct {
	models  []*messages.ModelView
	devices []*messages.GpuView
	jobs    func(host string) []*messages.JobView
	closed  func(host string) string
	now     time.Time
}

// roomWithin is how long another host may look for room before a model counts as one that can't leave. Holders that are busy have ended their turn by then.
const roomWithin = 15 * time.Second

// leaving says how each model and job that has its memory on a host leaves it. Replicas leave with their model.
func (r residents) leaving(host string) (out []leave) {
	for _, m := range r.models {
		if _, replica := messages.ReplicaOf(m.Id); m.Host == host && m.Placement != nil && !replica {
			out = append(out, r.next(m))
		}
	}
	for _, j := range r.jobs(host) {
		if j.Placement != nil {
			out = append(out, nextOf(j))
		}
	}
	return out
}

// nextOf is the next step of one job: it leaves with a checkpoint, also when it is never asked to leave for others, and waits for memory until the drain is over.
func nextOf(j *messages.JobView) leave {
	l := leave{Model: messages.KindJob + "/" + j.Name, At: messages.JobActor(j.Host, j.Name), Waits: "writes a checkpoint and leaves"}
	if j.Phase == messages.JobView_reserved || j.Phase == messages.JobView_running {
		l.Asks = &messages.StopJob{Attempt: j.Attempt, Cause: messages.StopCause_stop_drained, Reason: j.Host + " is being emptied"}
	}
	return l
}

// next is the next step of one model.
func (r residents) next(m *messages.ModelView) leave {
	here := messages.ModelActor(m.Host, m.Name)
	ready, other := r.elsewhere(m)
	l := leave{Model: m.Name, At: here}
	unload := func(why string) leave {
		l.Asks, l.Waits = &messages.UnloadModel{Reason: why}, "leaves: "+why
		return l
	}
	switch {
	case m.Phase != messages.ModelView_ready && m.Phase != messages.ModelView_asleep:
		l.Waits = "is " + m.Phase.String()
	case ready != nil && r.pin(m) != nil && r.pin(ready) == nil:
		l.At, l.Asks, l.Waits = messages.ModelActor(ready.Host, m.Name), r.pin(m), "takes its pin to "+ready.Host
	case ready != nil:
		return unload("its host is being emptied, and it is ready on " + ready.Host)
	case other != nil && r.seeks(other) > roomWithin:
		l.Waits = "stays: " + other.Host + " has no room for it: " + r.full(other.Host)
		l.Todo = fmt.Sprintf("make room on %s, or modelops unload %s --host %s", other.Host, m.Name, m.Host)
	case other != nil:
		l.Waits = "loads on " + other.Host + " first"
		if !other.Wanted || other.Phase == messages.ModelView_asleep {
			l.At, l.Asks = messages.ModelActor(other.Host, m.Name), &messages.EnsureModel{Reason: m.Host + " is being emptied"}
		}
	case m.Active+m.Queued > 0:
		l.Waits = "finishes its requests: no other host can run it"
	case m.Spec.GetPinned() || r.pin(m) != nil:
		l.Waits = "stays: it is pinned, and no other host can run it"
		l.Todo = fmt.Sprintf("modelops unload %s --host %s", m.Name, m.Host)
	default:
		return unload("its host is being emptied, and no other host can run it")
	}
	return l
}

// elsewhere finds a host that has the model as this one has it, else the one that could load it and has looked for room the shortest.
func (r residents) elsewhere(m *messages.ModelView) (ready, could *messages.ModelView) {
	for _, v := range r.models {
		if v.Name != m.Name || v.Host == m.Host || v.Spec == nil || !runsOn(v.Spec, v.Host) || r.closed(v.Host) != "" {
			continue
		}
		switch {
		case v.Phase == messages.ModelView_ready, v.Phase == messages.ModelView_asleep && m.Phase == messages.ModelView_asleep:
			return v, nil
		case v.Phase == messages.ModelView_failed:
		case could == nil, r.seeks(could) > roomWithin && r.seeks(v) < r.seeks(could):
			could = v
		}
	}
	return nil, could
}

// seeks is how long a model has looked for a place.
func (r residents) seeks(m *messages.ModelView) time.Duration {
	if m.Phase != messages.ModelView_placing || m.WantedMs == 0 {
		return 0
	}
	return r.now.Sub(time.UnixMilli(m.WantedMs))
}

// pin is the pin that somebody has put on a model; nil = none, or it is over.
func (r residents) pin(m *messages.ModelView) *messages.PinModel {
	left := time.UnixMilli(m.PinnedUntilMs).Sub(r.now)
	switch {
	case m.PinnedBy == "", m.PinnedUntilMs > 0 && left <= 0:
		return nil
	case m.PinnedUntilMs == 0:
		return &messages.PinModel{Owner: m.PinnedBy}
	}
	return &messages.PinModel{Owner: m.PinnedBy, TtlSeconds: uint32(left/time.Second) + 1}
}

// full says what the devices of a host have left, and who has the rest.
func (r residents) full(host string) string {
	var out []string
	for _, d := range r.devices {
		if d.Host != host || d.Lost {
			continue
		}
		free := d.LimitBytes - min(d.ReservedBytes+d.ForeignBytes, d.LimitBytes)
		said := fmt.Sprintf("%s has %s of %s free", d.Device, messages.FormatBytes(free), messages.FormatBytes(d.LimitBytes))
		var holders []string
		for _, lease := range d.Reservations {
			holders = append(holders, r.holder(lease.Holder))
		}
		if len(holders) > 0 {
			said += ", and " + strings.Join(holders, ", ") + " on it"
		}
		out = append(out, said)
	}
	if len(out) == 0 {
		return "it has no device"
	}
	return strings.Join(out, "; ")
}

// holder names who has memory.
func (r residents) holder(id string) string {
	i := slices.IndexFunc(r.models, func(m *messages.ModelView) bool { return m.Id == id })
	if i < 0 {
		return id
	}
	if m := r.models[i]; m.Spec.GetPinned() || r.pin(m) != nil {
		return m.Name + " (pinned)"
	}
	return r.models[i].Name
}
