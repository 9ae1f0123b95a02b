package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func remember() *Requests {
	now := time.UnixMilli(0)
	return &Requests{Now: func() time.Time { now = now.Add(time.Second); return now }, PID: func(model messages.ActorID) int64 {
		if model != messages.ModelActor("pc2", "tiny~2") {
			return 0
		}
		return 42
	}}
}

func as(id string) context.Context {
	return messages.WithMeta(context.Background(), messages.Meta{Correlation: id})
}

var atTiny = &messages.Grant{Actor: messages.ModelActor("pc2", "tiny~2"), Model: "tiny", URL: "http://127.0.0.1:1", Position: 2}

func TestRequestsAreRemembered(t *testing.T) {
	all := remember()
	m := all.Begin(as("r1"), "small")
	m.Granted(atTiny)
	r, model, ok := all.find("r1")
	if !ok || model != "tiny" || r.Asked != "small" || r.Pid != 42 || r.Position != 2 || r.URL != "http://127.0.0.1:1" || r.Granted.Sub(r.Began) != time.Second || !r.Ended.IsZero() {
		t.Errorf("running: %+v %s", r, model)
	}
	m.Ended(context.Canceled)
	m.Ended(nil)
	if r, _, _ := all.find("r1"); r.Ended.IsZero() || r.Code != messages.Cancelled || r.Sent != 1 {
		t.Errorf("ended: %+v", r)
	}
	all.Begin(as("r1"), "small").Granted(atTiny)
	if r, _, _ := all.find("r1"); r.Sent != 2 || !r.Ended.IsZero() {
		t.Errorf("a second one of the same id: %+v", r)
	}
	if _, _, ok := all.find("r2"); ok {
		t.Error("a request that never was is remembered")
	}
	anonymous := all.Begin(context.Background(), "tiny") // without an id it can't be asked for
	anonymous.Granted(atTiny)
	anonymous.Ended(nil)
}

func TestRefusedRequestsAreRemembered(t *testing.T) {
	all := remember()
	all.Begin(as("r1"), "tiny").Ended(messages.NewError(messages.BulkheadRejection, "model/main_pc/tiny", "64 requests wait already"))
	r, _, _ := all.find("r1")
	if r.Code != messages.BulkheadRejection || r.Refusal != "64 requests wait already" || !r.Granted.IsZero() {
		t.Errorf("%+v", r)
	}
}

// The text of an engine's error may quote a prompt: only its code is kept.
func TestNoWordOfAPromptIsRemembered(t *testing.T) {
	all := remember()
	m := all.Begin(as("r1"), "tiny")
	m.Granted(atTiny)
	m.Ended(errors.New("can't parse: my secret prompt"))
	r, model, _ := all.find("r1")
	if r.Code != messages.Internal || r.Pid != 42 || model != "tiny" || strings.Contains(fmt.Sprintf("%+v", r), "secret") {
		t.Errorf("%+v", r)
	}
}

func TestTheRecordIsBounded(t *testing.T) {
	all := remember()
	long := strings.Repeat("ü", 1000)
	for i := range rememberedRequests + 1 {
		all.Begin(as(fmt.Sprintf("r%d%s", i, long)), long)
	}
	if _, _, ok := all.find("r0" + long); ok {
		t.Error("the oldest is still there")
	}
	if r, _, ok := all.find("r1" + long); !ok || len(r.ID) > longest || len(r.Asked) > longest {
		t.Errorf("%t, %d and %d bytes", ok, len(r.ID), len(r.Asked))
	}
}
