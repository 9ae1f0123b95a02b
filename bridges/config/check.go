package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// A checker finds what no single key shows.
type checker struct {
	*Config
	*decoder
	root *node
}

// wrong reports a problem where the key was written, else where the nearest section around it was.
func (k *checker) wrong(path []string, what, expected string) {
	shown := ""
	for _, name := range path {
		shown = join(shown, name)
	}
	if k.doubtful(shown) {
		return
	}
	n := k.root
	for _, name := range path {
		if n.get(name) == nil {
			break
		}
		n = n.get(name)
	}
	if n == nil {
		n = &node{}
	}
	k.add(&node{at: n.at, path: fullPath(n, shown)}, shown, what, expected)
}

// fullPath keeps hosts.<name> in front when the value was written there.
func fullPath(n *node, shown string) string {
	if n.path != "" && strings.HasSuffix(n.path, shown) {
		return n.path
	}
	return shown
}

// doubtful tells whether one of the values, or what is around it, is already reported: what follows from a mistake is
// no second mistake.
func (k *checker) doubtful(paths ...string) bool {
	for bad := range k.failed {
		for _, path := range paths {
			if bad == path || inside(path, bad) {
				return true
			}
		}
	}
	return false
}

// broken tells whether the value or anything in it is already reported.
func (k *checker) broken(path string) bool {
	for bad := range k.failed {
		if inside(bad, path) {
			return true
		}
	}
	return k.doubtful(path)
}

func inside(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}

func (k *checker) server() {
	s := k.Server
	k.bind()
	k.tls()
	k.origins()
	ports := []struct {
		key string
		n   int
	}{{"zmq_port", s.ZMQPort}, {"grpc_port", s.GRPCPort}, {"rest_port", s.RESTPort}, {"nats_port", s.NATSPort}}
	for i, p := range ports {
		for _, q := range ports[:i] {
			if p.n == q.n && p.n != 0 && !k.doubtful("server."+q.key) {
				k.wrong([]string{"server", p.key}, fmt.Sprintf("%d is server.%s too", p.n, q.key), "a port of its own, or 0")
			}
		}
	}
}

// engines checks the address that stands for an engine.
func (k *checker) engines() {
	if u, err := url.Parse(k.Runtimes.Ollama.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		k.wrong([]string{"runtimes", "ollama", "url"}, "is no address", "http://host:port")
	}
}

func (k *checker) resources() {
	r := k.Resources
	if r.MarginMB >= r.VRAMSoftLimitMB && !k.doubtful("resources.vram_soft_limit_mb") {
		k.wrong([]string{"resources", "margin_mb"},
			fmt.Sprintf("%d leaves nothing of vram_soft_limit_mb %d", r.MarginMB, r.VRAMSoftLimitMB), "less than the soft limit")
	}
	if r.CPUBudgetMB > 0 && r.MarginMB >= r.CPUBudgetMB && !k.doubtful("resources.margin_mb") {
		k.wrong([]string{"resources", "cpu_budget_mb"},
			fmt.Sprintf("%d is not more than margin_mb %d, so no model can ever be loaded", r.CPUBudgetMB, r.MarginMB), "more than the margin, or 0")
	}
	devices := k.root.walk("resources", "devices")
	for i, dev := range r.Devices {
		at := index("resources.devices", i)
		if k.broken(at) {
			continue
		}
		if dev.CapacityMB > 0 && dev.CapacityMB <= r.MarginMB && !k.doubtful("resources.margin_mb") {
			k.add(devices.item(i), at, fmt.Sprintf("capacity_mb %d is not more than margin_mb %d, so no model can ever be loaded", dev.CapacityMB, r.MarginMB), "more than the margin")
		}
		if j := slices.IndexFunc(r.Devices[:i], func(o Device) bool { return o.ID == dev.ID }); j >= 0 {
			k.add(devices.item(i), at, fmt.Sprintf("id %q is entry %d's too", dev.ID, j), "an id of its own")
		}
	}
}

// item is an entry of a list; never nil.
func (n *node) item(i int) *node {
	if n != nil && i < len(n.items) {
		return n.items[i]
	}
	return &node{}
}
