package gateway

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// A model that is on its way can't get there while the journal is away: the requests and loads that wait for it are told so, with the journal's code.
// For space or a repair, which need a person, they don't wait; for a store that doesn't answer they wait for some seconds.
func TestAWaitThatEndsWithoutAJournalSaysSo(t *testing.T) {
	for _, phase := range []string{"absent", "placing", "loading", "waiting", "draining", "stopping", "waking"} {
		for code, most := range map[messages.Code]time.Duration{messages.JournalFull: 2 * pool.SweepEvery, messages.JournalDamaged: 2 * pool.SweepEvery,
			messages.JournalUnavailable: journalPatience + 2*pool.SweepEvery} {
			t.Run(phase+" "+code.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g, end := withJournal(t, phase, func() error {
						return messages.NewError(code, "journal", "the disk has 0 KiB left").WithRetry(7 * time.Second)
					})
					defer end()
					began := time.Now()
					request, load := admit(g, t.Context()), ensure(g, t.Context())
					for _, err := range []error{(<-request).err, <-load} {
						if took := time.Since(began); took > most || most > journalPatience && took < journalPatience || messages.CodeOf(err) != code ||
							!strings.Contains(err.Error(), "0 KiB left") || messages.AsError(err).Retry != 7*time.Second {
							t.Errorf("after %s: %v", took, err)
						}
					}
					empty(t, g)
				})
			})
		}
	}
}

// withJournal is a gateway that runs, and whose requests may wait for a minute. The journal's error is asked for.
func withJournal(t *testing.T, phase string, ill func() error) (g *Gateway, end func()) {
	t.Helper()
	g, _ = rig(1, phase)
	g.o.Placer, g.o.JournalError, g.o.Figures.QueueTimeout = answers(waits), ill, time.Minute
	g.Refigure()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); g.Run(ctx) }()
	return g, func() { cancel(); <-ended }
}

// A short outage of the journal costs no request: each outage counts anew. One at a ready model doesn't wait for the journal, and one for a model that
// another host brings doesn't wait for this host's.
func TestWhatDoesNotNeedTheJournalWaitsOn(t *testing.T) {
	away := messages.NewError(messages.JournalUnavailable, "journal", "the store doesn't answer")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		g, end := withJournal(t, "loading", func() error {
			if time.Since(began)%(8*time.Second) < 6*time.Second {
				return away
			}
			return nil
		})
		defer end()
		request := admit(g, t.Context())
		time.Sleep(30 * time.Second)
		g.Update(view(1, "ready"))
		r := <-request
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.grant.Release(messages.Outcome{})
	})
	full := func() error { return messages.NewError(messages.JournalFull, "journal", "full") }
	synctest.Test(t, func(t *testing.T) {
		g, end := withJournal(t, "ready", full)
		defer end()
		first := <-admit(g, t.Context())
		second := admit(g, t.Context())
		time.Sleep(30 * time.Second)
		first.grant.Release(messages.Outcome{})
		if r := <-second; r.err != nil {
			t.Error(r.err)
		} else {
			r.grant.Release(messages.Outcome{})
		}
	})
	synctest.Test(t, func(t *testing.T) {
		g, end := withJournal(t, "absent", full)
		defer end()
		g.Update(at("pc2", "tiny", 1, "loading"))
		request := admit(g, t.Context())
		time.Sleep(30 * time.Second)
		g.Update(at("pc2", "tiny", 1, "ready"))
		if r := <-request; r.err != nil {
			t.Error(r.err)
		} else {
			r.grant.Release(messages.Outcome{})
		}
	})
}
