//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"modelops/messages"
)

// haModels are both, which is ready on each host, and only, which is ready on the host that dies.
func (l *lab) haModels(string) string {
	return labDevices(sized(l.t, "both", 4000) + sized(l.t, "only", 4000))
}

// TestClusterOutlivesADeadHost kills a host (kill -9 of all its processes) while 200 requests a second run at the other one: the host that the client isn't
// bound to, once as that of the arbiter and once not. None of the survivor's requests fails, what was only on the dead host is loaded on the survivor, and counters go on.
func TestClusterOutlivesADeadHost(t *testing.T) {
	if !laboratory(t) {
		return
	}
	for _, arbiterDies := range []bool{true, false} {
		t.Run(fmt.Sprintf("arbiter dies %t", arbiterDies), func(t *testing.T) {
			l := newLab(t, "main_pc", "pc2")
			hosts := l.cluster(l.haModels)
			seat := l.agree(hosts...)
			dies, lives := seat, l.other(seat)
			if !arbiterDies {
				dies, lives = lives, dies
			}
			for _, h := range hosts {
				h.loaded("both")
			}
			dies.loaded("only")
			l.until("the survivor sees both models of the other", func() bool {
				return lives.modelOf(dies.name(), "only").Phase == messages.ModelView_ready && lives.modelOf(dies.name(), "both").Phase == messages.ModelView_ready
			})
			before := lives.metric("http_requests_total", `path="/v1/chat/completions"`)
			both := lives.load("both", often("LAB_RATE", 200), 0)
			only := lives.load("only", 10, 0)
			both.flows(200)
			only.flows(5)
			if n := lives.model("only").Phase; n != messages.ModelView_absent {
				t.Fatalf("only is %s on %s although %s has it", n, lives.name(), dies.name())
			}
			began := time.Now()
			dies.lose()
			l.until("only is on its way at the survivor", func() bool {
				p := lives.model("only").Phase
				return p == messages.ModelView_loading || p == messages.ModelView_ready
			})
			budget(l.t, "detection and the begin of the load", time.Since(began), 1700*time.Millisecond)
			both.flows(400)
			only.flows(5)
			l.until("the survivor has an arbiter", func() bool { return lives.cluster().GetArbiter() == lives.name() })
			both.stop()
			only.stop()
			t.Logf("%s\n%s", both, only)
			if both.bad() > 0 {
				t.Errorf("%d requests for both failed at the survivor: %s", both.bad(), both)
			}
			after := lives.metric("http_requests_total", `path="/v1/chat/completions"`)
			if want := before + float64(both.good()+only.good()+only.bad()); after < want {
				t.Errorf("http_requests_total was %v and is %v; %v were asked", before, after, want-before)
			}
			dies.launch()
			l.agree(hosts...)
			l.settle("after the return of "+dies.name(), hosts...)
		})
	}
}
