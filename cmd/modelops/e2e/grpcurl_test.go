//go:build e2e

package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestGrpcurl uses the gRPC door as grpcurl's manual says: reflection, health, calls and streams in JSON.
func TestGrpcurl(t *testing.T) {
	grpcurl := tool(t, "grpcurl")
	d := start(t, oneTiny)
	d.awaitPhase("tiny", "ready")
	before := d.handles()
	call := func(args ...string) output {
		return execute(t, nil, grpcurl, append([]string{"-plaintext"}, args...)...)
	}
	do := func(name, body string, more ...string) output {
		return call(append(append([]string{"-H", "authorization: Bearer " + d.operatorKey()}, more...), "-d", body, d.at.GRPC, "modelops.ModelOps/"+name)...)
	}
	for _, c := range []struct {
		name string
		got  output
		code int
		want []string
	}{
		{"list", call(d.at.GRPC, "list"), 0, []string{"modelops.ModelOps\n", "grpc.health.v1.Health\n", "grpc.reflection.v1.ServerReflection\n"}},
		{"describe", call(d.at.GRPC, "describe", "modelops.InferenceRequest"), 0, []string{"string model_name = 1;", "int32 max_tokens = 4;"}},
		{"health", call(d.at.GRPC, "grpc.health.v1.Health/Check"), 0, []string{`"status": "SERVING"`}},
		{"health of the service", call("-d", `{"service":"modelops.ModelOps"}`, d.at.GRPC, "grpc.health.v1.Health/Check"), 0, []string{`"status": "SERVING"`}},
		{"health of another", call("-d", `{"service":"nope"}`, d.at.GRPC, "grpc.health.v1.Health/Check"), 69, []string{"Code: NotFound"}},
		{"infer", do("Infer", `{"model_name":"tiny","prompt":"`+france+`","temperature":0}`), 0,
			[]string{paris, `"tokensGenerated": 11`, `"status": "success"`, `"finishReason": "stop"`}},
		{"unknown model", do("Infer", `{"model_name":"nope","prompt":"x"}`), 69, []string{"Code: NotFound", `"code": "MODEL_NOT_FOUND"`}},
		{"negative max_tokens", do("Infer", `{"model_name":"tiny","prompt":"x","max_tokens":-3}`), 67, []string{"Code: InvalidArgument", "max_tokens"}},
		{"no prompt", do("Infer", `{"model_name":"tiny"}`), 67, []string{"Code: InvalidArgument", "prompt"}},
		{"load an unknown one", do("LoadModel", `{"model_name":"nope"}`), 69, []string{"Code: NotFound"}},
		{"load", do("LoadModel", `{"model_name":"lazy"}`), 0, []string{`"success": true`, `"modelId": "lazy"`, `"vramUsedMb"`}},
		{"list models", do("ListModels", ``), 0, []string{`"name": "lazy"`, `"name": "tiny"`, `"status": "ready"`}},
		{"unload", do("UnloadModel", `{"model_name":"lazy"}`), 0, []string{`"success": true`, `"vramFreedMb"`}},
		{"unload again", do("UnloadModel", `{"model_name":"lazy"}`), 0, []string{`"success": true`}},
		{"load a file", do("LoadModel", `{"model_name":"guest","model_path":"`+tiny()+`"}`), 0, []string{`"success": true`}},
		{"ask the guest", do("Infer", `{"model_name":"guest","prompt":"`+france+`","temperature":0}`), 0, []string{paris}},
		{"too large a lease", do("AcquireGpuLease", `{"client":"e2e","vram_estimate_mb":99999999}`), 0, []string{"Insufficient VRAM", "retryAfterMs"}},
		{"release an unknown lease", do("ReleaseGpuLease", `{"lease_id":"cpu_unknown"}`), 0, []string{`"success": true`}},
		{"deadline", do("Infer", `{"model_name":"slow","prompt":"Tell me a story.","parameters":{"ignore_eos":"true"}}`, "-max-time", "1"), 68, []string{"Code: DeadlineExceeded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got.code != c.code {
				t.Errorf("exit code %d, want %d", c.got.code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(c.got.String(), want) {
					t.Errorf("no %q in\n%s", want, c.got)
				}
			}
		})
	}
	t.Run("a lease comes and goes", func(t *testing.T) { leaseComesAndGoes(t, d.in(t), do) })
	t.Run("two requests on one stream", func(t *testing.T) { twoOnOneStream(t, do) })
	d.idle("slow")
	d.settlesAt(before)
}

// method calls one of the service's methods with grpcurl.
type method func(name, body string, more ...string) output

func leaseComesAndGoes(t *testing.T, d *daemon, do method) {
	var grant struct {
		Granted bool
		LeaseID string `json:"leaseId"`
	}
	got := do("AcquireGpuLease", `{"client":"e2e","vram_estimate_mb":10,"ttl_seconds":60}`)
	if err := json.Unmarshal([]byte(got.out), &grant); err != nil || !grant.Granted {
		t.Fatalf("%v: %s", err, got)
	}
	if !d.holds(grant.LeaseID) {
		t.Errorf("the ledger doesn't have %s", grant.LeaseID)
	}
	if got := do("ReleaseGpuLease", `{"lease_id":"`+grant.LeaseID+`"}`); got.code != 0 {
		t.Errorf("%s", got)
	}
	if d.holds(grant.LeaseID) {
		t.Errorf("the ledger still has %s", grant.LeaseID)
	}
}

func twoOnOneStream(t *testing.T, do method) {
	got := do("InferStream", `{"model_name":"tiny","prompt":"`+france+`","temperature":0,"request_id":"a"}
		{"model_name":"tiny","prompt":"`+france+`","temperature":0,"request_id":"b"}
		{"model_name":"nope","prompt":"x","request_id":"c"}`)
	if got.code != 0 {
		t.Fatalf("%s", got)
	}
	texts, done, failed := chunks(t, got.out)
	for _, id := range []string{"a", "b"} {
		if texts[id] != paris || done[id] != paris {
			t.Errorf("%s: pieces %q, whole %q", id, texts[id], done[id])
		}
	}
	if failed["c"] != "MODEL_NOT_FOUND" || len(failed) != 1 {
		t.Errorf("failures %v", failed)
	}
}

func (d *daemon) holds(lease string) bool {
	d.t.Helper()
	for _, l := range d.leases() {
		if l.Lease == lease {
			return true
		}
	}
	return false
}

// chunks puts a stream's pieces together by request, and checks that none is missing.
func chunks(t *testing.T, out string) (texts, done, failed map[string]string) {
	t.Helper()
	texts, done, failed = map[string]string{}, map[string]string{}, map[string]string{}
	next := map[string]int{}
	in := json.NewDecoder(strings.NewReader(out))
	for in.More() {
		var c struct {
			RequestID string `json:"requestId"`
			Index     int
			Text      string
			Done      bool
			Response  struct{ ResponseText string }
			Error     struct{ Code string }
		}
		if err := in.Decode(&c); err != nil {
			t.Fatal(err)
		}
		if c.Index != next[c.RequestID] {
			t.Errorf("%s: chunk %d, expected %d", c.RequestID, c.Index, next[c.RequestID])
		}
		next[c.RequestID]++
		texts[c.RequestID] += c.Text
		switch {
		case c.Error.Code != "":
			failed[c.RequestID] = c.Error.Code
		case c.Done:
			done[c.RequestID] = c.Response.ResponseText
		}
	}
	return texts, done, failed
}
