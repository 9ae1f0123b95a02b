//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// worker is the fast engine as a model of runtime command.
func worker(t *testing.T, more string) string {
	return fmt.Sprintf("{cmd: '%q %s engine --port ${PORT} %s', vram_mb: 64}", self(t), roleWord, more)
}

// dismiss unloads a model and waits until its memory is free.
func (d *daemon) dismiss(t *testing.T, c messages.ModelOpsClient, model string) {
	t.Helper()
	if _, err := c.UnloadModel(t.Context(), &messages.ModelUnloadRequest{ModelName: model}); err != nil {
		t.Fatal(err)
	}
	d.awaitPhase(model, "absent")
}

func (d *daemon) fastChat(t *testing.T, model string) {
	t.Helper()
	if a := d.post("/v1/chat/completions", chatBody(model, "")); a.status != http.StatusOK {
		t.Fatalf("%s: %s", model, a)
	}
}

func measureColdStart(t *testing.T, f *findings) {
	d := start(t, fmt.Sprintf("models: {declare: {slow: %s}}\n", worker(t, "--ready-after 300ms")))
	c := d.control(t)
	var took []time.Duration
	for range 10 {
		began := time.Now()
		d.fastChat(t, "slow")
		took = append(took, time.Since(began))
		d.dismiss(t, c, "slow")
	}
	p50 := median(took)
	f.add(finding{"cold start, worker ready after 300 ms", "<= 350 ms", fmt.Sprintf("p50 %s, longest %s", ms(p50), ms(quantile(took, 1))), p50 <= 350*time.Millisecond,
		"an HTTP request for an absent model until its answer, 10 times; the worker listens 300 ms after the kernel started it"})
}

func measureKill(t *testing.T, f *findings) {
	d := start(t, fmt.Sprintf("models: {preload: [{name: kept}], declare: {kept: %s}}\n", worker(t, "")))
	d.awaitPhase("kept", "ready")
	before := d.pidsOf("kept")
	var took []time.Duration
	failed := 0
	for range 5 {
		d.kill()
		took = append(took, d.reborn(t, "kept"))
		for range 200 {
			if a := d.post("/v1/chat/completions", chatBody("kept", "")); a.status != http.StatusOK {
				failed++
				t.Logf("after the first answer: %s", a)
			}
		}
	}
	after, p50 := d.pidsOf("kept"), median(took)
	same := len(before) == 1 && len(after) == 1 && before[0] == after[0]
	what := "the same worker"
	if !same {
		what = fmt.Sprintf("workers %v became %v", before, after)
	}
	f.add(finding{"after kill -9: worker adopted, ready", "<= 1 s, no reload, no failed request after that",
		fmt.Sprintf("p50 %s, longest %s; %s; %d of 1,000 requests failed", ms(p50), ms(quantile(took, 1)), what, failed), p50 <= time.Second && same && failed == 0,
		"from the start of the new process to its first answer, 5 times, then 200 requests each"})
}

// reborn starts the daemon again and returns how long it took until the model answered.
func (d *daemon) reborn(t *testing.T, model string) time.Duration {
	t.Helper()
	began := time.Now()
	d.spawn()
	for time.Since(began) < startLimit {
		if d.announced() {
			if a := d.post("/v1/chat/completions", chatBody(model, "")); a.status == http.StatusOK {
				return time.Since(began)
			}
		}
		due(time.Now().Add(2 * time.Millisecond))
	}
	t.Fatalf("no answer within %s", startLimit)
	return 0
}

// reads /proc/PID/status in bytes.
func memoryOf(t *testing.T, pid int) (rss, anonymous uint64) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			rss = n << 10
		case "RssAnon:":
			anonymous = n << 10
		}
	}
	return rss, anonymous
}

// cpuOf is the processor time that a process has used.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func mb(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

func measureIdle(t *testing.T, f *findings) {
	d, _ := attached(t, "")
	d.fastChat(t, "fast")
	due(time.Now().Add(15 * time.Second))
	rss, anonymous := memoryOf(t, d.cmd.Process.Pid)
	f.add(finding{"memory, idle", "<= 60 MB", fmt.Sprintf("%.0f MB resident, of which %.0f MB anonymous and the rest the program's own pages", mb(rss), mb(anonymous)), mb(rss) <= 60,
		"VmRSS of the daemon 15 s after its start and one answer"})
}
