package telemetry

import (
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
	of(messages.ModelActor("h", "tiny"), &messages.LoadFailed{Error: &messages.ErrorBody{Code: "MODEL_LOAD_ERROR"}})
	of(messages.GPUActor("h", "gpu0"), &messages.VramReserved{}, &messages.LeaseExpired{})
	Requests{m}.RequestDone("tiny", messages.GPUUnavailable, time.Second)
	Requests{m}.RequestDone("tiny", 0, time.Second)
	m.Told("grpc")("Infer", "OK", 0)
	m.Told("grpc")("Infer", "NOT_FOUND", 0)
	m.ToldHTTP("GET", "/", "200")
	m.ToldHTTP("GET", "/", "503")
	page := scrape(t, m)
	for _, line := range []string{
		"modelops_lease_granted_total 1", "modelops_lease_expired_total 1", `modelops_model_loads_total{model="tiny",result="success"} 1`,
		`modelops_errors_total{component="grpc",error_type="NOT_FOUND"} 1`, `modelops_errors_total{component="http",error_type="HTTP_503"} 1`,
		`inference_requests_total{model="tiny",status="success"} 1`, `inference_requests_total{model="tiny",status="failure"} 1`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
}
