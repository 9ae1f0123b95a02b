//go:build e2e

package e2e_test

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// why asks over HTTP.
func (d *daemon) why(subject string) *messages.Explanation {
	d.t.Helper()
	a := d.get("/why/" + (&url.URL{Path: subject}).EscapedPath())
	e := &messages.Explanation{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(a.body, e); a.status != 200 || err != nil {
		d.t.Fatalf("why %s: %s, %v", subject, a, err)
	}
	return e
}

// explains wants words in what is said of a subject.
func (d *daemon) explains(subject string, words ...string) *messages.Explanation {
	d.t.Helper()
	e := d.why(subject)
	text := protojson.Format(e)
	for _, w := range words {
		if !strings.Contains(text, w) {
			d.t.Errorf("why %s: no %q in\n%s", subject, w, text)
		}
	}
	return e
}

// TestWhy drives two simulated devices through an eviction, a wait and a refusal, and asks at every door why.
func TestWhy(t *testing.T) {
	d := start(t, `
queue: {collation: 0}
resources:
  vram_soft_limit_mb: 50000 # more than a device has: the huge model is refused when it is placed, not when it is declared
  devices:
    - {id: sim0, kind: simulated, capacity_mb: 24000}
    - {id: sim1, kind: simulated, capacity_mb: 24000}
models:
  declare:
    a: {runtime: embedded, path: TINY, vram_mb: 12000, aliases: [first]}
    b: {runtime: embedded, path: TINY, vram_mb: 12000}
    c: {runtime: embedded, path: TINY, vram_mb: 12000}
    huge: {runtime: embedded, path: TINY, vram_mb: 40000}
`)
	d.explains("a", "it has not been asked for since it was declared")
	for _, name := range []string{"a", "b"} {
		d.answers(name)
	}
	d.explains("first", "a is ready on sim0", "12000 MiB (as declared)", "as good, later by name", "a request waits for it")

	t.Run("a request that evicts", func(t *testing.T) { d.in(t).whyEvicted() })
	t.Run("a model that waits", func(t *testing.T) { d.in(t).whyWaits() })
	t.Run("a model that never fits", func(t *testing.T) {
		d := d.in(t)
		if a := d.post("/v1/chat/completions", question("huge", france)); a.status == 200 {
			t.Error(a)
		}
		d.explains("huge", "GPU_UNAVAILABLE", "needs 40000 MiB, limit", "a larger device than sim0: of its 24000 MiB", "smaller quantisation")
	})
	t.Run("a lease", func(t *testing.T) { d.in(t).whyLeased() })
	t.Run("the command line", func(t *testing.T) { d.in(t).whyTyped() })
}

func (d *daemon) whyEvicted() {
	d.until(waitLimit, "a is idle for so long that it is the one to go", func() bool {
		d.answers("b")
		return d.model("a").IdleMs > 3000
	})
	if a := d.post("/v1/chat/completions", question("c", france), "X-Request-Id", "req-1"); a.status != 200 {
		d.t.Fatal(a)
	}
	e := d.explains("a", "a is absent", "evicted it from sim0 for c", "by cost_aware", "to load again", "not taken: sim1 (would evict b", "pin it")
	if len(e.Weighed) != 2 || !e.Weighed[0].Chosen || len(e.Weighed[0].Victims) != 1 || e.Weighed[0].Victims[0] != modelID("a").String() {
		d.t.Errorf("weighed: %v", e.Weighed)
	}
	d.explains("c", "c is ready on sim0", "had to leave", "a has left, and its memory is free")
	e = d.explains("req-1", "caused decision", "It waited for decision", "ended with OK", "(pid ", "arbiter.placement_decided")
	if e.Kind != "request" {
		d.t.Errorf("%s", e.Kind)
	}
	if a := d.post("/v1/chat/completions", question("c", france), "X-Request-Id", "req-2"); a.status != 200 {
		d.t.Fatal(a)
	}
	if e := d.explains("request/req-2", "waited for", "ended with OK"); strings.Contains(e.Summary, "decision") {
		d.t.Errorf("a request that caused nothing: %s", e.Summary)
	}
}

// whyWaits keeps a from a place by pins: for good, which refuses a request at once, and then for less than queue_timeout, which lets it wait.
func (d *daemon) whyWaits() {
	nc := d.nats()
	pin := func(seconds uint32, owner string, names ...string) {
		d.t.Helper()
		for _, name := range names {
			if _, err := command(nc, modelID(name), &messages.PinModel{Owner: owner, TtlSeconds: seconds}); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	pin(0, "ops", "b", "c")
	if a := d.post("/v1/chat/completions", question("a", france)); a.status != 409 || !strings.Contains(string(a.body), "unpin") {
		d.t.Errorf("pinned for good: %s", a)
	}
	pin(240, "ops", "b", "c")
	served := make(chan bool, 1)
	go func() {
		resp, err := d.send(d.t.Context(), "POST", "/v1/chat/completions", question("a", france), "X-Request-Id", "req-3")
		if err == nil {
			resp.Body.Close()
		}
		served <- err == nil && resp.StatusCode == 200
	}()
	d.until(waitLimit, "a request for a waits", func() bool { return d.model("a").Queued == 1 })
	d.explains("a", "pinned models leave it no place", "b pinned by ops", "where it needs", "unpin c", "unpin b")
	d.explains("req-3", "has waited for", "It waits: pinned models leave it no place", "unpin c")
	pin(0, "", "c")
	if !<-served {
		d.t.Error("the request that waited was not answered")
	}
}

func (d *daemon) whyLeased() {
	ctx, door := d.t.Context(), d.grpc()
	got, err := door.AcquireGpuLease(ctx, &messages.GpuLeaseRequest{Client: "train", VramEstimateMb: 100, TtlSeconds: 60})
	if err != nil || !got.Granted {
		d.t.Fatal(got, err)
	}
	e, err := door.Why(ctx, &messages.WhyRequest{Subject: got.LeaseId})
	if err != nil || e.Kind != "lease" || !strings.Contains(e.Summary, "client/train holds 100 MiB of sim0") || !strings.Contains(e.Summary, "ttl is 1m0s") {
		d.t.Fatalf("%v, %v", e, err)
	}
	if _, err := door.ReleaseGpuLease(ctx, &messages.GpuLeaseRelease{LeaseId: got.LeaseId}); err != nil {
		d.t.Fatal(err)
	}
	d.explains("lease/"+got.LeaseId, "client/train held 100 MiB", "released by its holder")
	placement := d.model("a").Placement
	if placement == nil {
		d.t.Fatalf("a has no placement: %v", d.model("a"))
	}
	if e := d.explains(placement.Id, "placed attempt", "It became ready after", "Its lease: a holds 12000 MiB"); e.Kind != "placement" {
		d.t.Errorf("%s", e.Kind)
	}
}

func (d *daemon) whyTyped() {
	for subject, want := range map[string]string{"a": "to change this:", "first": "DEVICE", "req-1": "request.granted"} {
		out, err := exec.Command(d.binary, "why", subject, "--server", d.at.NATS, "--data-dir", d.state()).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			d.t.Errorf("modelops why %s: %v\n%s", subject, err, out)
		}
	}
	out, err := exec.Command(d.binary, "why", "a", "--server", d.at.NATS, "--data-dir", d.state(), "--json").Output()
	if err != nil || protojson.Unmarshal(out, &messages.Explanation{}) != nil {
		d.t.Errorf("--json: %v\n%s", err, out)
	}
	out, err = exec.Command(d.binary, "why", "nobody", "--server", d.at.NATS, "--data-dir", d.state()).CombinedOutput()
	if exit, _ := err.(*exec.ExitError); exit == nil || exit.ExitCode() != 4 || !strings.Contains(string(out), "hint: ") {
		d.t.Errorf("unknown: %v\n%s", err, out)
	}
}
