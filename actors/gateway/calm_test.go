package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

// Who waits for a calm queue is told when its last request gets a place, is refused or leaves. What the name is routed to doesn't matter.
func TestAwaitCalm(t *testing.T) {
	for name, ends := range map[string]func(*Gateway, *messages.Grant, context.CancelFunc){
		"it gets a place": func(_ *Gateway, g *messages.Grant, _ context.CancelFunc) { g.Release(messages.Outcome{}) },
		"it leaves":       func(_ *Gateway, _ *messages.Grant, leave context.CancelFunc) { leave() },
		"it is cancelled": func(g *Gateway, _ *messages.Grant, _ context.CancelFunc) {
			g.Cancel("r", messages.Principal{Role: messages.Role_ADMIN})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := rig(1, "ready")
				g.Update(worker("new", 1, "ready"))
				first := must(t, g)
				ctx, leave := context.WithCancel(messages.WithCaller(t.Context(), messages.Caller{RequestID: "r"}))
				defer leave()
				waits := admit(g, ctx)
				synctest.Wait()
				if !g.Awaited("tiny") || g.Awaited("new") || g.Awaited("nothing") {
					t.Error("a request waits for tiny only")
				}
				g.SetRoutes([]*messages.Route{{Name: "tiny", To: "new"}})
				hurried, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := g.AwaitCalm(hurried, "tiny"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a request waits: %v", err)
				}
				began, calm := time.Now(), make(chan error, 1)
				go func() { calm <- g.AwaitCalm(t.Context(), "tiny") }()
				time.Sleep(time.Second)
				ends(g, first, leave)
				if err := <-calm; err != nil || time.Since(began) != time.Second {
					t.Errorf("%v after %s", err, time.Since(began))
				}
				if r := <-waits; r.grant != nil {
					r.grant.Release(messages.Outcome{})
				}
				first.Release(messages.Outcome{})
				if g.Awaited("tiny") {
					t.Error("it is awaited after the last request")
				}
				if err := errors.Join(g.AwaitCalm(t.Context(), "tiny"), g.AwaitCalm(t.Context(), "nothing")); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
