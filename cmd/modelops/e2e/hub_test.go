//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
)

// TestAHubIsJoined: a host alone joins a NATS cluster as a leaf, says whether it is reached, starts and serves without it, and finds it again.
func TestAHubIsJoined(t *testing.T) {
	h := startHub(t)
	d := prepare(t, base+h.section("")+"models: {declare: {tiny: {runtime: embedded, path: TINY}}}\n")
	d.write("hub.password", hubPassword+"\n")
	d.launch()
	reached := func() bool {
		return strings.Contains(d.typed("cluster"), ": reached") && !strings.Contains(string(d.get("/health").body), "hub")
	}
	d.until(startLimit, "the hub is reached", reached)
	h.kill(h.nodes...)
	d.until(startLimit, "it is said that the hub is off", func() bool {
		a := d.get("/health")
		return strings.Contains(d.typed("cluster"), ": not reached: ") && strings.Contains(string(a.body), "the hub of nats.hub isn't reached") && a.status == 200
	})
	d.answers("tiny")
	if code := d.stop(); code != 0 {
		t.Error(code)
	}
	d.launch()
	d.answers("tiny")
	h.start(h.nodes...)
	d.until(startLimit, "the hub is reached again", reached)
	d.stop()
	d.write("hub.password", "another\n")
	d.launch()
	d.until(startLimit, "a wrong password is told", func() bool {
		return strings.Contains(strings.ToLower(d.typed("cluster")), "not reached: ") && strings.Contains(strings.ToLower(string(d.get("/health").body)), "authorization")
	})
	d.answers("tiny")
}
