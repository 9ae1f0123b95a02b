package telemetry

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// What happened is counted under the model's own name, and doors count the errors that they told.
func TestEventsAndErrorsAreCounted(t *testing.T) {
	m := New("v", "h")
	m.SetModelStates([]*messages.ModelView{{Name: "tiny", Phase: messages.ModelView_ready, Spec: &messages.ModelSpec{}}})
	of := func(actor messages.ActorID, events ...proto.Message) {
		m.Count(messages.Recorded{Actor: actor, Events: events})
	}
	of(messages.ModelActor("h", "tiny~2"), &messages.ModelReady{LoadMs: 1000}, &messages.ModelDrained{})
	of(messages.ModelActor("h", "tiny"), &messages.LoadFailed{Error: &messages.ErrorBody{Code: "MODEL_LOAD_ERROR"}}, &messages.ModelLeaseLost{})
	of(messages.GPUActor("h", "gpu0"), &messages.VramReserved{}, &messages.LeaseExpired{}, &messages.LeaseReclaimed{})
	of(messages.ArbiterActor(), &messages.PlacementDecided{Moves: []*messages.Move{{Holder: "model/h/tiny"}}}, &messages.InversionFound{})
	Requests{m}.RequestDone("tiny", messages.GPUUnavailable, time.Second)
	Requests{m}.RequestDone("tiny", 0, time.Second)
	m.Told("grpc")("Infer", "OK", 0)
	m.Told("grpc")("Infer", "NOT_FOUND", 0)
	m.ToldHTTP("GET", "/", "200")
	m.ToldHTTP("GET", "/", "503")
	m.ToldHTTP("GET", "/", "404")
	Requests{m}.RequestDone("tiny", messages.BulkheadRejection, time.Second)
	Requests{m}.RequestDone("tiny", messages.Cancelled, time.Second)
	Requests{m}.FirstByte("tiny", 2*time.Second)
	Requests{m}.QueueWait("tiny", 3*time.Second)
	Requests{m}.Tokens("tiny", 5)
	page := scrape(t, m)
	for _, line := range []string{
		"modelops_lease_granted_total 1", "modelops_lease_expired_total 1", "modelops_lease_reclaimed_total 1", "modelops_lease_fenced_total 1", `modelops_model_loads_total{model="tiny",result="success"} 1`,
		`modelops_errors_total{component="grpc",error_type="NOT_FOUND"} 1`, `modelops_errors_total{component="http",error_type="HTTP_503"} 1`,
		`modelops_errors_total{component="http",error_type="HTTP_404"} 1`, "modelops_priority_inversions_total 1", "modelops_journal_events_total 9", `modelops_model_moves_total{model="tiny"} 1`,
		`modelops_model_unloads_total{model="tiny",result="success"} 1`, `modelops_model_loads_total{model="tiny",result="MODEL_LOAD_ERROR"} 1`,
		`modelops_model_load_seconds_sum{model="tiny"} 1`, `modelops_model_load_seconds_count{model="tiny"} 1`,
		`inference_requests_total{model="tiny",status="success"} 1`, `inference_requests_total{model="tiny",status="failure"} 2`, `inference_requests_total{model="tiny",status="cancelled"} 1`,
		`modelops_requests_total{class="",code="GPU_UNAVAILABLE",host="h",model="tiny"} 1`, `modelops_bulkhead_rejections_total{operation="tiny"} 1`,
		`modelops_time_to_first_byte_seconds_sum{model="tiny"} 2`, `modelops_queue_wait_seconds_sum{model="tiny"} 3`, `modelops_inference_tokens_generated_total{model_name="tiny"} 5`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
}

// A difference between a device and a lease's holder reaches the log; what happens every day does not.
func TestDifferencesAreLogged(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	Alert(log, messages.Recorded{Actor: messages.GPUActor("h", "gpu0"), Events: []proto.Message{&messages.VramReserved{Lease: "l0"},
		&messages.LeaseReclaimed{Lease: "l1", Holder: "model/h/a", Epoch: 7, Reason: "it was not taken over"}}})
	Alert(log, messages.Recorded{Actor: messages.ModelActor("h", "a"), Events: []proto.Message{&messages.ModelLeaseLost{Lease: "l2", Epoch: 8, Reason: "gone"}}})
	Alert(log, messages.Recorded{Actor: messages.HostActor("h"), Events: []proto.Message{&messages.StrayWorker{Pid: 3, Nonce: "n"}, &messages.StrayWorker{Pid: 4, Nonce: "m", Reason: "it hangs"}}})
	for _, part := range []string{"and ended\" pid=3 nonce=n\n", "pid=4 nonce=m \"still runs because\"=\"it hangs\"", "level=WARN", "actor=gpu/h/gpu0 lease=l1 holder=model/h/a epoch=7 reason=\"it was not taken over\"", "actor=model/h/a lease=l2 epoch=8 reason=gone"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("missing %s in %s", part, out.String())
		}
	}
	if strings.Contains(out.String(), "l0") {
		t.Errorf("a grant was logged: %s", out.String())
	}
}
