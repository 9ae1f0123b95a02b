//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// chaos is a daemon that is killed at random moments, under a light load.
type chaos struct {
	*daemon
	seed   uint64
	chance *rand.Rand
	phases map[string]int // of the model concerned, when the daemon was killed

	// Of a test that asks at each door.
	client messages.ModelOpsClient
	caller *nats.Conn

	// Of a test that spoils files.
	scratch string   // where programs run
	own     string   // the daemon's configuration
	files   []string // configurations of all kinds
}

// often is how many times a test does its harm: the number in the environment, else a few.
func often(name string, few int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return few
}

// seeded is CHAOS_SEED, or a new one.
func seeded(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("CHAOS_SEED=%d", seed)
	return seed
}

// chaosConfig is one simulated device on which a and b have room together, big only alone, and light always.
func chaosConfig(t *testing.T, program string) string {
	t.Helper()
	sized := func(name string, mb int, more ...string) string {
		return plays(t, name, "--load 30ms", append([]string{fmt.Sprintf("vram_mb: %d", mb), "min_residency: 0s"}, more...)...)
	}
	server := strings.Replace(base, "rest_port: 0", fmt.Sprintf("rest_port: %d", freePort(t)), 1)
	return strings.Replace(server, "runtimes:", "runtimes:\n  vllm: {binary: "+program+"}", 1) + `
log: {level: warn}
queue: {collation: 0s}
resources:
  vram_soft_limit_mb: 24000
  devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]
models:
  preload: [{name: light}]
  declare:
` + sized("light", 500, "pinned: true") + sized("a", 8000) + sized("b", 8000) + sized("big", 20000) +
		sized("v1", 2000, "aliases: [chat]") + sized("v2", 2000) +
		"    nap:\n      runtime: vllm\n      path: TINY\n      vram_mb: 4000\n      min_residency: 0s\n      sleep: 1h\n"
}

// prepareChaos makes a daemon's directory, with more at the end of its configuration.
func prepareChaos(t *testing.T, more string) *chaos {
	t.Helper()
	program := filepath.Join(t.TempDir(), "vllm")
	sleeperProgram(t, program)
	c := &chaos{daemon: prepare(t, chaosConfig(t, program)+more), seed: seeded(t), phases: map[string]int{}}
	c.chance = rand.New(rand.NewPCG(c.seed, 9))
	return c
}

func startChaos(t *testing.T) *chaos {
	t.Helper()
	c := prepareChaos(t, "")
	c.launch()
	c.awaitPhase("light", "ready")
	return c
}

// load asks a model from two callers until it is ended. What fails while the daemon is down is no finding; an internal error is.
func (c *chaos) load(model string) (end func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var callers sync.WaitGroup
	var answered, internal atomic.Int64
	url := c.at.HTTP
	for range 2 {
		callers.Go(func() {
			for ctx.Err() == nil {
				switch code, status := askAt(ctx, url, model); {
				case status == http.StatusOK:
					answered.Add(1)
				case code == "INTERNAL":
					internal.Add(1)
				}
				pause(c.t)
			}
		})
	}
	return func() {
		cancel()
		callers.Wait()
		if answered.Load() == 0 || internal.Load() > 0 {
			c.t.Errorf("of the load %d requests were answered and %d had internal errors", answered.Load(), internal.Load())
		}
		c.t.Logf("%d requests answered meanwhile", answered.Load())
	}
}

func askAt(ctx context.Context, url, model string) (code string, status int) {
	body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello"}]}`, model)
	r, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return "", 0
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	return resp.Header.Get("X-Modelops-Code"), resp.StatusCode
}

// deed is what the daemon does when it is killed: before brings the model to where it begins, act asks for it without waiting.
type deed struct {
	model  string
	before func(c *chaos, nc *nats.Conn)
	act    func(c *chaos, nc *nats.Conn)
}

func (c *chaos) ensure(models ...string) {
	c.t.Helper()
	for _, m := range models {
		c.until(waitLimit, m+" is ready", func() bool {
			switch c.model(m).Phase {
			case messages.ModelView_ready:
				return true
			case messages.ModelView_absent, messages.ModelView_failed, messages.ModelView_asleep:
				askAt(c.t.Context(), c.at.HTTP, m)
			}
			return false
		})
	}
}

func (c *chaos) absent(nc *nats.Conn, models ...string) {
	c.t.Helper()
	for _, m := range models {
		c.until(waitLimit, m+" is absent", func() bool {
			if c.model(m).Phase == messages.ModelView_absent {
				return true
			}
			_, _ = command(nc, modelID(m), &messages.UnloadModel{Reason: "chaos"})
			return false
		})
	}
}

// tell sends a command to a model and doesn't wait for what comes of it.
func tell(nc *nats.Conn, model string, m proto.Message) {
	if raw, err := sendBody(modelID(model), m); err == nil {
		_ = nc.PublishRequest("modelops.v1.send", nc.NewRespInbox(), raw)
		_ = nc.Flush()
	}
}

// asks sends a chat in the background; its answer may never come.
func (c *chaos) asks(model string) {
	url := c.at.HTTP
	go func() { askAt(c.t.Context(), url, model) }()
}

var deeds = map[string]deed{
	"load": {"a",
		func(c *chaos, nc *nats.Conn) { c.absent(nc, "big", "a") },
		func(c *chaos, nc *nats.Conn) { c.asks("a") }},
	"unload": {"a",
		func(c *chaos, nc *nats.Conn) { c.ensure("a") },
		func(c *chaos, nc *nats.Conn) { tell(nc, "a", &messages.UnloadModel{Reason: "chaos"}) }},
	"eviction": {"big",
		func(c *chaos, nc *nats.Conn) { c.absent(nc, "big"); c.ensure("a", "b") },
		func(c *chaos, nc *nats.Conn) { c.asks("big") }},
	"swap": {"v2",
		func(c *chaos, nc *nats.Conn) { c.ensure("v1") },
		(*chaos).swap},
	"sleep": {"nap",
		func(c *chaos, _ *nats.Conn) { c.napReady() },
		(*chaos).nap},
}

// swap begins a swap with a trial, ends one by hand, or has a worker replaced.
func (c *chaos) swap(nc *nats.Conn) {
	if c.chance.IntN(3) == 0 {
		tell(nc, "v1", &messages.ReplaceWorker{Replica: "v1", Attempt: c.model("v1").Attempt, Reason: "chaos"})
		return
	}
	if c.routed("chat") != "" {
		a := c.post("/api/swaps/chat/rollback", nil)
		if a.code() == "INTERNAL" {
			c.t.Errorf("rollback: %s", a)
		}
		return
	}
	a := c.post("/api/swaps", object{"name": "chat", "to": "v2", "canary_pct": 50, "min_requests": 4, "judge_seconds": 600})
	if a.code() == "INTERNAL" {
		c.t.Errorf("swap: %s", a)
	}
	for range 6 {
		c.asks("chat")
	}
}

func (c *chaos) napReady() {
	if c.model("nap").Phase == messages.ModelView_asleep && c.chance.IntN(2) == 0 {
		return // the next deed wakes it
	}
	c.ensure("nap")
}

func (c *chaos) nap(nc *nats.Conn) {
	if c.model("nap").Phase == messages.ModelView_asleep {
		c.asks("nap")
		return
	}
	tell(nc, "nap", &messages.SleepModel{Reason: "chaos"})
}

// round does a deed, kills the daemon at a random moment of it, and starts it again.
func (c *chaos) round(d deed, longest time.Duration) {
	c.t.Helper()
	nc := c.dial()
	defer nc.Close()
	d.before(c, nc)
	d.act(c, nc)
	at := c.chance.Float64()
	due(time.Now().Add(time.Duration(at * at * float64(longest)))) // most deeds are done in milliseconds: the early moments come more often
	c.phases[c.model(d.model).Phase.String()]++
	c.kill()
	c.launch()
}

// TestChaosKills kills the daemon (KILLS times, each) in a load, an unload, an eviction, a swap and a sleep, at random moments and under
// load. After each start it comes to rest, and ledger, processes and journal agree.
func TestChaosKills(t *testing.T) {
	kills := often("KILLS", 5)
	for _, name := range []string{"load", "unload", "eviction", "swap", "sleep"} {
		t.Run(name, func(t *testing.T) {
			c := startChaos(t)
			o := c.observer()
			end := c.load("light")
			began := time.Now()
			for i := range kills {
				c.round(deeds[name], 250*time.Millisecond)
				o.settles(fmt.Sprintf("kill %d of %s, CHAOS_SEED=%d", i+1, name, c.seed))
			}
			end()
			c.observer().settles("the whole journal after the last kill of " + name)
			if strings.Contains(c.log.String(), "panic") {
				t.Errorf("it panicked:\n%s", c.log.tail(100))
			}
			t.Logf("%d kills in %s; %s was %v", kills, time.Since(began).Round(time.Second), deeds[name].model, c.phases)
		})
	}
}
