package gateway

import (
	"context"
	"testing"
	"testing/synctest"

	"modelops/messages"
)

// When the host stops, a request that waits is told so at once, and one that would have to wait isn't queued. One that runs goes on until the
// stop's time is over, and is told then.
func TestTheHostStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		runs := must(t, g)
		waits := admit(g, t.Context())
		g.Leave()
		g.Leave() // does nothing
		late := admit(g, t.Context())
		for name, c := range map[string]chan got{"waiting": waits, "late": late} {
			select {
			case r := <-c:
				if e := messages.AsError(r.err); r.err == nil || e.Code != messages.Unavailable || e.Retry == 0 {
					t.Errorf("%s: %v", name, r.err)
				}
			default:
				t.Fatalf("a %s request goes on waiting", name)
			}
		}
		if runs.Ended.Err() != nil {
			t.Error("a running request was ended at once")
		}
		g.EndRunning()
		if e := messages.AsError(context.Cause(runs.Ended)); e == nil || e.Code != messages.Unavailable || e.Retry == 0 {
			t.Errorf("a running request is told %v", e)
		}
		runs.Release(messages.Outcome{})
		empty(t, g)
	})
}
