package gateway

import (
	"context"
	"testing"
	"testing/synctest"

	"modelops/messages"
)

// A request is cancelled by its id while it waits or runs, also at a canary. Its place is free afterwards; other requests stay.
func TestCancelByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "ready")
		as := func(id string) context.Context {
			return messages.WithCaller(t.Context(), messages.Caller{RequestID: id})
		}
		runs, err := g.Admit(as("runs"), "tiny")
		if err != nil {
			t.Fatal(err)
		}
		waits, stays := admit(g, as("waits")), admit(g, as("stays"))
		for id, want := range map[string]bool{"": false, "unknown": false, "waits": true, "runs": true} {
			if got, _ := g.Cancel(id, messages.Principal{Role: messages.Role_ADMIN}); got != want {
				t.Errorf("%q: %t", id, got)
			}
		}
		if r := <-waits; messages.CodeOf(r.err) != messages.Cancelled {
			t.Errorf("the waiting one ended with %v", r.err)
		}
		<-runs.Ended.Done()
		if cause := context.Cause(runs.Ended); messages.CodeOf(cause) != messages.Cancelled {
			t.Errorf("the running one ended with %v", cause)
		}
		runs.Release(messages.Outcome{Err: context.Canceled})
		r := <-stays
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.grant.Release(messages.Outcome{})
		empty(t, g)
	})
}
