//go:build e2e

package e2e_test

import (
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
