package host

import (
	"modelops/messages"
)

// While a host is drained, its models leave one by one: first a worker becomes ready on another host that can run the model, then the one here ends. A model
// that can run nowhere else ends when it is idle. Running requests are finished first.

// leave is what a drain does next with one model: it is asked for on another host, or leaves this one; with neither it stays for now.
type leave struct {
	Model  string            // its name
	Here   messages.ActorID  // the worker that is to leave
	There  *messages.ActorID // the actor that is to load it; nil = none
	Unload string            // why the worker here ends; empty = it stays for now
	Waits  string            // what it waits for, in words
}

// leaving says how each model that has its memory on a host leaves it. Replicas leave with their model.
func leaving(host string, models []*messages.ModelView, closed func(host string) string) (out []leave) {
	for _, m := range models {
		if _, replica := messages.ReplicaOf(m.Id); m.Host != host || m.Placement == nil || replica {
			continue
		}
		l := leave{Model: m.Name, Here: messages.ModelActor(host, m.Name)}
		ready, other := elsewhere(m, models, closed)
		switch {
		case m.Phase != messages.ModelView_ready && m.Phase != messages.ModelView_asleep:
			l.Waits = "is " + m.Phase.String()
		case ready != "":
			l.Unload = "its host is being emptied, and it is ready on " + ready
		case other != nil:
			there := messages.ModelActor(other.Host, m.Name)
			l.Waits = "loads on " + other.Host + " first"
			if !other.Wanted {
				l.There = &there
			}
		case m.Active+m.Queued > 0:
			l.Waits = "finishes its requests: no other host can run it"
		default:
			l.Unload = "its host is being emptied, and no other host can run it"
		}
		out = append(out, l)
	}
	return out
}

// elsewhere finds a host where the model is ready, else one that could load it.
func elsewhere(m *messages.ModelView, models []*messages.ModelView, closed func(string) string) (ready string, could *messages.ModelView) {
	for _, v := range models {
		if v.Name != m.Name || v.Host == m.Host || v.Spec == nil || closed(v.Host) != "" {
			continue
		}
		switch v.Phase {
		case messages.ModelView_ready:
			return v.Host, nil
		case messages.ModelView_failed:
		default:
			if could == nil {
				could = v
			}
		}
	}
	return "", could
}
