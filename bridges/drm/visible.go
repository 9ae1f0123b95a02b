package drm

import (
	"slices"
	"strconv"
	"strings"
)

// lists are what two variables name: the driver's cuts the list of cards, and the runtime's counts in what is left. nil = all.
type lists struct{ driver, runtime []string }

// list is what the first of the variables that is set names; a number below 0 ends it, and an empty one names none.
func list(env map[string]string, variables ...string) []string {
	for _, variable := range variables {
		text, set := env[variable]
		if !set {
			continue
		}
		if _, devices, found := strings.Cut(text, ":"); found && variable == "ONEAPI_DEVICE_SELECTOR" { // level_zero:0,1
			text = devices
		}
		if text == "*" || text == "gpu" || strings.HasPrefix(text, "!") {
			return nil
		}
		out := []string{}
		for word := range strings.SplitSeq(text, ",") {
			word, _, _ = strings.Cut(strings.TrimSpace(word), ".") // a tile
			if n, err := strconv.Atoi(word); word == "" || err == nil && n < 0 {
				break
			}
			out = append(out, word)
		}
		return out
	}
	return nil
}

// place is where a card stands in the list that the runtime counts in; -1 when the driver hides it.
func (l lists) place(c card) int {
	if l.driver == nil {
		return c.number
	}
	return slices.IndexFunc(l.driver, func(word string) bool {
		return word == strconv.Itoa(c.number) || c.uuid != "" && strings.EqualFold(word, c.uuid)
	})
}

func (l lists) show(c card) bool {
	at := l.place(c)
	return at >= 0 && (l.runtime == nil || slices.ContainsFunc(l.runtime, func(word string) bool {
		return word == strconv.Itoa(at) || c.uuid != "" && strings.EqualFold(word, c.uuid)
	}))
}

// Env binds a worker to cards by their names, in their order: the runtime's variable, with numbers as the runtime counts in the environment that
// the worker inherits. It is empty for devices of others.
func (d *Devices) Env(devices []string) []string {
	at := map[string][]string{}
	cards := d.cards()
	for _, device := range devices {
		for _, c := range cards {
			if c.device() == device {
				at[c.name] = append(at[c.name], strconv.Itoa(d.lists[c.name].place(c)))
			}
		}
	}
	var out []string
	if n := at["amd"]; n != nil {
		out = append(out, "HIP_VISIBLE_DEVICES="+strings.Join(n, ","))
	}
	if n := at["intel"]; n != nil {
		out = append(out, "ONEAPI_DEVICE_SELECTOR=level_zero:"+strings.Join(n, ","))
	}
	return out
}
