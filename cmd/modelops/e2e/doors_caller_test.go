//go:build e2e

package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// keyPrint is how a key is named where it can't be told.
func keyPrint(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])[:12]
}

// TestAgeHoldsAcrossHosts: requests that came in at main_pc for a model of pc2 age from their arrival, also while they wait at main_pc because another one waits at pc2
// already: after queue.max_wait they go before every class, and before a request of a better class that pc2 got meanwhile.
func TestAgeHoldsAcrossHosts(t *testing.T) {
	t.Parallel() // it waits more than it works
	engine := newTurnstile(t)
	main, pc2 := pair(t, func(host string) string {
		if host == "main_pc" {
			return "keys: [{name: bob, key: canary-of-bob, class: batch}]\nqueue: {max_wait: 3s}\n"
		}
		return fmt.Sprintf("keys: [{name: carol, key: canary-of-carol, class: interactive}]\nqueue: {max_wait: 3s}\nresilience: {bulkhead: {max_concurrent: 1}}\n"+
			"models: {preload: [{name: slow}], declare: {slow: {url: %q}}}\n", engine.URL+"/v1")
	})
	pc2.awaitPhase("slow", "ready")
	main.until(startLimit, "main_pc knows slow", func() bool { return main.phaseAt("slow", "pc2") == "ready" })
	done := make(chan answer, 8)
	post := func(d *daemon, text string, header ...string) {
		go func() { done <- d.do(t.Context(), "POST", "/v1/chat/completions", question("slow", text), header...) }()
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-engine.arrived:
			if got != want {
				t.Errorf("%s goes before %s", got, want)
			}
		case <-time.After(waitLimit):
			t.Fatalf("%s doesn't come", want)
		}
	}
	post(main, "first")
	next("first")
	post(main, "bob", "x-api-key", "canary-of-bob")
	main.until(waitLimit, "bob waits at pc2", func() bool { return slices.Contains(pc2.queue("--host", "pc2"), "waiting batch bob 1") })
	post(main, "bob again", "x-api-key", "canary-of-bob")
	main.until(waitLimit, "bob waits at main_pc too", func() bool { return slices.Contains(main.queue("--host", "main_pc"), "waiting batch bob 1") })
	post(pc2, "early", "x-api-key", "canary-of-carol")
	pc2.until(waitLimit, "carol goes before bob while he hasn't waited for long", func() bool {
		return slices.Contains(pc2.queue("--host", "pc2"), "waiting interactive carol 1") && slices.Contains(pc2.queue("--host", "pc2"), "waiting batch bob 2")
	})
	pc2.until(waitLimit, "bob has waited for so long that he goes first", func() bool { return slices.Contains(pc2.queue("--host", "pc2"), "waiting batch bob 1") })
	post(pc2, "late", "x-api-key", "canary-of-carol")
	pc2.until(waitLimit, "carol waits twice", func() bool { return slices.Contains(pc2.queue("--host", "pc2"), "waiting interactive carol 3") })
	main.until(waitLimit, "the second one of bob has aged too", func() bool { // while it waits at main_pc, for which no class is in its way
		return waitedOf(main, "bob") > 3500*time.Millisecond
	})
	engine.answer <- struct{}{}
	next("bob")
	pc2.until(waitLimit, "the second one of bob goes before all of carol's at pc2", func() bool { return slices.Contains(pc2.queue("--host", "pc2"), "waiting batch bob 1") })
	for _, want := range []string{"bob again", "early", "late"} {
		engine.answer <- struct{}{}
		next(want)
	}
	engine.answer <- struct{}{}
	for range 5 {
		if a := <-done; a.status != 200 {
			t.Errorf("%s", a)
		}
	}
}

// waitedOf is how long a caller's request waits at a host; 0 = it doesn't.
func waitedOf(d *daemon, caller string) time.Duration {
	q := &messages.QueueView{}
	out := d.cli("queue", "--json", "--host", d.at.Host)
	if err := protojson.Unmarshal([]byte(out.out), q); out.code != 0 || err != nil {
		d.t.Fatalf("queue: %v %s", err, out)
	}
	for _, r := range q.Requests {
		if r.Caller == caller && r.State == "waiting" {
			return time.Duration(r.WaitedMs) * time.Millisecond
		}
	}
	return 0
}

// TestTheCallerTravels: a caller whom only main_pc knows is the same at pc2: its requests wait under its name and only it may end them; the models of its key are the
// only ones that it gets there; and what it causes stands in pc2's journal under the fingerprint of its key, never under the host that passed it on.
func TestTheCallerTravels(t *testing.T) {
	engine := newTurnstile(t)
	main, pc2 := pair(t, func(host string) string {
		if host == "main_pc" {
			return `keys:
  - {name: alice, key: canary-of-alice, class: interactive, role: infer, models: [slow, cold]}
  - {name: bob, key: canary-of-bob, class: batch, role: infer}
  - {name: carol, key: canary-of-carol, role: operate}
`
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nresilience: {bulkhead: {max_concurrent: 1}}\n"+
			"models:\n  preload: [{name: slow}]\n  declare:\n    slow: {url: %q}\n", engine.URL+"/v1") + plays(t, "cold", "", "vram_mb: 2000") + plays(t, "other", "", "vram_mb: 2000")
	})
	pc2.awaitPhase("slow", "ready")
	main.until(startLimit, "main_pc knows pc2's models", func() bool {
		return main.phaseAt("slow", "pc2") == "ready" && main.phaseAt("other", "pc2") == "absent"
	})

	done := make(chan answer, 4)
	post := func(id, key string) {
		go func() {
			done <- main.do(t.Context(), "POST", "/v1/chat/completions", question("slow", id), "x-api-key", key, "x-request-id", id)
		}()
	}
	post("first", "canary-of-bob")
	if got := <-engine.arrived; got != "first" {
		t.Fatal(got)
	}
	post("second", "canary-of-bob")
	pc2.until(waitLimit, "bob waits at pc2 under his name", func() bool {
		rows := pc2.queue("--host", "pc2")
		return slices.Contains(rows, "running batch bob 0") && slices.Contains(rows, "waiting batch bob 1")
	})
	cancelled := func(key string) string {
		a := main.do(t.Context(), "POST", "/api/queue/cancel/second", nil, "Authorization", "Bearer "+key)
		return fmt.Sprint(a.status, " ", strings.Contains(string(a.body), "true"))
	}
	if got := cancelled("canary-of-alice"); strings.HasSuffix(got, "true") {
		t.Errorf("alice ends bob's request: %s", got)
	}
	if rows := pc2.queue("--host", "pc2"); !slices.Contains(rows, "waiting batch bob 1") {
		t.Errorf("bob's request is gone: %q", rows)
	}
	if got := cancelled("canary-of-bob"); got != "200 true" {
		t.Errorf("bob ends his request: %s", got)
	}
	engine.answer <- struct{}{}
	for range 2 {
		<-done
	}

	for _, header := range [][]string{nil, {messages.HostHeader, "pc2"}} {
		a := main.do(t.Context(), "POST", "/v1/chat/completions", question("other", france), append([]string{"x-api-key", "canary-of-alice"}, header...)...)
		if a.status == 200 {
			t.Errorf("a model that isn't alice's, with %q: %s", header, a)
		}
	}
	if n := pc2.starts("other"); n != 0 {
		t.Errorf("it was loaded for her %d times", n)
	}
	if a := main.do(t.Context(), "POST", "/v1/chat/completions", question("cold", france), "x-api-key", "canary-of-alice", "x-request-id", "the-cold-one"); a.status != 200 {
		t.Fatalf("cold: %s", a)
	}
	standsUnderKeys(t, main, pc2)
	for d, word := range map[*daemon]string{main: "It caused decision ", pc2: "got its place at http://"} { // each says what it saw
		said := d.typed("why", "the-cold-one")
		if !strings.Contains(said, word) {
			t.Errorf("why the-cold-one on %s:\n%s", d.at.Host, said)
		}
		for _, key := range []string{"canary-of-alice", "canary-of-bob", "canary-of-carol"} {
			if strings.Contains(said, key) {
				t.Errorf("%s is shown on %s", key, d.at.Host)
			}
		}
	}
}

// standsUnderKeys: what alice's request, and a pin and a lease of carol, have brought about stands in the journals under their keys.
func standsUnderKeys(t *testing.T, main, pc2 *daemon) {
	t.Helper()
	carol := []string{"Authorization", "Bearer canary-of-carol"}
	if a := main.do(t.Context(), "POST", "/api/models/pin/cold", object{"owner": "carol"}, carol...); a.status != 200 {
		t.Fatalf("the pin: %s", a)
	}
	if a := main.do(t.Context(), "POST", "/api/leases", object{"client": "train", "vram_estimate_mb": 500, "ttl_seconds": 600, "host": "pc2"}, carol...); a.status != 200 {
		t.Fatalf("the lease: %s", a)
	}
	decided, pinned := "", ""
	for _, d := range []*daemon{main, pc2} { // the arbiter of either has the seat
		d.journalled(messages.ArbiterActor(), func(r messages.Recorded) {
			for _, e := range r.Events {
				if p, ok := e.(*messages.PlacementDecided); ok && p.Placement.Holder == "model/pc2/cold" {
					decided += r.Meta.Caller + " for " + r.Meta.Correlation
				}
			}
		})
	}
	pc2.journalled(messages.ModelActor("pc2", "cold"), func(r messages.Recorded) {
		for _, e := range r.Events {
			if _, ok := e.(*messages.ModelPinned); ok {
				pinned += r.Meta.Caller
			}
		}
	})
	if want := keyPrint("canary-of-alice") + " for the-cold-one"; decided != want || pinned != keyPrint("canary-of-carol") {
		t.Errorf("placed by %q, want %q; pinned by %q, want %s", decided, want, pinned, keyPrint("canary-of-carol"))
	}
	owner := ""
	pc2.journalled(messages.GPUActor("pc2", "gpu0"), func(r messages.Recorded) {
		for _, e := range r.Events {
			if v, ok := e.(*messages.VramReserved); ok && v.Holder == "client/train" {
				owner = v.Owner
			}
		}
	})
	if owner != keyPrint("canary-of-carol") {
		t.Errorf("the lease belongs to %q, carol's key is %s", owner, keyPrint("canary-of-carol"))
	}
}
