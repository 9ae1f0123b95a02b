package explain

import (
	"cmp"
	"fmt"

	"modelops/messages"
)

// choice is a decision on devices: a placement, or none for now.
type choice struct {
	candidates []*messages.Candidate
	chosen     *messages.Candidate // nil when the model waits
	policy     string
	waits      string // why it waits
}

// device names a device: with its host when devices of several hosts were weighed.
func (c choice) device(gpu string) string {
	for _, x := range c.candidates {
		if host := hostOf(gpu); host != hostOf(x.GetGpu()) {
			return host + "/" + short(gpu)
		}
	}
	return short(gpu)
}

func choiceOf(f *fact) choice {
	if f == nil {
		return choice{}
	}
	switch e := f.event.(type) {
	case *messages.PlacementDecided:
		return choice{candidates: e.Candidates, chosen: chosenOf(e.Candidates), policy: e.Policy}
	case *messages.PlacementPostponed:
		return choice{candidates: e.Candidates, waits: e.Reason}
	}
	return choice{}
}

// chosenOf is the chosen device; of a split model's devices the dearest, with which the others are compared.
func chosenOf(cs []*messages.Candidate) *messages.Candidate {
	var best *messages.Candidate
	for _, c := range cs {
		if c.GetChosen() && (best == nil || c.GetCost() > best.Cost) {
			best = c
		}
	}
	return best
}

// free is what a candidate had without anybody leaving.
func free(c *messages.Candidate) uint64 {
	return c.GetLimitBytes() - min(c.GetReservedBytes()+c.GetForeignBytes(), c.GetLimitBytes())
}

// lacks is how much more would have had to be free; 0 = it fitted.
func lacks(c *messages.Candidate) uint64 {
	return c.GetNeedBytes() - min(free(c), c.GetNeedBytes())
}

func sums(c *messages.Candidate) string {
	return fmt.Sprintf("limit %s - reserved %s - used by others %s = %s free, needs %s", mib(c.GetLimitBytes()), mib(c.GetReservedBytes()),
		mib(c.GetForeignBytes()), mib(free(c)), mib(c.GetNeedBytes()))
}

// weighed lists the devices of a choice with what spoke for or against each.
func (c choice) weighed() []*messages.Weighed {
	var out []*messages.Weighed
	for _, x := range c.candidates {
		w := &messages.Weighed{Gpu: x.GetGpu(), Chosen: x.GetChosen(), Text: c.verdict(x)}
		for _, v := range x.GetVictims() {
			w.Victims = append(w.Victims, v.GetHolder())
		}
		out = append(out, w)
	}
	return out
}

func (c choice) verdict(x *messages.Candidate) string {
	switch {
	case x.GetRefusal() != "" && !x.GetChosen():
		return "rejected: " + x.GetRefusal() + " (" + sums(x) + ")"
	case x.GetChosen() && len(x.GetVictims()) == 0:
		return "chosen: " + sums(x)
	case x.GetChosen():
		return fmt.Sprintf("chosen: %s; room by %s leaving, cost %.3g by %s", sums(x), victims(x.Victims), x.Cost, c.policy)
	case len(x.GetVictims()) > 0:
		return fmt.Sprintf("not taken: %s; would need %s to leave, cost %.3g%s", sums(x), victims(x.Victims), x.Cost, c.behind(x))
	}
	return "not taken: " + sums(x) + c.behind(x)
}

// behind says why a device that would do was not the one.
func (c choice) behind(x *messages.Candidate) string {
	best := c.chosen
	switch {
	case best == nil:
		return "; it isn't this model's turn: " + cmp.Or(c.waits, "others wait longer")
	case len(best.Victims) == 0 && len(x.GetVictims()) > 0:
		return "; on " + c.device(best.Gpu) + " no model has to leave"
	case x.GetKeptFor() != "" && best.GetKeptFor() == "":
		return "; room is kept there for " + short(x.KeptFor)
	case best.GetPreferred():
		return "; " + c.device(best.Gpu) + " is where a hint or a plan wants it"
	case x.GetLoadMs() != best.LoadMs:
		return fmt.Sprintf("; it loads sooner on %s: in %d ms", c.device(best.Gpu), best.LoadMs)
	case x.GetBusy() > best.Busy:
		return fmt.Sprintf("; %d requests run and wait on its host, %d on that of %s", x.Busy, best.Busy, c.device(best.Gpu))
	case x.GetHostRank() > best.HostRank:
		return "; the host of " + c.device(best.Gpu) + " comes first in the model's order of hosts"
	case x.GetCost() > best.Cost:
		return fmt.Sprintf("; %s costs %.3g", c.device(best.Gpu), best.Cost)
	}
	return "; as good as " + c.device(best.Gpu) + ", which comes first by name"
}

// rejected names the devices that were not taken, in half a sentence.
func (c choice) rejected() string {
	var out []string
	for _, x := range c.candidates {
		if x.GetChosen() {
			continue
		}
		switch {
		case x.GetRefusal() != "" && x.GetNeedBytes() > x.GetLimitBytes():
			out = append(out, fmt.Sprintf("%s (limit %s)", c.device(x.GetGpu()), mib(x.GetLimitBytes())))
		case x.GetRefusal() != "":
			out = append(out, fmt.Sprintf("%s (%s free)", c.device(x.GetGpu()), mib(free(x))))
		case len(x.GetVictims()) > 0:
			out = append(out, fmt.Sprintf("%s (would evict %s, cost %.3g)", c.device(x.GetGpu()), shorts(modelsOf(x.GetVictims())), x.GetCost()))
		default:
			out = append(out, c.device(x.GetGpu())+" (as good, later by name)")
		}
	}
	return enumerate(out)
}

func modelsOf(vs []*messages.Victim) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = v.GetHolder()
	}
	return out
}
