package cli

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

// TestNumbersAreNumbers: 64-bit numbers are plain where every reader takes them exactly; text that looks like one stays text.
func TestNumbersAreNumbers(t *testing.T) {
	body, err := structpb.NewStruct(map[string]any{"bytes": "12"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, err := range []error{
		printProto(&out, &messages.QueueView{Requests: []*messages.QueuedRequest{{RequestId: "17", Model: "<m>", WaitedMs: 69, ExpectedMs: math.MaxInt64}}}),
		printProto(&out, &messages.SendRequest{Body: body}),
		printJSON(&out, map[string]any{"requests": list[*messages.QueuedRequest]{{WaitedMs: 70}}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	out.Write(compact(&messages.QueuedRequest{WaitedMs: 71}))
	for _, want := range []string{`"waited_ms": 69`, `"expected_ms": "9223372036854775807"`, `"request_id": "17"`, `"model": "<m>"`, `"bytes": "12"`, `"waited_ms": 70`, `{"waited_ms":71}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, &out)
		}
	}
}
