//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/messages"
)

// pace is a task of requests at a fixed rate, whether or not the former ones were answered.
type pace struct {
	URL     string        `json:"url"`
	Model   string        `json:"model"`
	Rate    int           `json:"rate"` // requests per second
	Callers int           `json:"callers"`
	For     time.Duration `json:"for"`
}

// pacedRole times each request from the moment it was due: a client that waits for a slow answer must not hide the ones behind it.
func pacedRole(args []string) error {
	task, err := taskOf[pace](args)
	if err != nil {
		return err
	}
	total := task.Rate * int(task.For/time.Second)
	turns := make(chan time.Time, total)
	results := make([]paced, task.Callers)
	var work sync.WaitGroup
	for i := range task.Callers {
		work.Go(func() { results[i].serve(task, turns) })
	}
	began := time.Now()
	for i := range total {
		at := began.Add(time.Duration(i) * time.Second / time.Duration(task.Rate))
		due(at)
		turns <- at
	}
	close(turns)
	work.Wait()
	var all paced
	for _, r := range results {
		all.took = append(all.took, r.took...)
		if all.errors += r.errors; r.err != nil {
			all.err = r.err
		}
	}
	out := answered{Count: len(all.took) + all.errors, Errors: all.errors, Rate: float64(len(all.took)) / time.Since(began).Seconds(),
		P50: quantile(all.took, 0.5), P95: quantile(all.took, 0.95), P99: quantile(all.took, 0.99)}
	if all.err != nil {
		out.Error = all.err.Error()
	}
	return report(out)
}

// paced is one caller's results.
type paced struct {
	took   []time.Duration
	errors int
	err    error
}

func (p *paced) serve(task pace, due <-chan time.Time) {
	var w *wire
	for at := range due {
		err := p.ask(&w, task)
		if err != nil {
			p.errors++
			p.err = err
			w.close()
			w = nil
			continue
		}
		p.took = append(p.took, time.Since(at))
	}
}

func (p *paced) ask(w **wire, task pace) (err error) {
	if *w == nil {
		if *w, err = dialWire(task.URL, chatBody(task.Model, "")); err != nil {
			return err
		}
	}
	return (*w).once()
}

func (w *wire) close() {
	if w != nil {
		_ = w.conn.Close()
	}
}

const mixedLoads = 50

// measureMixed asks one model a thousand times a second while fifty others are loaded and unloaded.
func measureMixed(t *testing.T, f *findings) {
	var declared strings.Builder
	for i := range mixedLoads {
		fmt.Fprintf(&declared, "    %s: %s\n", longName(i), strings.Replace(worker(t, ""), "vram_mb: 64", "vram_mb: 1000", 1))
	}
	d, _ := attached(t, declared.String()+"resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\n")
	c := d.control(t)

	var got answered
	var asking sync.WaitGroup
	var failed error
	own, all, began := cpuOf(t, d.cmd.Process.Pid), cpuOfMachine(t), time.Now()
	asking.Go(func() {
		failed = tryPerform(t, "paced", pace{URL: d.at.HTTP, Model: "fast", Rate: 1000, Callers: 256, For: 20 * time.Second}, &got)
	})
	over := loadAll(t, d, c, began)
	asking.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	wall := time.Since(began).Seconds() * float64(runtime.NumCPU())
	share, machine := (cpuOf(t, d.cmd.Process.Pid)-own).Seconds()/wall, (cpuOfMachine(t)-all).Seconds()/wall
	f.add(finding{"1,000 req/s mixed with 50 model loads", "p99 < 120 ms, CPU < 65 %, reserved memory <= limit at every sample",
		fmt.Sprintf("p50 %s, p99 %s, %d errors in %d requests (%.0f/s); daemon %.0f %% of all cores; %d samples over the limit", ms(got.P50), ms(got.P99), got.Errors, got.Count, got.Rate, share*100, over),
		got.P99 < 120*time.Millisecond && got.Errors == 0 && share < 0.65 && over == 0,
		fmt.Sprintf("each request timed from when it was due; 50 workers started, and ended two at a time behind, in 20 s on one simulated device; everything together, client and workers too, took %.0f %%", machine*100)})
	if got.Errors > 0 {
		t.Errorf("%d requests failed: %s", got.Errors, got.Error)
	}
}

// loadAll loads a model each 400 ms and unloads it ten loads later; it counts how often the device had promised more than it has.
func loadAll(t *testing.T, d *daemon, c messages.ModelOpsClient, began time.Time) (over int) {
	t.Helper()
	var work sync.WaitGroup
	for i := range mixedLoads {
		due(began.Add(time.Duration(i) * 400 * time.Millisecond))
		work.Go(func() {
			if r, err := c.LoadModel(t.Context(), &messages.ModelLoadRequest{ModelName: longName(i)}); err != nil || !r.Success {
				t.Errorf("load %s: %v", longName(i), err)
			}
		})
		if i >= 10 {
			work.Go(func() {
				if _, err := c.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: longName(i - 10)}); err != nil {
					t.Errorf("unload %s: %v", longName(i-10), err)
				}
			})
		}
		for _, g := range d.status().Gpus {
			if g.ReservedBytes > g.LimitBytes || g.LimitBytes > g.SoftLimitBytes {
				over++
			}
		}
	}
	work.Wait()
	return over
}

// cpuOfMachine is the processor time that anything has used since the machine's start.
func cpuOfMachine(t *testing.T) time.Duration {
	t.Helper()
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	var ticks int64
	for i, field := range strings.Fields(strings.SplitN(string(raw), "\n", 2)[0]) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the word, idle, waiting for disks, and guests, which count as user
			continue
		}
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
