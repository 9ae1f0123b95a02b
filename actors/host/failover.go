package host

import (
	"slices"

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
				served = served || v.Wanted
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
