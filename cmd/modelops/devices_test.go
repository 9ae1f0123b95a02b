package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/actors/gpu"
	"modelops/actors/view"
	"modelops/bridges/config"
	"modelops/messages"
)

const engineWord = "test-engine"

// wellness is the least that is a worker: it says that it is well.
func wellness(port string) int {
	err := http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"status":"ok"}`) }))
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// cards are two GPUs as a driver shows them: our workers hold what was reserved for them, and foreign programs what the test says.
type cards struct {
	b     *view.Projection
	blind bool // as in a container: the driver tells of no process that is ours

	mu       sync.Mutex
	stranger map[string]uint64
	held     map[string]map[int64]uint64 // what workers hold, seen at the latest reading
	lag      map[string]uint64           // what the driver still reports of those that are gone
}

const cardBytes = 24000 * messages.MiB

func (c *cards) Read(context.Context) ([]*messages.DeviceReading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*messages.DeviceReading
	for _, name := range []string{"gpu0", "gpu1"} {
		r := &messages.DeviceReading{Device: name, Kind: "cuda", Name: "card", Uuid: "GPU-" + name, CapacityBytes: cardBytes, UsedBytes: c.stranger[name]}
		now := map[int64]uint64{}
		for _, pid := range gpu.WorkerPIDs(c.b.Models()) {
			if bytes := gpu.Reserved(c.b.Models(), pid)[name]; bytes > 0 {
				now[pid] = bytes
			}
		}
		for pid, bytes := range c.held[name] {
			if now[pid] == 0 {
				c.lag[name] += bytes
			}
		}
		c.held[name] = now
		for pid, bytes := range now {
			r.UsedBytes += bytes
			if !c.blind {
				r.Processes = append(r.Processes, &messages.ProcessMemory{Pid: pid, Bytes: bytes})
			}
		}
		r.UsedBytes += c.lag[name]
		out = append(out, r)
	}
	return out, nil
}

func (c *cards) Faults() <-chan *messages.DeviceFault { return nil }
func (c *cards) Status() string                       { return "two cards" }
func (c *cards) Close() error                         { return nil }

// takes has a foreign program hold so many MiB of a card.
func (c *cards) takes(card string, mb uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stranger[card] = mb * messages.MiB
}

// settle has the driver see at last that what is gone is free; it tells how much that was.
func (c *cards) settle() (bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, lag := range c.lag {
		bytes += lag
		delete(c.lag, name)
	}
	return bytes
}

// onCards runs a daemon on two cards with models of 10000 MiB, a, b and c, and pair, which is split.
func onCards(t *testing.T, sections string, blind bool) (*daemon, *cards) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := sections + "server: {zmq_port: 0, grpc_port: 0, rest_port: 0, nats_port: 0, drain_timeout: 5s}\nmodels:\n  declare:\n"
	for _, m := range []string{"a: {vram_mb: 10000", "b: {vram_mb: 10000", "c: {vram_mb: 10000", "pair: {vram_mb: 20000, shards: 2"} {
		text += "    " + m + ", min_residency: 0s, cmd: \"" + self + " " + engineWord + " ${PORT}\"}\n"
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, []string{"MOC_DATA_DIR=" + filepath.Join(dir, "state")}, "h")
	if err != nil {
		t.Fatal(err)
	}
	c := &cards{blind: blind, stranger: map[string]uint64{}, held: map[string]map[int64]uint64{}, lag: map[string]uint64{}}
	d, err := launch(t.Context(), cfg, nil, slog.New(slog.DiscardHandler), func(_ context.Context, _ *config.Config, b *view.Projection, _ *slog.Logger) ([]devices, error) {
		c.b = b
		return []devices{c}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return d, c
}

func (d *daemon) loads(t *testing.T, model string) *messages.ModelView {
	t.Helper()
	if _, err := d.control.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: model}); err != nil {
		t.Fatalf("%s: %v", model, err)
	}
	return d.view.Model(messages.ModelActor(d.host, model))
}

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

// sees waits for what the view shows; every change of an actor is one of the view.
func (d *daemon) sees(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	for {
		change := d.view.Changed()
		if is() {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			t.Fatalf("never seen: %s; %v", what, d.view.ReadGPUs())
		}
	}
}

func (d *daemon) card(name string) *messages.GpuView {
	return d.view.GPU(messages.GPUActor(d.host, name))
}

const often = "resources: {gpu_poll_interval: 100ms, vram_soft_limit_mb: 50000}\n"

// TestStrangersTakeMemory: what isn't ours counts as soon as it is seen, our own memory never does, and the next load goes elsewhere.
func TestStrangersTakeMemory(t *testing.T) {
	for name, blind := range map[string]bool{"the driver names our workers": false, "the driver names no process": true} {
		t.Run(name, func(t *testing.T) {
			d, c := onCards(t, often, blind)
			if at := d.loads(t, "a").Placement.Gpu(); at != "gpu/h/gpu0" {
				t.Fatalf("a is on %s", at)
			}
			c.takes("gpu1", 6000)
			d.sees(t, "the stranger", func() bool { return d.card("gpu1").ForeignBytes == 6000*messages.MiB })
			d.sees(t, "our own worker is no stranger", func() bool { return d.card("gpu0").ForeignBytes == 0 })
			c.takes("gpu1", 16000)
			d.sees(t, "more of it", func() bool { return d.card("gpu1").ForeignBytes == 16000*messages.MiB })
			if at := d.loads(t, "b").Placement.Gpu(); at != "gpu/h/gpu0" { // the emptier card is too full by now
				t.Errorf("b is on %s", at)
			}
			c.takes("gpu1", 0)
			d.sees(t, "it left", func() bool { return d.card("gpu1").ForeignBytes == 0 })
		})
	}
}

// TestForeignPressure: with it, idle models leave when a foreign program needs the memory; without it they stay.
func TestForeignPressure(t *testing.T) {
	d, c := onCards(t, often+"scheduler: {foreign_pressure: true}\nqueue: {collation: 0s}\n", false)
	d.loads(t, "a")
	c.takes("gpu0", 12500)
	d.sees(t, "a leaves", func() bool { return d.view.Model(messages.ModelActor(d.host, "a")).Phase == messages.ModelView_absent })
}

// TestStrangersPushNobodyOut: without it, no more leave than our own use asks for.
func TestStrangersPushNobodyOut(t *testing.T) {
	d, c := onCards(t, "resources: {gpu_poll_interval: 1h, vram_soft_limit_mb: 50000, eviction_threshold_pct: 80}\nqueue: {collation: 0s}\n", false)
	phase := func(model string) string { return d.view.Model(messages.ModelActor(d.host, model)).Phase.String() }
	d.loads(t, "a")
	d.loads(t, "b")
	if at := d.loads(t, "c").Placement.Gpu(); at != "gpu/h/gpu0" { // 20000 of 23488 MiB: one of them is to leave
		t.Fatalf("c is on %s", at)
	}
	c.takes("gpu0", 12500)
	readings, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.sampler.Observe(t.Context(), readings[0])
	d.sees(t, "the stranger", func() bool { return d.card("gpu0").ForeignBytes == 12500*messages.MiB })
	d.sampler.Relieve(t.Context(), readings[0])
	d.sees(t, "one leaves", func() bool { return phase("a") == "absent" || phase("c") == "absent" })
	if phase("a") != "ready" && phase("c") != "ready" {
		t.Errorf("a is %s and c is %s", phase("a"), phase("c"))
	}
}

// TestASplitModelOnCards: its worker is bound to both, in the order of its shares, and its leases are given back when both are seen to be free.
func TestASplitModelOnCards(t *testing.T) {
	d, c := onCards(t, often, false)
	v := d.loads(t, "pair")
	if got := gpu.DeviceEnv(v.Placement, d.view.GPUs()); len(got) != 1 || got[0] != "CUDA_VISIBLE_DEVICES=GPU-gpu0,GPU-gpu1" {
		t.Errorf("%q", got)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", v.Worker.Pid))
	if err != nil || !strings.Contains(string(environ), "CUDA_VISIBLE_DEVICES=GPU-gpu0,GPU-gpu1\x00") {
		t.Errorf("its worker has another environment (%v)", err)
	}
	if back := gpu.DeviceEnv(&messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/gpu1"}, {Gpu: "gpu/h/gpu0"}}}, d.view.GPUs()); back[0] != "CUDA_VISIBLE_DEVICES=GPU-gpu1,GPU-gpu0" {
		t.Errorf("%q", back)
	}
	if got := d.sampler.Held(t.Context(), v.Placement); len(got) != 2 || got[0] != 10000*messages.MiB || got[1] != 10000*messages.MiB {
		t.Errorf("it holds %v", got)
	}
	d.sees(t, "what it holds of each", func() bool {
		return d.card("gpu0").Reservations[0].MeasuredBytes > 0 && d.card("gpu1").Reservations[0].MeasuredBytes > 0
	})
	d.tree.Tell(t.Context(), messages.ModelActor(d.host, "pair"), &messages.UnloadModel{})
	d.sees(t, "its worker is gone", func() bool {
		return d.view.Model(messages.ModelActor(d.host, "pair")).Phase == messages.ModelView_absent
	})
	d.sees(t, "the driver lags", func() bool { // that is foreign use, which the next poll tells the ledger
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.lag["gpu0"] > 0 && c.lag["gpu1"] > 0
	})
	if !d.view.Holds(messages.ModelActor(d.host, "pair")) {
		t.Error("its leases went home while its memory was in use")
	}
	if c.settle() != 20000*messages.MiB {
		t.Error("the driver saw something else")
	}
	d.sees(t, "its leases are home", func() bool { return !d.view.Holds(messages.ModelActor(d.host, "pair")) })
}
