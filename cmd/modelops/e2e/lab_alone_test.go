//go:build e2e

package e2e_test

import (
	"testing"
)

// labDevices are one simulated device of 24 GB, and what follows models.declare.
func labDevices(declared string) string {
	return "queue: {collation: 0s}\nlog: {level: info}\n" + oneDevice("", declared)
}

// TestLabHosts: daemons run at hosts of the laboratory, are asked, killed and compared with their journals. Nothing of a cluster is needed for it.
func TestLabHosts(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	for _, name := range l.names {
		h := l.host(name, labDevices(sized(t, "a", 8000)))
		h.launch()
		h.says("a", "a")
		if got := h.model("a").Id; got != "model/"+name+"/a" {
			t.Errorf("the model is %s", got)
		}
		load := h.load("a", 50, 0)
		load.flows(20)
		worker := h.model("a").Worker.Pid
		h.kill()
		h.launch()
		load.flows(20)
		load.stop()
		t.Log(load)
		if now := h.awaitPhase("a", "ready").Worker.Pid; now != worker {
			t.Errorf("worker %d was adopted as %d", worker, now)
		}
		h.observer().settles("after a kill of " + name)
		h.lose()
		h.launch()
		h.says("a", "a")
		h.observer().settles("after the death of " + name)
	}
}
