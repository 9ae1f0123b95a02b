package natsapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestControl(t *testing.T) {
	c := &control{}
	_, nc := open(t, Options{Operations: c})

	load := &messages.ModelLoadReply{}
	answer(t, nc, "models.load.a/b.c", "", load)
	if load.ModelId != "a/b.c" {
		t.Error(load)
	}
	answer(t, nc, "models.load", `{"model_name":"x","model_path":"/m"}`, load)
	if load.ModelId != "x" || load.Message != "/m" {
		t.Error(load)
	}
	unload := &messages.ModelUnloadReply{}
	answer(t, nc, "models.unload.x", `{"force":true}`, unload)
	if unload.Message != "x" || !unload.Success {
		t.Error(unload)
	}
	list := &messages.ModelList{}
	answer(t, nc, "models.list", "", list)
	if list.TotalCount != 1 || list.Models[0].Name != "tiny" {
		t.Error(list)
	}
	status := &messages.StatusView{}
	answer(t, nc, "status", "", status)
	if status.JournalSequence != 42 {
		t.Error(status)
	}
	queue := &messages.QueueView{}
	answer(t, nc, "queue", "", queue)
	if queue.Queued != 1 || queue.Requests[0].RequestId != "r1" {
		t.Error(queue)
	}
	var ps struct{ Models []struct{ Name string } }
	answer(t, nc, "ps", "", &ps)
	if len(ps.Models) != 1 || ps.Models[0].Name != "tiny" {
		t.Error(ps)
	}
	state := &messages.StateReply{}
	answer(t, nc, "state", `{"actor":"model/main_pc/tiny"}`, state)
	if state.Actor != "model/main_pc/tiny" {
		t.Error(state)
	}
	sent := &messages.SendReply{}
	answer(t, nc, "send", `{"actor":"model/main_pc/tiny","command":"EnsureModel","body":{"reason":"x"}}`, sent)
	if sent.AnswerType != "model/main_pc/tiny EnsureModel operator" || sent.Answer.AsMap()["reason"] != "x" || sent.Sequence != 6 {
		t.Error(sent)
	}
	var version map[string]string
	var changes struct {
		Revision string
		DryRun   bool `json:"dry_run"`
	}
	answer(t, nc, "config.apply", `{"dry_run": true}`, &changes)
	if changes.Revision != "r2" || !changes.DryRun {
		t.Errorf("config.apply: %+v", changes)
	}
	answer(t, nc, "version", "", &version)
	if version["version"] != "v1.2.3" || version["host"] != "main_pc" {
		t.Error(version)
	}
	var health struct {
		OK      bool
		Oldest  int64 `json:"oldest_undecided_ms"`
		Reasons []string
	}
	answer(t, nc, "health", "", &health)
	if !health.OK {
		t.Error(health)
	}
	c.ill.Store(true)
	m := request(t, nc, "health", "", nil)
	read(t, m, &health)
	if health.OK || health.Oldest != 90000 || health.Reasons[0] != "stalled" || m.Header.Get(micro.ErrorCodeHeader) != "503" {
		t.Error(health, m.Header)
	}
}

func TestWhy(t *testing.T) {
	_, nc := open(t, Options{})
	why := &messages.Explanation{}
	answer(t, nc, "why", `{"subject":"a/b.c"}`, why)
	if why.Subject != "a/b.c" || why.Summary != "because" || len(why.WouldChange) != 1 {
		t.Error(why)
	}
	answer(t, nc, "why.a/b.c", "", why)
	if why.Subject != "a/b.c" {
		t.Error(why)
	}
}

func TestControlRefusals(t *testing.T) {
	_, nc := open(t, Options{})
	for _, c := range []struct{ subject, body, says string }{
		{"models.load", "", "empty"},
		{"models.load", "{}", "it is empty"},
		{"models.load.x", `{"model_name":"y"}`, "the subject names"},
		{"models.load.x", `{"path":"/m"}`, `unknown field "path"`},
		{"models.unload", "", "empty"},
		{"models.unload.x", `{"force":1}`, "force"},
		{"why", "", "empty"},
		{"why", "{}", "it is empty"},
		{"why.x", `{"subject":"y"}`, "the subject names"},
		{"state", "", "empty"},
		{"state", `{"actor":"model/main_pc/tiny","at":1}`, `unknown field "at"`},
		{"state", `{"actor":"arbiter"} {}`, "unexpected token"},
		{"send", `nonsense`, "not JSON"},
	} {
		e := failureOf(t, request(t, nc, c.subject, c.body, nil))
		if e.Code != messages.InvalidArgument || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s %s: %v", c.subject, c.body, e)
		}
	}
}

func TestMicroSeesTheService(t *testing.T) {
	_, nc := open(t, Options{Version: "dev build"})
	answer(t, nc, "infer.tiny", `{"prompt":"x"}`, &messages.InferenceResponse{})
	request(t, nc, "infer.tiny", ``, nil)
	_ = nc.Publish(root+".infer.tiny", []byte(`{"prompt":"no reply wanted"}`))
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	answer(t, nc, "infer.tiny", `{"prompt":"x"}`, &messages.InferenceResponse{}) // the same endpoint, after the dropped one

	want := 1 // cancel
	for _, o := range messages.OperationTable() {
		if o.NATS != "" {
			want++
		}
		if o.NATSName != "" {
			want++
		}
	}
	var info micro.Info
	ask(t, nc.Request, "$SRV.INFO.modelops", &info)
	if info.Version != "0.0.0" || info.Metadata["version"] != "dev build" || len(info.Endpoints) != want {
		t.Errorf("%+v", info)
	}
	e, tally := statsOf(t, nc, "infer-model")
	for began := time.Now(); (tally.Requests < 3 || e.NumRequests < 4) && time.Since(began) < hangLimit; { // both count a request just after its answer
		e, tally = statsOf(t, nc, "infer-model")
	}
	if e.Subject != "modelops.v1.infer.>" || e.NumRequests != 4 || tally.Requests != 3 || tally.Errors != 1 || tally.LastError != "INVALID_ARGUMENT" {
		t.Errorf("%+v %+v", e, tally)
	}
}

func statsOf(t *testing.T, nc *nats.Conn, endpoint string) (*micro.EndpointStats, Tally) {
	t.Helper()
	var stats micro.Stats
	ask(t, nc.Request, "$SRV.STATS.modelops", &stats)
	for _, e := range stats.Endpoints {
		if e.Name == endpoint {
			var tally Tally
			if err := json.Unmarshal(e.Data, &tally); err != nil {
				t.Fatal(err)
			}
			return e, tally
		}
	}
	t.Fatalf("no stats of %s", endpoint)
	return nil, Tally{}
}

func TestPublish(t *testing.T) {
	a, nc := open(t, Options{})
	sub, err := nc.SubscribeSync("modelops.v1.events.models.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish("models."+Token("a b.c"), &messages.ModelView{Name: "a b.c", Phase: messages.ModelView_ready}); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(hangLimit)
	if err != nil || m.Subject != "modelops.v1.events.models.a%20b.c" {
		t.Fatal(m, err)
	}
	view := &messages.ModelView{}
	read(t, m, view)
	if view.Phase != messages.ModelView_ready {
		t.Error(view)
	}
	for _, bad := range []string{"", "a.", "a..b", "a b", "*", "x.>"} {
		if err := a.Publish(bad, view); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A decision's events are told one after the other, under kind, name and event.
func TestPublishEvents(t *testing.T) {
	a, nc := open(t, Options{})
	sub, err := nc.SubscribeSync("modelops.v1.events.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	a.PublishEvents(messages.Recorded{Actor: messages.ModelActor("h", "a b"), Events: []proto.Message{&messages.ModelReady{}, &messages.ModelDrained{}}})
	a.PublishEvents(messages.Recorded{Actor: messages.HostActor("h"), Events: []proto.Message{&messages.HostStarted{}}})
	a.PublishEvents(messages.Recorded{Actor: messages.ArbiterActor(), Events: []proto.Message{&messages.PlacementClosed{}}})
	for _, want := range []string{"model.a%20b.model.ready", "model.a%20b.model.drained", "host.h.host.started", "arbiter.arbiter.arbiter.placement_closed"} {
		if m, err := sub.NextMsg(hangLimit); err != nil || m.Subject != "modelops.v1.events."+want {
			t.Errorf("%v, %v, want %s", m, err, want)
		}
	}
}

func ask(t *testing.T, request func(string, []byte, time.Duration) (*nats.Msg, error), subject string, into any) {
	t.Helper()
	m, err := request(subject, nil, hangLimit)
	if err != nil {
		t.Fatal(err)
	}
	read(t, m, into)
}

func TestSwaps(t *testing.T) {
	_, nc := open(t, Options{})
	var swap struct{ Name, To, Phase, Reason string }
	answer(t, nc, "swaps.start", `{"name":"chat","to":"v2"}`, &swap)
	if swap.Name != "chat" || swap.To != "v2" || swap.Phase != "preparing" {
		t.Error(swap)
	}
	answer(t, nc, "swaps.promote.a/b.c", "", &swap)
	if swap.Name != "a/b.c" || swap.Phase != "promoted" {
		t.Error(swap)
	}
	answer(t, nc, "swaps.rollback.chat", `{"reason":"a whim"}`, &swap)
	if swap.Name != "chat" || swap.Phase != "rolled_back" || swap.Reason != "a whim" {
		t.Error(swap)
	}
	swaps := &messages.SwapList{}
	answer(t, nc, "swaps.list", "", swaps)
	if len(swaps.Routes) != 1 || swaps.Routes[0].To != "v2" {
		t.Error(swaps)
	}
}
