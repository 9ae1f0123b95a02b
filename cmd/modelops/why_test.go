package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// answering is a gateway that gives a place, or fails.
type answering struct {
	messages.Gateway
	runner recordingRunner
	err    error
}

func (g answering) Admit(context.Context, string) (*messages.Grant, error) {
	if g.err != nil {
		return nil, g.err
	}
	return &messages.Grant{Model: "tiny", URL: "http://127.0.0.1:1", Position: 2, Release: func(messages.Outcome) {}}, nil
}

func (g answering) Infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	grant, err := g.Admit(ctx, r.ModelName)
	if err != nil {
		return nil, err
	}
	return g.runner.Run(ctx, grant, r, emit)
}

// quoting is a runner whose error quotes what it was asked, as engines do.
type quoting struct{ err error }

func (e quoting) Run(context.Context, *messages.Grant, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	return &messages.InferenceResponse{}, e.err
}
func (e quoting) BeforeFirstByte(error) bool { return false }

func newRing() *requestRing {
	now := time.UnixMilli(0)
	return &requestRing{now: func() time.Time { now = now.Add(time.Second); return now }, pid: func(string) int64 { return 42 }}
}

func as(id string) context.Context {
	return messages.WithMeta(context.Background(), messages.Meta{Correlation: id})
}

func TestRequestsAreRemembered(t *testing.T) {
	ring := newRing()
	g := recordingGateway{answering{}, ring}
	grant, err := g.Admit(as("r1"), "small")
	if err != nil {
		t.Fatal(err)
	}
	r, model, ok := ring.find("r1")
	if !ok || model != "tiny" || r.Asked != "small" || r.Pid != 42 || r.Position != 2 || r.URL != "http://127.0.0.1:1" || r.Granted.Sub(r.Began) != time.Second || !r.Ended.IsZero() {
		t.Errorf("running: %+v %s", r, model)
	}
	grant.Release(messages.Outcome{Err: context.Canceled})
	grant.Release(messages.Outcome{})
	if r, _, _ := ring.find("r1"); r.Ended.IsZero() || r.Code != messages.Cancelled || r.Sent != 1 {
		t.Errorf("ended: %+v", r)
	}
	if _, err := g.Admit(as("r1"), "small"); err != nil {
		t.Fatal(err)
	}
	if r, _, _ := ring.find("r1"); r.Sent != 2 || !r.Ended.IsZero() {
		t.Errorf("a second one of the same id: %+v", r)
	}
	if _, _, ok := ring.find("r2"); ok {
		t.Error("a request that never was is remembered")
	}
	if _, err := g.Admit(context.Background(), "tiny"); err != nil { // without an id it can't be asked for
		t.Fatal(err)
	}
}

func TestRefusedRequestsAreRemembered(t *testing.T) {
	ring := newRing()
	g := recordingGateway{answering{err: messages.NewError(messages.BulkheadRejection, "model/main_pc/tiny", "64 requests wait already")}, ring}
	if _, err := g.Admit(as("r1"), "tiny"); err == nil {
		t.Fatal("not refused")
	}
	r, _, _ := ring.find("r1")
	if r.Code != messages.BulkheadRejection || r.Refusal != "64 requests wait already" || !r.Granted.IsZero() {
		t.Errorf("%+v", r)
	}
}

// What an engine says may quote a prompt: only the code of its error is kept.
func TestNoWordOfAPromptIsRemembered(t *testing.T) {
	ring := newRing()
	failing := errors.New("can't parse: my secret prompt")
	g := recordingGateway{answering{runner: recordingRunner{quoting{failing}}}, ring}
	if _, err := g.Infer(as("r1"), &messages.InferenceRequest{ModelName: "tiny", Prompt: "my secret prompt"}, nil); err == nil {
		t.Fatal("not failed")
	}
	r, model, _ := ring.find("r1")
	if r.Code != messages.Internal || r.Pid != 42 || model != "tiny" || strings.Contains(fmt.Sprintf("%+v", r), "secret") {
		t.Errorf("%+v", r)
	}
}

func TestTheRingIsBounded(t *testing.T) {
	ring := newRing()
	g := recordingGateway{answering{}, ring}
	long := strings.Repeat("ü", 1000)
	for i := range rememberedRequests + 1 {
		if _, err := g.Admit(as(fmt.Sprintf("r%d%s", i, long)), long); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, ok := ring.find("r0" + long); ok {
		t.Error("the oldest is still there")
	}
	if r, _, ok := ring.find("r1" + long); !ok || len(r.ID) > longest || len(r.Asked) > longest {
		t.Errorf("%t, %d and %d bytes", ok, len(r.ID), len(r.Asked))
	}
}
