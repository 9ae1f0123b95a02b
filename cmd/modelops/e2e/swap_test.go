//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// twoVersions declares v1, which chat means, and v2, whose engine gets the flags.
func twoVersions(t *testing.T, flags string) string {
	t.Helper()
	return "models:\n  declare:\n" + fakeModel(t, "v1", "") + "      aliases: [chat]\n" + fakeModel(t, "v2", flags)
}

// flow asks for a model all the time, from several callers, until it is ended. Both are counted.
type flow struct {
	end    chan struct{}
	ended  sync.WaitGroup
	mu     sync.Mutex
	asked  int
	failed []string
}

func (d *daemon) flow(model string) *flow {
	f := &flow{end: make(chan struct{})}
	for range 3 {
		f.ended.Go(func() {
			for {
				select {
				case <-f.end:
					return
				default:
				}
				resp, err := d.send(d.t.Context(), "POST", "/v1/chat/completions", question(model, france))
				f.note(resp, err)
			}
		})
	}
	return f
}

func (f *flow) note(resp *http.Response, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if err != nil {
		f.failed = append(f.failed, err.Error())
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f.failed = append(f.failed, resp.Status)
	}
}

func (f *flow) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// stop ends the flow and returns what failed.
func (f *flow) stop() []string {
	close(f.end)
	f.ended.Wait()
	return f.failed
}

// asked is how many requests a fake engine has answered.
func (d *daemon) asked(model string) int {
	d.t.Helper()
	resp, err := d.http().Get(d.model(model).Worker.Url + "/asked")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var n int
	if _, err := fmt.Fscan(resp.Body, &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (d *daemon) swaps() *messages.SwapList {
	d.t.Helper()
	list := &messages.SwapList{}
	a := d.get("/api/swaps")
	if err := protojson.Unmarshal(a.body, list); err != nil {
		d.t.Fatalf("/api/swaps: %v: %s", err, a)
	}
	return list
}

// routed is the model that answers a name other than declared, and the canary.
func (d *daemon) routed(name string) string {
	for _, r := range d.swaps().Routes {
		if r.Name == name {
			return strings.Trim(r.To+"/"+r.Canary, "/")
		}
	}
	return ""
}

func (d *daemon) swapPhase(name string) string {
	for _, s := range d.swaps().Swaps {
		if s.Name == name {
			return s.Phase.String()
		}
	}
	return ""
}

// TestSwapPromotes: while requests flow, a new version takes a share of them, then all; then it is rolled back by hand. No request fails.
func TestSwapPromotes(t *testing.T) {
	d := start(t, twoVersions(t, ""))
	d.answers("chat")
	f := d.flow("chat")
	if out := d.cli("swap", "chat=v2", "--canary", "30", "--requests", "20", "--wait"); out.code != 0 || !strings.Contains(out.out, "chat is answered by v2: 0 of 20") {
		t.Errorf("swap: %d, %s", out.code, out)
	}
	d.awaitPhase("v1", "absent")
	before := f.count()
	d.until(waitLimit, "requests flow on", func() bool { return f.count() > before+20 })
	if got := d.routed("chat"); got != "v2" {
		t.Errorf("chat leads to %q", got)
	}
	if out := d.cli("swap"); !strings.Contains(out.out, "promoted") || !strings.Contains(out.out, "chat") {
		t.Errorf("swap: %s", out)
	}
	if out := d.cli("models"); !strings.Contains(out.out, "v2 answers chat") {
		t.Errorf("models: %s", out)
	}
	d.explains("v2", "It answers chat", "promoted")
	d.explains("v1", "another model answers chat", "chat is answered by v2 instead")
	if out := d.cli("swap", "chat=v2"); out.code != 5 || !strings.Contains(out.err, "v2 answers it already") {
		t.Errorf("again: %d, %s", out.code, out)
	}
	if out := d.cli("swap", "chat", "--rollback", "--wait"); out.code != 0 || !strings.Contains(out.out, "chat is answered by v1") {
		t.Errorf("rollback: %d, %s", out.code, out)
	}
	d.awaitPhase("v2", "absent")
	before = f.count()
	d.until(waitLimit, "requests flow on", func() bool { return f.count() > before+20 })
	if got := d.routed("chat"); got != "" {
		t.Errorf("chat leads to %q", got)
	}
	if failed := f.stop(); len(failed) != 0 {
		t.Errorf("%d of %d requests failed: %q", len(failed), f.asked, failed[0])
	}
}

// TestSwapRollsBack: a new version that answers with errors is taken back by itself.
func TestSwapRollsBack(t *testing.T) {
	d := start(t, twoVersions(t, "--code 500"))
	d.answers("chat")
	f := d.flow("chat")
	out := d.cli("swap", "chat=v2", "--canary", "50", "--requests", "20", "--wait")
	if out.code != 1 || !strings.Contains(out.out, "requests failed, at most 5 % may") {
		t.Errorf("swap: %d, %s", out.code, out)
	}
	d.awaitPhase("v2", "absent")
	failed := f.stop()
	if len(failed) == 0 || len(failed) > 20 {
		t.Errorf("%d of %d requests failed", len(failed), f.asked)
	}
	for range 10 {
		d.answers("chat")
	}
	if got := d.routed("chat"); got != "" {
		t.Errorf("chat leads to %q", got)
	}
	if out := d.cli("swap", "--json"); !json.Valid([]byte(out.out)) || !strings.Contains(out.out, "rolled_back") {
		t.Errorf("swap --json: %s", out)
	}
	d.explains("v2", "rolled back", "at most 5 % may")
}

// TestSwapOfWhatCantLoad: the old version answers all the time, and the reason is told.
func TestSwapOfWhatCantLoad(t *testing.T) {
	d := start(t, "load: {retries: 0}\n"+twoVersions(t, "--nonsense"))
	d.answers("chat")
	f := d.flow("chat")
	if out := d.cli("swap", "chat=v2", "--wait"); out.code != 1 || !strings.Contains(out.out, "v2 doesn't get ready") {
		t.Errorf("swap: %d, %s", out.code, out)
	}
	if failed := f.stop(); len(failed) != 0 {
		t.Errorf("%d of %d requests failed: %q", len(failed), f.asked, failed[0])
	}
}

// TestSwapSurvivesKill: kill -9 in the middle of a trial and after it; both go on where they were.
func TestSwapSurvivesKill(t *testing.T) {
	d := start(t, twoVersions(t, ""))
	d.answers("chat")
	a := d.post("/api/swaps", object{"name": "chat", "to": "v2", "canary_pct": 50, "min_requests": 40, "judge_seconds": 600})
	if a.status != 200 || !strings.Contains(string(a.body), "preparing") {
		t.Fatalf("POST /api/swaps: %s", a)
	}
	d.until(waitLimit, "v2 is tried", func() bool { return d.swapPhase("chat") == "trying" })
	d.until(waitLimit, "v2 was asked", func() bool { d.answers("chat"); return d.asked("v2") > 0 })
	d.kill()
	d.launch()
	if got := d.swapPhase("chat"); got != "trying" {
		t.Fatalf("the swap is %s", got)
	}
	d.awaitPhase("v1", "ready")
	d.awaitPhase("v2", "ready")
	f := d.flow("chat")
	d.until(waitLimit, "v2 is promoted", func() bool { return d.swapPhase("chat") == "promoted" })
	d.awaitPhase("v1", "absent")
	if failed := f.stop(); len(failed) != 0 {
		t.Errorf("%d of %d requests failed: %q", len(failed), f.asked, failed[0])
	}
	d.kill()
	d.launch()
	before := d.asked("v2")
	d.answers("chat")
	if got := d.asked("v2"); d.routed("chat") != "v2" || got != before+1 {
		t.Errorf("chat leads to %q, v2 was asked %d times, then %d", d.routed("chat"), before, got)
	}
	if got := d.model("v1").Phase; got != messages.ModelView_absent {
		t.Errorf("v1 is %s", got)
	}
}

// TestSwapAndReload: a model is withdrawn while a name leads to it, and the configuration comes to say what was swapped.
func TestSwapAndReload(t *testing.T) {
	d := start(t, twoVersions(t, ""))
	d.answers("chat")
	swap := func() {
		if out := d.cli("swap", "chat=v2", "--judge", "1s", "--wait"); out.code != 0 || !strings.Contains(out.out, "no request came to it") {
			t.Fatalf("swap: %d, %s", out.code, out)
		}
		d.answers("chat")
		if got := d.routed("chat"); got != "v2" {
			t.Fatalf("chat leads to %q", got)
		}
	}
	apply := func(configuration string) {
		d.write("cluster.yaml", configuration)
		if out := d.cli("config", "apply"); out.code != 0 {
			t.Fatalf("config apply: %s", out)
		}
	}
	declared := func() {
		d.answers("chat")
		if got := d.routed("chat"); got != "" {
			t.Errorf("chat leads to %q", got)
		}
	}
	swap()
	apply(base + "models:\n  declare:\n" + fakeModel(t, "v1", "") + "      aliases: [chat]\n")
	declared()
	apply(base + twoVersions(t, ""))
	swap()
	apply(base + "models:\n  declare:\n" + fakeModel(t, "v2", "") + "      aliases: [chat]\n")
	declared()
	if a := d.post("/api/swaps/chat/rollback", nil); a.status != 404 || a.code() != "MODEL_NOT_FOUND" {
		t.Errorf("back to what is gone: %s", a)
	}
	if a := d.post("/api/swaps", object{"name": strconv.Quote("?"), "to": "v2"}); a.status != 404 {
		t.Errorf("an unknown name: %s", a)
	}
}
