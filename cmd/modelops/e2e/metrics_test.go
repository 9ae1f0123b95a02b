//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"modelops/messages"
)

// silent are metrics of what this test doesn't do: a series begins with its first sample. Those of other hosts begin in a cluster.
var silent = []string{"modelops_bulkhead_rejections_total", "modelops_gpu_read_failures_total", "modelops_wrong_keys_total",
	"modelops_peer_members", "modelops_peer_heard_age_seconds", "modelops_peer_report_age_seconds", "modelops_peer_rtt_seconds", "modelops_peer_clock_offset_seconds", "modelops_peer_copy_lag_events", "modelops_archive_lag_events", "modelops_model_moves_total"}

// TestMetrics: /metrics can be parsed, has the documented names and no others, and counts.
func TestMetrics(t *testing.T) {
	d := start(t, "resources: {gpu_poll_interval: 1}\n"+oneTiny)
	d.awaitPhase("tiny", "ready")
	for range 3 {
		d.answers("tiny")
	}
	d.post("/v1/chat/completions", question("nobody", france))
	d.post("/v1/embeddings", object{"model": "tiny", "input": france})
	nc := d.nats()
	if _, err := ask(nc, "infer.tiny", object{"prompt": france}); err != nil {
		t.Fatal(err)
	}
	if _, err := command(nc, modelID("tiny"), &messages.Crash{Reason: "drill"}); err == nil {
		t.Error("the drill was no drill")
	}
	d.answers("tiny")
	d.unload("tiny")
	d.answers("tiny")
	d.until(waitLimit, "the device was read", func() bool { return d.metric("gpu_vram_used_mb") > 0 })
	types := parseMetrics(t, string(d.get("/metrics").body))
	documented := documentedMetrics(t)
	for name, kind := range documented {
		if types[name] != kind && !slices.Contains(silent, name) {
			t.Errorf("%s is a %s in docs/metrics.md, in /metrics a %q", name, kind, types[name])
		}
	}
	for name := range types {
		if documented[name] == "" && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("%s isn't in docs/metrics.md", name)
		}
	}
	for _, c := range []struct {
		name   string
		labels []string
		least  float64
	}{
		{"modelops_requests_total", []string{`model="tiny"`, `code="200"`}, 5},
		{"inference_requests_total", []string{`model="tiny"`, `status="success"`}, 6},
		{"modelops_requests_total", []string{`model="_unknown"`, `code="404"`}, 1},
		{"http_requests_total", []string{`path="/v1/chat/completions"`, `code="200"`}, 5},
		{"modelops_model_loads_total", []string{`model="tiny"`, `result="success"`}, 2},
		{"model_load_latency_seconds_count", nil, 2},
		{"modelops_model_state", []string{`model="tiny"`, `state="ready"`}, 1},
		{"active_models", nil, 1},
		{"modelops_errors_total", []string{`error_type="UNAVAILABLE"`, `component="nats"`}, 1},
		{"modelops_errors_total", []string{`error_type="HTTP_404"`, `component="http"`}, 1},
		{"modelops_journal_events_total", nil, 5},
		{"modelops_actor_restarts_total", []string{`kind="model"`}, 1},
		{"modelops_lease_granted_total", nil, 2},
	} {
		if got := d.metric(c.name, c.labels...); got < c.least {
			t.Errorf("%s%v is %v, want at least %v", c.name, c.labels, got, c.least)
		}
	}
}

var (
	commentLine = regexp.MustCompile(`^# (HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) .+|TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped))$`)
	sampleLine  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\[\\"n]|[^"\\])*",?)*\})? (\S+)$`)
)

// parseMetrics reads Prometheus' text format strictly and returns the type of each metric.
func parseMetrics(t *testing.T, text string) map[string]string {
	t.Helper()
	types := map[string]string{}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := commentLine.FindStringSubmatch(line); m != nil {
			if m[4] != "" {
				types[m[3]] = m[4]
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("no line of Prometheus' format: %q", line)
			continue
		}
		if _, err := strconv.ParseFloat(m[5], 64); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if types[family(m[1], types)] == "" {
			t.Errorf("a sample without a type: %q", line)
		}
		if series := m[1] + m[2]; seen[series] {
			t.Errorf("twice: %s", series)
		} else {
			seen[series] = true
		}
	}
	if len(seen) == 0 {
		t.Error("there is no metric")
	}
	return types
}

func family(sample string, types map[string]string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(sample, suffix); ok && types[name] != "" {
			return name
		}
	}
	return sample
}

var metricRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (counter|gauge|histogram) \\|")

func documentedMetrics(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range metricRow.FindAllStringSubmatch(string(raw), -1) {
		out[m[1]] = m[2]
	}
	if len(out) < 20 {
		t.Fatalf("only %d metrics in docs/metrics.md", len(out))
	}
	return out
}
