//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// two are hosts with a model each, whose worker is fast, and one that both declare.
func two(t *testing.T, more string) (main, pc2 *daemon) {
	t.Helper()
	main, pc2 = pair(t, func(host string) string {
		own := map[string]string{"main_pc": "here", "pc2": "there"}[host]
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {preload: [{name: %s}], declare: {%s: %s, both: %s}}\n%s", own, own, worker(t, ""), worker(t, ""), more)
	})
	main.awaitPhase("here", "ready")
	pc2.awaitPhase("there", "ready")
	main.until(startLimit, "each host knows the other's model", func() bool {
		return main.phaseAt("there", "pc2") == "ready" && pc2.phaseAt("here", "main_pc") == "ready"
	})
	return main, pc2
}

// readView reads a message as the doors write it.
func readView(body []byte, out proto.Message) error {
	return (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, out)
}

// TestOneHostIsAsked: at every door a question may be for one host, and answers say which host said them, and how old they are.
func TestOneHostIsAsked(t *testing.T) {
	main, _ := two(t, "")
	names := func(models []*messages.ModelView) (out string) {
		for _, m := range models {
			out += m.Host + "/" + m.Name + " "
		}
		return out
	}
	client := main.control(t)
	for host, want := range map[string]string{"main_pc": "main_pc/both main_pc/here ", "pc2": "pc2/both pc2/there ", "": "main_pc/both pc2/both main_pc/here pc2/there "} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), messages.HostHeader, host)
		if s, err := client.GetStatus(ctx, nil); err != nil || names(s.Models) != want || host == "pc2" && (len(s.Hosts) != 1 || s.Host.GetHost() != "pc2") {
			t.Errorf("gRPC, %q: %v, %v", host, s, err)
		}
		out := &messages.StatusView{}
		if a := main.get("/status?host=" + host); readView(a.body, out) != nil || names(out.Models) != want {
			t.Errorf("HTTP, %q: %s", host, a)
		}
		nc := main.nats()
		m := nats.NewMsg("modelops.v1.status")
		m.Header.Set(messages.HostHeader, host)
		if r, err := nc.RequestMsg(m, waitLimit); err != nil || readView(r.Data, out) != nil || names(out.Models) != want {
			t.Errorf("NATS, %q: %v, %v", host, r, err)
		}
	}
	if _, err := client.GetStatus(metadata.AppendToOutgoingContext(t.Context(), messages.HostHeader, "pc9"), nil); err == nil || !strings.Contains(err.Error(), "no member") {
		t.Errorf("a stranger: %v", err)
	}
	var list struct {
		Data []struct {
			ID   string
			Meta struct {
				Host  string
				AgeMs int64 `json:"age_ms"`
			}
		}
	}
	a := main.get("/v1/models?host=pc2")
	if json.Unmarshal(a.body, &list) != nil || len(list.Data) != 2 || list.Data[1].ID != "there" || list.Data[1].Meta.Host != "pc2" {
		t.Errorf("models of pc2: %s", a)
	}
	if a := main.get("/health?verbose"); !strings.Contains(string(a.body), `"host":"main_pc"`) || !strings.Contains(string(a.body), `{"host":"pc2","age_ms":`) {
		t.Errorf("health: %s", a)
	}
	if o := main.cli("ps", "--host", "pc2"); !strings.HasPrefix(o.out, "HOST") || !strings.Contains(o.out, "there") || strings.Contains(o.out, "main_pc") {
		t.Errorf("ps: %s", o)
	}
	if o := main.cli("queue", "--host", "pc2"); o.code != 0 {
		t.Errorf("queue: %s", o)
	}
	main.post("/v1/chat/completions", chatBody("there", ""))
	if n := main.metric("modelops_requests_total", `model="there"`, `code="200"`); n != 1 {
		t.Errorf("%v requests for there are counted under its name: %s", n, main.get("/metrics").body)
	}
	main.twin()
	main.until(waitLimit, "the standby is shown at the other host", func() bool {
		v, err := client.GetCluster(t.Context(), nil)
		return err == nil && len(v.Members) == 2 && v.Members[0].Standby && !v.Members[1].Standby
	})
	if o := main.cli("cluster"); !strings.Contains(o.out, "alive, standby") {
		t.Errorf("cluster: %s", o)
	}
}

// TestRoutesHoldOnEveryHost: a swap at the host that declares a name holds for requests that come in at another one.
func TestRoutesHoldOnEveryHost(t *testing.T) {
	main, _ := pair(t, func(host string) string {
		return labDevices(map[string]string{"main_pc": plays(t, "here", "", "vram_mb: 100"), "pc2": plays(t, "old", "", "vram_mb: 100") + plays(t, "new", "", "vram_mb: 100")}[host])
	})
	main.until(startLimit, "main_pc knows what pc2 declares", func() bool { return strings.Contains(main.cli("models").out, "old") })
	answers := func(text string) func() bool {
		return func() bool {
			got, a := main.chat("old", "hello")
			return got == text && a.header.Get("X-Modelops-Host") == "pc2"
		}
	}
	main.until(startLimit, "the model answers", answers("old"))
	if o := main.cli("swap", "old=new", "--judge", "1s", "--host", "pc2"); o.code != 0 {
		t.Fatal(o)
	}
	main.until(startLimit, "the name leads to the new model here too", answers("new"))
	if o := main.cli("swap", "old", "--rollback", "--host", "pc2"); o.code != 0 {
		t.Fatal(o)
	}
	main.until(startLimit, "the name leads to the old model again", answers("old"))
}
