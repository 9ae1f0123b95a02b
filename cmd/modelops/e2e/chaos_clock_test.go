//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/journal"
	"modelops/messages"
)

// jumped is a daemon with what takes its time while the wall clock jumps: leases, pins, keep_alive and the pause of a model that fails.
type jumped struct {
	*chaos
	gpu     messages.ActorID
	granted map[string]time.Time // leases of 20 s that nobody renews, by the real clock
}

// begin takes a lease that isn't renewed, and pins, keeps and fails what must end in time however the clock jumps.
func (c *jumped) begin(name string) {
	c.t.Helper()
	nc := c.dial()
	defer nc.Close()
	c.shortly("v2")
	c.granted[name] = time.Now() // before it was: no load makes it look shorter than it was
	if _, err := command(nc, c.gpu, &messages.ReserveVram{Lease: name, Holder: "client/e2e", Bytes: 1 << 20, TtlSeconds: 20}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := command(nc, modelID("v2"), &messages.PinModel{Owner: name, TtlSeconds: 20}); err != nil {
		c.t.Fatal(err)
	}
	c.asks("dies")
}

// shortly asks a model until it answers, to stay five seconds from then on.
func (c *jumped) shortly(model string) {
	c.t.Helper()
	c.until(waitLimit, model+" answers", func() bool {
		return c.post("/v1/chat/completions", question(model, "hello", "keep_alive", "5s")).status == 200
	})
}

// ends waits until all of it has ended, which a wall clock that was set back must not put off for an hour. A lease ends no earlier than its rule.
func (c *jumped) ends(name string) {
	c.t.Helper()
	nc := c.dial()
	defer nc.Close()
	after, expired := uint64(0), false
	c.until(waitLimit, name+" ends", func() bool {
		err := journalOver(nc).Replay(c.t.Context(), journal.Query{Actor: c.gpu, After: after}, func(r messages.Recorded) error {
			after = r.Sequence
			for _, e := range r.Events {
				x, ok := e.(*messages.LeaseExpired)
				expired = expired || ok && x.Lease == name
			}
			return nil
		})
		return err == nil && expired
	})
	if lasted := time.Since(c.granted[name]); lasted < 19*time.Second {
		c.t.Errorf("lease %s of 20 s lasted %s", name, lasted)
	}
	c.until(waitLimit, "v2 leaves when its pin and its keep_alive are over", func() bool { return c.model("v2").Phase == messages.ModelView_absent })
	tried := c.model("dies").Attempt
	c.until(waitLimit, "the failing model is tried again", func() bool {
		c.asks("dies")
		return c.model("dies").Attempt > tried
	})
	err := journalOver(nc).Replay(c.t.Context(), journal.Query{Actor: modelID("kept")}, func(r messages.Recorded) error {
		for _, e := range r.Events {
			if x, ok := e.(*messages.ModelUnwanted); ok && x.EvictedFor == "" && strings.Contains(x.Reason, "idle time") { // it may be evicted
				c.t.Errorf("%s: kept was to stay for half an hour: %s", name, x)
			}
		}
		return nil
	})
	if err != nil {
		c.t.Error(err)
	}
}

// renew keeps a lease of a minute alive until stopped.
func (c *jumped) renew() (stop func()) {
	c.t.Helper()
	nc := c.dial()
	s, err := command(nc, c.gpu, &messages.ReserveVram{Lease: "renewed", Holder: "client/renews", Bytes: 1 << 20, TtlSeconds: 60})
	nc.Close()
	if err != nil {
		c.t.Fatal(err)
	}
	p := &pressure{at: c.at, key: c.operatorKey()}
	r, done, ended := &redialled{p: p}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if nc, life := r.get(c.t.Context()); nc != nil {
				_, _ = commandWithin(life, nc, c.gpu, &messages.RenewLease{Lease: "renewed", Holder: "client/renews", Epoch: s.Sequence})
			}
			select {
			case <-done:
				return
			case <-time.After(time.Second): // meant to pass: the next renewal
			}
		}
	}()
	return func() { close(done); <-ended }
}

// TestChaosClock sets the wall clock of the daemon an hour on, an hour back, and five seconds to and fro, under load and with starts in between.
// No lease, pin or keep_alive ends early, none of them nor a pause waits for the hour, and the journal's times stay in order.
func TestChaosClock(t *testing.T) {
	clock := newWallClock(t)
	c := &jumped{chaos: pressable(t, ""), gpu: messages.GPUActor("main_pc", "gpu0"), granted: map[string]time.Time{}}
	c.addModel(plays(t, "dies", "--load 50ms --dies broken", "vram_mb: 100") + plays(t, "kept", "--load 30ms", "vram_mb: 100", "ttl: 30m"))
	c.binary, c.env = skewable(t), append(c.env, clock.env())
	c.launch()
	c.awaitPhase("light", "ready")
	if a := c.post("/v1/chat/completions", question("kept", "hello", "keep_alive", "30m")); a.status != 200 {
		t.Fatal(a)
	}
	p := c.press()
	stop := c.renew()
	for _, jump := range []struct {
		name  string
		by    time.Duration
		again bool // the daemon is killed and started while the clock is off
	}{{"on", time.Hour, false}, {"back", -time.Hour, false}, {"back-again", -time.Hour, true}, {"on-again", 2 * time.Hour, true}, {"right", -time.Hour, true}} {
		c.begin(jump.name)
		clock.jump(jump.by)
		if jump.again {
			c.kill()
			c.launch()
			c.shortly("v2") // a start doesn't know what callers asked for
		}
		for range 10 {
			clock.jump(5 * time.Second)
			due(time.Now().Add(100 * time.Millisecond))
			clock.jump(-5 * time.Second)
			due(time.Now().Add(100 * time.Millisecond))
		}
		c.ends(jump.name)
		t.Logf("%s: the clock was set by %s", jump.name, jump.by)
	}
	stop()
	if v := c.status(); !slices.ContainsFunc(v.Gpus[0].Reservations, func(r *messages.Reservation) bool { return r.Lease == "renewed" }) {
		t.Error("the lease that was renewed is gone")
	}
	if out := c.cli("why", "a"); out.code != 0 {
		t.Errorf("why: %s", out)
	}
	p.endsWell("after jumps of the clock")
	c.keepsOrder()
}

// keepsOrder: the times of an actor's decisions are in order, and no actor's are an hour before another's. Decisions of several actors are stored in
// another order than they were made in, some milliseconds apart.
func (c *jumped) keepsOrder() {
	c.t.Helper()
	nc := c.dial()
	defer nc.Close()
	last, latest := map[messages.ActorID]time.Time{}, time.Time{}
	err := journalOver(nc).Replay(c.t.Context(), journal.Query{}, func(r messages.Recorded) error {
		if r.At.Before(last[r.Actor]) || latest.Sub(r.At) > 30*time.Minute {
			c.t.Errorf("sequence %d of %s is dated %s, its last decision %s, the latest of all %s", r.Sequence, r.Actor, r.At, last[r.Actor], latest)
		}
		last[r.Actor] = r.At
		if r.At.After(latest) {
			latest = r.At
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// addModel adds a declaration.
func (c *chaos) addModel(declaration string) {
	c.t.Helper()
	config := c.configuration()
	if strings.Count(config, "    nap:\n") != 1 {
		c.t.Fatal("the configuration has no model nap")
	}
	c.write("cluster.yaml", strings.Replace(config, "    nap:\n", declaration+"    nap:\n", 1))
}
