package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"modelops/messages"
)

// endingGateway grants one place and can take it back.
type endingGateway struct {
	messages.Gateway
	url     string
	ended   context.Context
	outcome chan messages.Outcome
}

func (g *endingGateway) Models() []*messages.ModelView { return nil }

func (g *endingGateway) Admit(context.Context, string) (*messages.Grant, error) {
	return &messages.Grant{Model: "m", Upstream: "m", URL: g.url, Ended: g.ended, Release: func(o messages.Outcome) { g.outcome <- o }}, nil
}

// A grant that is revoked ends the request at the engine, tells the caller why, and counts as no failure of the worker.
func TestGrantTakenBackEndsTheRequest(t *testing.T) {
	running := make(chan struct{})
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http watches for a closed connection only once the body is read
		close(running)
		<-r.Context().Done()
	}))
	defer engine.Close()
	ended, end := context.WithCancelCause(context.Background())
	g := &endingGateway{url: engine.URL, ended: ended, outcome: make(chan messages.Outcome, 1)}
	api := New(Options{Gateway: g})
	defer api.Close()
	edge := httptest.NewServer(api)
	defer edge.Close()
	go func() {
		<-running
		end(messages.NewError(messages.Unavailable, "m", "the model is being unloaded"))
	}()
	resp, err := http.Post(edge.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "being unloaded") {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
	if o := <-g.outcome; o.Failed || !errors.Is(o.Err, &messages.Error{Code: messages.Unavailable}) && !errors.Is(o.Err, context.Canceled) {
		t.Errorf("outcome %+v", o)
	}
}
