package host

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Residents shows the models of all hosts, with what runs and waits at each.
type Residents interface {
	Models() []*messages.ModelView
	// Closed says why nothing is placed on another host now; empty = it can be.
	Closed(host string) string
}

// empty has what is idle leave the host, for as long as it is drained.
type empty struct{ Host string }

func (empty) Key() string { return "empty" }

// Pace implements entity.Paced: what is still here is looked at again and again until the drain ends.
func (empty) Pace() (first, longest time.Duration) {
	return 250 * time.Millisecond, 250 * time.Millisecond
}

// empty asks each model for its next step. What a step can't reach is asked again at the next look.
func (p ports) empty(ctx context.Context, e empty) (proto.Message, error) {
	if p.Residents == nil {
		return nil, nil
	}
	var failed error
	for _, l := range leaving(e.Host, p.Residents.Models(), p.Residents.Closed) {
		var err error
		switch {
		case l.There != nil:
			_, err = p.Door.Ask(ctx, *l.There, &messages.EnsureModel{Reason: e.Host + " is being emptied"})
		case l.Unload != "":
			_, err = p.Door.Ask(ctx, l.Here, &messages.UnloadModel{Reason: l.Unload})
		}
		if err != nil {
			failed = err
		}
	}
	return nil, failed
}

// Drain says what still keeps a host from being empty, a line for each model and program that holds its memory.
func Drain(host string, r Residents, devices []*messages.GpuView) (waits []string) {
	for _, l := range leaving(host, r.Models(), r.Closed) {
		why := l.Waits
		if l.Unload != "" {
			why = "leaves: " + l.Unload
		}
		waits = append(waits, l.Model+" "+why)
	}
	for _, d := range devices {
		for _, lease := range d.Reservations {
			if id, err := messages.ParseActorID(lease.Holder); d.Host == host && (err != nil || !messages.Holds(id.Kind)) {
				waits = append(waits, lease.Holder+" holds "+messages.FormatBytes(max(lease.Bytes, lease.MeasuredBytes))+" of "+d.Device+" until it gives that back")
			}
		}
	}
	return waits
}
