//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// placedByAnother has a model loaded on one host by the arbiter of the other.
func placedByAnother(t *testing.T) (seat, owner *daemon, arbiter, at, model string) {
	main, pc2 := pair(t, func(host string) string {
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {of_%s: %s}}\n", host, worker(t, ""))
	})
	main.until(startLimit, "both follow one arbiter that has taken over", func() bool {
		a, errA := main.control(t).GetCluster(t.Context(), nil)
		b, errB := pc2.control(t).GetCluster(t.Context(), nil)
		arbiter = a.GetArbiter()
		return errA == nil && errB == nil && arbiter == b.GetArbiter() && a.ArbiterEpoch > 0 && a.ArbiterEpoch == b.ArbiterEpoch && len(a.Members) == 2
	})
	seat, owner, at = main, pc2, "pc2"
	if arbiter == "pc2" {
		seat, owner, at = pc2, main, "main_pc"
	}
	model = "of_" + at
	if a := owner.post("/v1/chat/completions", chatBody(model, "")); a.status != 200 {
		t.Fatalf("%s", a)
	}
	return seat, owner, arbiter, at, model
}

// TestWhyAcrossHosts: each host explains the other's model, by the decision of the arbiter that placed it, at every door, and goes on after the
// other host was killed.
func TestWhyAcrossHosts(t *testing.T) {
	seat, owner, arbiter, at, model := placedByAnother(t)
	whys := func(d *daemon, host string) *messages.Explanation {
		x, err := d.control(t).Why(t.Context(), &messages.WhyRequest{Subject: model, Host: host})
		if err != nil {
			t.Logf("%s --host %q: %v", model, host, err)
		}
		return x
	}
	for _, d := range []*daemon{seat, owner} {
		for _, host := range []string{"", at} {
			d.until(startLimit, "the decision of the arbiter's host is named", func() bool {
				x := whys(d, host)
				return x.GetHost() == at && x.GetSaidBy() == at && strings.Contains(x.GetSummary(), model+" is ready on gpu0") && strings.Contains(x.GetSummary(), " of "+arbiter+" chose gpu0")
			})
		}
	}
	if out := seat.typed("why", model); !strings.Contains(out, "HOST") || !strings.Contains(out, arbiter+"  ") || !strings.Contains(out, at+"  ") {
		t.Error(out)
	}
	if a := seat.get("/why/" + model + "?host=" + at); a.status != 200 || !strings.Contains(string(a.body), " of "+arbiter+" chose") {
		t.Errorf("%s", a)
	}
	nc := seat.dial()
	defer nc.Close()
	if m, err := nc.Request("modelops.v1.why."+model, nil, startLimit); err != nil || !strings.Contains(string(m.Data), " of "+arbiter+" chose") {
		t.Errorf("%v, %v", m, err)
	}
	if o := seat.cli("why", model, "--host", arbiter); o.code == 0 {
		t.Errorf("%s doesn't have it: %s", arbiter, o)
	}

	owner.kill()
	before := time.Now()
	seat.until(startLimit, "the copy answers", func() bool {
		x := whys(seat, "")
		return x.GetHost() == at && x.GetSaidBy() == arbiter && strings.HasPrefix(x.GetSummary(), at+" can't be reached. By its journal, which "+arbiter+" has up to decision ") &&
			strings.Contains(x.Summary, model+" is ready on gpu0") && strings.Contains(x.Summary, " chose gpu0")
	})
	x := whys(seat, at)
	if n := len(x.GetCopies()); n != 1 || x.Copies[0].Host != at || x.Copies[0].Copied == 0 || time.Duration(x.Copies[0].AgeMs)*time.Millisecond > time.Since(before)+startLimit {
		t.Errorf("%v", x)
	}
	seat.kill()
	seat.launch() // nobody tells it of the other host's models now: the copy does
	seat.until(startLimit, "the copy answers after a restart", func() bool {
		x := whys(seat, "")
		return x.GetHost() == at && strings.Contains(x.GetSummary(), "can't be reached. By its journal")
	})
}

// TestWatchAcrossHosts: each host tells of the decisions of both as they come, the arbiter's before what the other host did for it, as a stream and on
// the command line.
func TestWatchAcrossHosts(t *testing.T) {
	seat, owner, arbiter, at, model := placedByAnother(t)
	for _, d := range []*daemon{seat, owner} {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		resp, err := d.send(ctx, "GET", "/api/watch", nil, "Accept", "text/event-stream")
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		defer resp.Body.Close()
		in := bufio.NewScanner(resp.Body)
		in.Buffer(nil, 1<<20)
		in.Scan() // the stream has begun
		if _, err := owner.control(t).UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: model}); err != nil {
			t.Fatal(err)
		}
		owner.awaitPhase(model, "absent")
		if a := owner.post("/v1/chat/completions", chatBody(model, "")); a.status != 200 {
			t.Fatalf("%s", a)
		}
		decided := ""
		for in.Scan() {
			body, ok := strings.CutPrefix(in.Text(), "data: ")
			if !ok {
				continue
			}
			var e struct {
				Host, ID, Actor string
				Events          []struct{ Name string }
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err, body)
			}
			for _, ev := range e.Events {
				switch ev.Name {
				case "arbiter.placement_decided":
					if decided = e.ID; e.Host != arbiter {
						t.Errorf("%s decided: %s", e.Host, body)
					}
				case "gpu.vram_reserved", "model.load_started":
					if e.Host != at || decided == "" {
						t.Errorf("%s before the decision: %s", ev.Name, body)
					}
				}
			}
			if e.Actor == "model/"+at+"/"+model && strings.Contains(body, "model.ready") {
				break
			}
		}
		if err := in.Err(); err != nil || decided == "" {
			t.Errorf("decided %q, %v", decided, err)
		}
	}
	host := strings.Fields(seat.typed("journal", "tail", "-n", "500", "--type", "arbiter.placement_decided"))[0]
	if host != arbiter {
		t.Errorf("the decisions are of %s", host)
	}
}
