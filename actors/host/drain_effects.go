package host

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Residents shows the models of all hosts, with what runs and waits at each, and their devices.
type Residents interface {
	Models() []*messages.ModelView
	Devices() []*messages.GpuView
	// Jobs are the jobs of a host that have memory or seek some.
	Jobs(host string) []*messages.JobView
	// Closed says why nothing is placed on another host now; empty = it can be.
	Closed(host string) string
	// Now is the clock of the models' times.
	Now() time.Time
}

func seen(r Residents) residents {
	return residents{models: r.Models(), devices: r.Devices(), jobs: r.Jobs, closed: r.Closed, now: r.Now()}
}

// empty has what is idle leave the host, for as long as it is drained.
type empty struct{ Host string }

func (empty) Key() string { return "empty" }

// Pace implements entity.Paced: what is still here is looked at again and again until the drain ends.
func (empty) Pace() (first, longest time.Duration) {
	return 250 * time.Millisecond, 250 * time.Millisecond
}

// empty asks each model and job for its next step. What a step can't reach is asked again at the next look.
func (p ports) empty(ctx context.Context, e empty) (proto.Message, error) {
	if p.Residents == nil {
		return nil, nil
	}
	var failed error
	for _, l := range seen(p.Residents).leaving(e.Host) {
		if l.Asks == nil {
			continue
		}
		if _, err := p.Door.Ask(ctx, l.At, l.Asks); err != nil {
			failed = err
		}
	}
	return nil, failed
}

// Drained says how far a drain is: what is still on the host and leaves by itself, and what doesn't, with what to do, a line for each model, job and program that
// holds its memory.
func Drained(host string, r Residents) *messages.DrainHostReply {
	now, out, held := seen(r), &messages.DrainHostReply{Host: host, Draining: true}, false
	for _, l := range now.leaving(host) {
		switch said := l.Model + " " + l.Waits; l.Todo {
		case "":
			out.WaitsFor = append(out.WaitsFor, said)
		default:
			out.Stuck = append(out.Stuck, said+"; "+l.Todo)
		}
	}
	for _, d := range now.devices {
		for _, lease := range d.Reservations {
			held = held || d.Host == host
			if id, err := messages.ParseActorID(lease.Holder); d.Host == host && (err != nil || !messages.Holds(id.Kind)) {
				out.WaitsFor = append(out.WaitsFor, lease.Holder+" holds "+messages.FormatBytes(max(lease.Bytes, lease.MeasuredBytes))+" of "+d.Device+" until it gives that back")
			}
		}
	}
	out.Safe = !held && len(out.WaitsFor)+len(out.Stuck) == 0
	return out
}

// CallBack has the models stay for which a drain asked another host and that have found no room there yet: the drain is over.
func CallBack(ctx context.Context, host string, r Residents, door messages.Door) error {
	now := seen(r)
	for _, m := range now.models {
		if m.Host != host || m.Placement == nil {
			continue
		}
		if _, other := now.elsewhere(m); other != nil && other.Phase == messages.ModelView_placing {
			if _, err := door.Ask(ctx, messages.ModelActor(other.Host, m.Name), &messages.UnloadModel{Reason: "the drain of " + host + " has ended, and it is loaded there"}); err != nil {
				return err
			}
		}
	}
	return nil
}
