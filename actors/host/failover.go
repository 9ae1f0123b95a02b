package host

import (
	"fmt"
	"slices"
	"time"

	"modelops/messages"
)

// TakesOver lists the models that a host loads because another one can't be reached any more: those that had or wanted a worker there and nowhere else, and of
// which this host is the first, by name, of the hosts that declare them and can be reached. Hosts that see the same take over different models.
func TakesOver(own, dead string, models []*messages.ModelView, closed func(host string) string) (names []string) {
	for _, lost := range models {
		if _, replica := messages.ReplicaOf(lost.Id); lost.Host != dead || replica || !lost.Wanted && lost.Placement == nil {
			continue
		}
		var could []string
		served := false
		for _, v := range models {
			if v.Name == lost.Name && v.Host != dead && v.Spec != nil && closed(v.Host) == "" && runsOn(v.Spec, v.Host) {
				could = append(could, v.Host)
				served = served || v.Wanted && !v.FreeOnly // a move gives up where memory is short
			}
		}
		if !served && len(could) > 0 && slices.Min(could) == own {
			names = append(names, lost.Name)
		}
	}
	return names
}

func runsOn(spec *messages.ModelSpec, host string) bool {
	return len(spec.Hosts) == 0 || slices.Contains(spec.Hosts, host)
}

const (
	// spareAfter is how long a model that another host has too must have been idle to leave.
	spareAfter = 15 * time.Second
	// usedWithin is the idle time up to which a model surely stays. It is shorter than spareAfter by more than a report may be old: else two hosts could each
	// rely on the other.
	usedWithin = spareAfter / 2
)

// spare is a model that leaves because another host has it too.
type spare struct {
	Model   string
	Preempt *messages.Preempt
}

// Spares lists the idle models of a host that leave because another one that can be reached has them too: a lost host came back with its worker alive, or a
// split healed. Only what nobody asked for on this very host leaves, and a pinned model refuses. When several hosts could do without theirs, the last of them by
// name does.
func Spares(own string, models []*messages.ModelView, closed func(host string) string) (out []spare) {
	for _, m := range models {
		if _, replica := messages.ReplicaOf(m.Id); m.Host != own || replica || !dispensable(m) || idle(m) < spareAfter {
			continue
		}
		i := slices.IndexFunc(models, func(v *messages.ModelView) bool {
			return v.Name == m.Name && v.Host != own && v.Phase == messages.ModelView_ready && closed(v.Host) == "" &&
				(!dispensable(v) || idle(v) < usedWithin || v.Host < own && idle(v) >= spareAfter)
		})
		if i >= 0 {
			out = append(out, spare{m.Name, &messages.Preempt{Placement: fmt.Sprintf("spare/%d", m.Attempt),
				Reason: fmt.Sprintf("it is ready on %s too, and idle here for %s", models[i].Host, idle(m).Round(time.Second))}})
		}
	}
	return out
}

// dispensable tells whether a model may leave when another host has it. One that is declared with several workers wants them.
func dispensable(m *messages.ModelView) bool {
	return m.OnDemand && m.Spec.GetMinReplicas() < 2 && m.Phase == messages.ModelView_ready && m.PinnedBy == "" && !m.Spec.GetPinned()
}

func idle(m *messages.ModelView) time.Duration {
	if m.Active+m.Queued > 0 {
		return 0
	}
	return time.Duration(m.IdleMs) * time.Millisecond
}
