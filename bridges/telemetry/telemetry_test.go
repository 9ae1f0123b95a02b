package telemetry

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"modelops/messages"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

func TestMetricsPageIsCurrent(t *testing.T) {
	const page = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(page, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != Markdown() {
		t.Errorf("docs/metrics.md differs from the catalogue (%v): run go test ./bridges/telemetry -update", err)
	}
}

// everything calls each method once.
func everything() *Metrics {
	m := New("1.2.3", "main_pc")
	m.SetModelStates([]*messages.ModelView{
		{Name: "tiny", Phase: messages.ModelView_ready, MeasuredBytes: 77, Active: 3, Queued: 2, Breaker: messages.ModelView_half_open, Spec: &messages.ModelSpec{Aliases: []string{"gpt"}}},
		{Name: "big", Phase: messages.ModelView_failed, Breaker: messages.ModelView_open},
	})
	m.SetGPUs([]*messages.GpuView{
		{Id: "gpu/main_pc/gpu0", Host: "main_pc", Device: "gpu0", CapacityBytes: 1 << 30, ReservedBytes: 5, ForeignBytes: 6, Reservations: make([]*messages.Reservation, 2),
			Reading: &messages.DeviceReading{UsedBytes: 3 << 20, UtilizationPct: 50}},
		{Id: "gpu/main_pc/gpu1", Host: "main_pc", Device: "gpu1", CapacityBytes: 1 << 30, Lost: true},
	})
	m.ObserveRequest("tiny", "200", "default", time.Second)
	m.ObserveRequest("gpt", "429", "default", time.Second)
	m.ObserveRequest("tiny", "499", "default", time.Second)
	m.ObserveRequest("anything", "404", "default", time.Second)
	m.ObserveFirstByte("tiny", time.Second)
	m.ObserveBatch("tiny", "/v1/embeddings", 7)
	m.ObserveQueueWait("tiny", time.Second)
	m.ObserveTokens("tiny", 5)
	m.ObserveLoad("tiny", "success", time.Second)
	m.ObserveLoad("big", "MODEL_LOAD_ERROR", time.Second)
	m.ObserveUnload("tiny", "success")
	m.ModelMoved("tiny")
	m.ObserveAppend(time.Millisecond, nil)
	m.Refused("http")(1)
	m.ObserveAppend(time.Millisecond, errors.New("full"))
	m.EventsAppended(3)
	m.SetJournalLag(4)
	m.ActorRestarted("model")
	m.DeviceNotRead("gpu1")
	m.DeviceNotRead("")
	m.LeaseGranted()
	m.LeaseExpired()
	m.LeaseReclaimed()
	m.LeaseFenced()
	m.PriorityInverted()
	m.WrongKey("http", true)
	m.ErrorTold("INTERNAL", "rest")
	m.SetArchive("main_pc", nil)
	m.SetArchive("main_pc", &messages.ArchiveView{Archived: 5, Sequence: 9})
	m.SetPeers(&messages.ClusterView{Members: []*messages.MemberView{{Host: "main_pc", Self: true, State: messages.MemberView_alive},
		{Host: "pc2", State: messages.MemberView_unreachable, BootId: "b", HeardMs: 1500, RttUs: 250, ClockOffsetMs: -2000, Sequence: 10, Copied: 7}, {Host: "pc3", State: messages.MemberView_expected}}},
		map[string]time.Duration{"pc2": 2 * time.Second})
	m.SetJobs([]*messages.JobView{{Phase: messages.JobView_running}, {Phase: messages.JobView_checkpointing}, {Phase: messages.JobView_paused}})
	m.JobEnded(messages.JobSpec_fine_tune, time.Minute)
	m.SetGoals([]*messages.GoalView{{Phase: messages.GoalView_active}, {Phase: messages.GoalView_paused, Spec: &messages.GoalSpec{Priority: "high"}}})
	m.HTTPRequest("GET", "/health", "200")
	m.HTTPRequest("BREW", "", "404")
	return m
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(func() { m.SetJournalLag(9) }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("%d %v", w.Code, err)
	}
	return string(b)
}

func TestEveryMetricIsFed(t *testing.T) {
	page := scrape(t, everything())
	for _, section := range sections {
		for _, m := range section.metrics {
			if !strings.Contains(page, "# TYPE "+m.name+" "+string(m.kind)+"\n") {
				t.Errorf("%s isn't on the page: nothing feeds it", m.name)
			}
		}
	}
}

func TestValues(t *testing.T) {
	page := scrape(t, everything())
	for _, line := range []string{
		`inference_requests_total{model="tiny",status="success"} 1`,
		`inference_requests_total{model="tiny",status="failure"} 1`,
		`inference_requests_total{model="tiny",status="cancelled"} 1`,
		`inference_requests_total{model="_unknown",status="failure"} 1`,
		`modelops_requests_total{class="default",code="429",host="main_pc",model="tiny"} 1`,
		`modelops_inference_requests_total{model_name="tiny",status="failure"} 2`,
		`modelops_bulkhead_rejections_total{operation="tiny"} 1`,
		`modelops_inference_duration_seconds_count{model_name="tiny"} 1`,
		`modelops_request_duration_seconds_count{model="tiny"} 3`,
		`model_load_latency_seconds_count 1`, `modelops_model_loads_total{model="big",result="MODEL_LOAD_ERROR"} 1`,
		`active_models 1`, `modelops_models_loaded_total 1`,
		`modelops_model_state{model="tiny",state="ready"} 1`, `modelops_model_state{model="tiny",state="absent"} 0`,
		`modelops_circuit_state{model="tiny"} 2`, `modelops_circuit_breaker_state{operation="big"} 1`,
		`modelops_queue_depth{model="tiny"} 2`, `modelops_bulkhead_active_requests{operation="tiny"} 3`,
		`gpu_vram_used_mb{gpu="gpu0"} 3`, `modelops_gpu_vram_reserved_bytes{gpu="gpu0",host="main_pc"} 5`, `modelops_leases{gpu="gpu0",host="main_pc"} 2`,
		`modelops_gpu_read_failures_total{gpu="_unknown",host="main_pc"} 1`, `modelops_gpu_read_failures_total{gpu="gpu1",host="main_pc"} 1`,
		`modelops_gpu_utilization_ratio{gpu="gpu0",host="main_pc"} 0.5`, `modelops_gpu_lost{gpu="gpu1",host="main_pc"} 1`, `modelops_vram_total_bytes 2.147483648e+09`,
		`modelops_journal_events_total 3`, `modelops_journal_append_failures_total 1`, `modelops_journal_append_seconds_count 1`,
		`modelops_journal_lag_events 9`, // the refresh ran before the scrape
		`modelops_peer_members{state="alive"} 1`, `modelops_peer_members{state="gone"} 0`, `modelops_peer_heard_age_seconds{peer="pc2"} 1.5`,
		`modelops_peer_report_age_seconds{peer="pc2"} 2`, `modelops_peer_rtt_seconds{peer="pc2"} 0.00025`, `modelops_peer_clock_offset_seconds{peer="pc2"} -2`, `modelops_peer_copy_lag_events{peer="pc2"} 3`,
		`modelops_archive_lag_events{host="main_pc"} 4`,
		`http_requests_total{code="404",method="_unknown",path="_unknown"} 1`, `http_requests_total{code="200",method="GET",path="/health"} 1`,
		`modelops_service_info_info{component="modelops_coordinator",version="1.2.3"} 1`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if strings.Contains(page, `gpu_vram_used_mb{gpu="gpu1"}`) {
		t.Error("a device without a reading shows a use")
	}
}

// A model that another host alone declares is counted under its name, and only what is counted here is shown.
func TestModelsOfOtherHostsAreNamed(t *testing.T) {
	m := New("dev", "main_pc")
	m.SetModelStates([]*messages.ModelView{{Name: "tiny", Phase: messages.ModelView_ready}}, &messages.ModelView{Name: "far", Spec: &messages.ModelSpec{Aliases: []string{"f"}}})
	for _, name := range []string{"far", "f", "nowhere"} {
		Requests{m}.RequestDone(name, 0, 0)
	}
	page := scrape(t, m)
	for _, want := range []string{`inference_requests_total{model="far",status="success"} 2`, `inference_requests_total{model="_unknown",status="success"} 1`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s isn't in\n%s", want, page)
		}
	}
	if strings.Contains(page, `modelops_model_state{model="far"`) {
		t.Error("another host's model has a state here")
	}
}

func TestGoneThingsLoseTheirSeries(t *testing.T) {
	m := everything()
	m.SetModelStates([]*messages.ModelView{{Name: "tiny", Phase: messages.ModelView_absent}})
	m.counter("modelops_requests_total").WithLabelValues("big", "main_pc", "200", "") // by a request that ended in this moment
	m.SetModelStates([]*messages.ModelView{{Name: "tiny", Phase: messages.ModelView_absent}})
	m.SetGPUs(nil)
	m.SetPeers(&messages.ClusterView{}, nil)
	page := scrape(t, m)
	for _, gone := range []string{`peer="pc2"`, `state="failed"} 1`, `="big"`, `gpu="gpu0"`, `modelops_gpu_lost{`} {
		if strings.Contains(page, gone) {
			t.Errorf("still there: %s", gone)
		}
	}
	if !strings.Contains(page, `modelops_model_loads_total{model="tiny"`) {
		t.Error("the counters of another model are gone")
	}
	if got := m.known("gpt"); got != unknown {
		t.Errorf("a withdrawn alias is counted as %s", got)
	}
}

func TestNamesDoNotMakeSeries(t *testing.T) {
	m := everything()
	before := testutil.CollectAndCount(m.counter("modelops_requests_total"))
	for i := range 1000 {
		m.ObserveRequest(fmt.Sprint("made-up-", i), "404", "default", 0)
		m.ObserveFirstByte(fmt.Sprint("made-up-", i), 0)
		m.SetQueueDepth(fmt.Sprint("made-up-", i), 1)
	}
	if after := testutil.CollectAndCount(m.counter("modelops_requests_total")); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

func TestTwoSetsDoNotMeet(t *testing.T) {
	a, b := everything(), New("x", "h")
	if testutil.ToFloat64(b.counter("modelops_lease_granted_total")) != 0 || testutil.ToFloat64(a.counter("modelops_lease_granted_total")) != 1 {
		t.Error("two sets of metrics share something")
	}
	if got, err := prometheus.DefaultGatherer.Gather(); err != nil || strings.Contains(fmt.Sprint(got), "modelops") {
		t.Errorf("something of ours is in the global registry: %v", err)
	}
}

func TestNamesKeepTheRules(t *testing.T) {
	excused := map[string]bool{}
	for _, section := range sections {
		for _, m := range section.metrics {
			excused[m.name] = m.old != ""
		}
	}
	problems, err := testutil.GatherAndLint(everything().registry)
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string]bool{}
	for _, p := range problems {
		broken[p.Metric] = true
		if !excused[p.Metric] {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for name, is := range excused {
		if is && !broken[name] {
			t.Errorf("%s is excused, but nothing is wrong with it", name)
		}
	}
}

// Sums and maxima are over all devices, in any order; what a device holds for others is not what it promised.
func TestDevicesTogether(t *testing.T) {
	m := New("v", "h")
	m.SetGPUs([]*messages.GpuView{
		{Id: "gpu/h/gpu0", Host: "h", Device: "gpu0", CapacityBytes: 10, ReservedBytes: 5, ForeignBytes: 2, Reading: &messages.DeviceReading{UsedBytes: 7, UtilizationPct: 80}},
		{Id: "gpu/h/gpu1", Host: "h", Device: "gpu1", CapacityBytes: 20, Reading: &messages.DeviceReading{UsedBytes: 4, UtilizationPct: 30}},
	})
	page := scrape(t, m)
	for _, line := range []string{"modelops_vram_total_bytes 30", "modelops_vram_usage_bytes 11", "modelops_gpu_usage_percent 80",
		`modelops_gpu_vram_foreign_bytes{gpu="gpu0",host="h"} 2`, `modelops_gpu_vram_used_bytes{gpu="gpu1",host="h"} 4`, `modelops_gpu_lost{gpu="gpu0",host="h"} 0`} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
}

func TestStatusOfCodes(t *testing.T) {
	for code, want := range map[string]string{"200": "success", "101": "success", "304": "success", "OK": "success", "400": "failure", "500": "failure", "INTERNAL": "failure",
		"499": "cancelled", "CANCELLED": "cancelled", "": "failure", "1": "failure"} {
		if got := statusOf(code); got != want {
			t.Errorf("%q is a %s, want %s", code, got, want)
		}
	}
}

type named string

func TestTheLogKeepsSecrets(t *testing.T) {
	secret := regexp.MustCompile(`s3cr3t|once upon`)
	for _, format := range []string{"text", "json", ""} {
		var out bytes.Buffer
		log, err := NewLogger(&out, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("curl -H 'Authorization: Bearer s3cr3t' --api-key s3cr3t http://u:s3cr3t@host/ HF_TOKEN=s3cr3t sk-s3cr3ts3cr3t",
			"api_key", "s3cr3t", "Token", named("s3cr3t"), "client_secret", errors.New("s3cr3t"), "authorization", []string{"s3cr3t"}, "password", "s3cr3t",
			"prompt", "once upon", "content", "once upon", "Completion", "once upon", "messages", "once upon", "response_text", "once upon", "Set-Cookie", "s3cr3t", "error", fmt.Errorf("dial http://u:s3cr3t@host: %w", io.EOF), "url", named("http://u:s3cr3t@h"),
			"request", &messages.InferenceRequest{Prompt: "once upon"}, "header", map[string][]string{"X": {"s3cr3t"}}, "struct", struct{ A string }{"s3cr3t"},
			"args", []string{"--model", "m", "API_KEY=s3cr3t"}, slog.Group("auth_keys", "a", "s3cr3t"), slog.Group("g", "deep_key", "s3cr3t"))
		if secret.MatchString(out.String()) {
			t.Errorf("%s: %s", format, out.String())
		}
		out.Reset()
		log.Warn("loaded", "model", "tiny", "tokens", 42, "took", time.Second, "error", errors.New("disk is full"), "where", messages.HostActor("main_pc"))
		for _, want := range []string{"loaded", "tiny", "42", "disk is full", "host/main_pc", "WARN"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is missing in %s", format, want, out.String())
			}
		}
	}
}

func TestLogOptions(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	if out.Len() != 0 {
		t.Errorf("%s", out.String())
	}
	for _, bad := range [][2]string{{"loud", ""}, {"", "xml"}} {
		if _, err := NewLogger(&out, bad[0], bad[1]); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
