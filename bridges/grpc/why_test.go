package grpcapi

import (
	"testing"

	"modelops/messages"
)

func TestWhy(t *testing.T) {
	c := &control{}
	_, conn := open(t, Options{Operations: c})
	client := messages.NewModelOpsClient(conn)
	got, err := client.Why(t.Context(), &messages.WhyRequest{Subject: "tiny"})
	if err != nil || got.Subject != "tiny" || got.Summary != "because" {
		t.Errorf("%v, %v", got, err)
	}
	c.err = messages.NewError(messages.NotFound, "x", "it is unknown").WithHint("look elsewhere")
	_, err = client.Why(t.Context(), &messages.WhyRequest{Subject: "x"})
	if e := FromStatus(err); e.Code != messages.NotFound || e.Hint != "look elsewhere" {
		t.Errorf("unknown: %v", err)
	}
}
