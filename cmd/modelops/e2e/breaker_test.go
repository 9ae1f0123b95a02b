//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"modelops/journal"
	"modelops/messages"
)

// fakeModel declares a model that this test program serves.
func fakeModel(t *testing.T, name, flags string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("    %s:\n      cmd: %s %s --port ${PORT} %s\n      vram_mb: 16\n", name, self, fakeEngineWord, flags)
}

// knob tells a fake engine how to answer from now on.
func (d *daemon) knob(engine string, code int) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), "PUT", engine+"/knob/"+strconv.Itoa(code), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := d.http().Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
}

// TestBreaker goes once round: closed, open, half open, open again, closed; each change of mind is in the journal.
func TestBreaker(t *testing.T) {
	d := start(t, `
resilience: {circuit_breaker: {failure_threshold: 3, reset_timeout: 4s}}
models:
  declare:
`+fakeModel(t, "moody", ""))
	d.answers("moody")
	engine := d.model("moody").Worker.Url
	d.knob(engine, 500)
	for i := range 3 {
		if a := d.post("/v1/chat/completions", question("moody", france)); a.status != 500 || !strings.Contains(string(a.body), "told to fail") {
			t.Errorf("failure %d: %s", i+1, a)
		}
	}
	// A trial confirms that the failures are the worker's, not the caller's inputs'.
	d.until(waitLimit, "it is open", func() bool { return d.model("moody").Breaker == messages.ModelView_open })
	opened := time.Now()
	a := d.post("/v1/chat/completions", question("moody", france))
	if a.status != 503 || a.code() != "CIRCUIT_BREAKER_OPEN" || a.header.Get("Retry-After") != "4" {
		t.Errorf("open: %s, Retry-After %q", a, a.header.Get("Retry-After"))
	}
	if got := d.metric("modelops_circuit_state", `model="moody"`); got != 1 {
		t.Errorf("modelops_circuit_state is %v", got)
	}
	// The first request after the pause is let through, fails, and opens it again.
	d.until(waitLimit, "it is half open", func() bool { return d.model("moody").Breaker == messages.ModelView_half_open })
	if waited := time.Since(opened); waited < 3*time.Second {
		t.Errorf("it was half open after %s", waited)
	}
	if a := d.post("/v1/chat/completions", question("moody", france)); a.status != 500 {
		t.Errorf("half open: %s", a)
	}
	if a := d.post("/v1/chat/completions", question("moody", france)); a.status != 503 {
		t.Errorf("open again: %s", a)
	}
	d.knob(engine, 200)
	d.until(waitLimit, "it is half open again", func() bool { return d.model("moody").Breaker == messages.ModelView_half_open })
	d.answers("moody")
	d.answers("moody")
	if got := d.model("moody").Breaker; got != messages.ModelView_closed {
		t.Errorf("the breaker is %s", got)
	}
	var states []string
	d.until(waitLimit, "the journal has it", func() bool {
		states = d.breakerStates("moody")
		return len(states) > 0 && states[len(states)-1] == "closed"
	})
	if states[0] != "open" {
		t.Errorf("the journal tells of %v", states)
	}
}

func (d *daemon) breakerStates(model string) []string {
	d.t.Helper()
	r := journalOver(d.nats())
	var out []string
	err := r.Replay(d.t.Context(), journal.Query{Actor: modelID(model)}, func(rec messages.Recorded) error {
		for _, e := range rec.Events {
			if b, ok := e.(*messages.BreakerChanged); ok {
				if name := messages.EventName(e); name != "model.breaker_changed" {
					d.t.Errorf("it is called %s", name)
				}
				out = append(out, b.State.String())
			}
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// TestS10DeafWorker: an engine that ignores SIGTERM does not outlive a good stop.
func TestS10DeafWorker(t *testing.T) {
	t.Parallel() // it waits more than it works
	d := start(t, "models:\n  declare:\n"+fakeModel(t, "deaf", "--deaf"))
	d.answers("deaf")
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := processesOf(d.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	d.launch()
	d.awaitPhase("deaf", "ready")
	d.answers("deaf")
}
