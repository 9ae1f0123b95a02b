//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"testing"
)

// TestClassesHoldAcrossHosts: keys that only the host knows where requests come in count at the host of the model: there a request waits by its class and under its
// caller's name, also while that host's own requests keep the model busy.
func TestClassesHoldAcrossHosts(t *testing.T) {
	engine := newTurnstile(t)
	main, pc2 := pair(t, func(host string) string {
		if host == "main_pc" {
			return "keys:\n  - {name: alice, key: canary-of-alice, class: interactive}\n  - {name: bob, key: canary-of-bob, class: batch}\nresilience: {bulkhead: {max_concurrent: 8}}\n"
		}
		return fmt.Sprintf("resilience: {bulkhead: {max_concurrent: 1}}\nmodels: {preload: [{name: slow}], declare: {slow: {url: %q}}}\n", engine.URL+"/v1")
	})
	pc2.awaitPhase("slow", "ready")
	main.until(startLimit, "main_pc knows slow", func() bool { return main.phaseAt("slow", "pc2") == "ready" })
	done := make(chan answer, 4)
	post := func(d *daemon, text string, header ...string) {
		go func() { done <- d.do(t.Context(), "POST", "/v1/chat/completions", question("slow", text), header...) }()
	}
	waits := func(d *daemon, host, row string) func() bool {
		return func() bool { return slices.Contains(d.queue("--host", host), row) }
	}
	post(main, "first")
	if got := <-engine.arrived; got != "first" {
		t.Fatal(got)
	}
	post(main, "bob", "x-api-key", "canary-of-bob")
	main.until(waitLimit, "bob waits at pc2", waits(pc2, "pc2", "waiting batch bob 1"))
	post(pc2, "own")
	main.until(waitLimit, "one of pc2 goes before bob", waits(pc2, "pc2", "waiting batch bob 2"))
	post(main, "alice", "x-api-key", "canary-of-alice")
	main.until(waitLimit, "alice waits where she came in, because bob waits at pc2 already", waits(main, "main_pc", "waiting interactive alice 1"))
	next := func(want string) {
		engine.answer <- struct{}{}
		if got := <-engine.arrived; got != want {
			t.Errorf("%s goes before %s", got, want)
		}
	}
	next("own") // pc2 gave it the place before it heard of alice
	main.until(waitLimit, "alice goes before bob at pc2", waits(pc2, "pc2", "waiting interactive alice 1"))
	next("alice")
	next("bob")
	engine.answer <- struct{}{}
	for range 4 {
		if a := <-done; a.status != 200 {
			t.Errorf("%s", a)
		}
	}
}
