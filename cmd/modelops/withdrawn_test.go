package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// TestWithdrawnModelsLeaveNothing: models that are declared, loaded, asked and withdrawn leave no series, view (but the latest few), route, connection or
// goroutine.
func TestWithdrawnModelsLeaveNothing(t *testing.T) {
	d, _ := onCards(t, often, false)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":[{"id":"m"}],"choices":[{"message":{"content":"hi"},"text":"hi"}]}`)
	}))
	t.Cleanup(engine.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	follow := func() { // the gateway gets views in its mailbox
		if _, err := d.tree.Ask(t.Context(), messages.ActorID{Kind: messages.KindGateway, ID: d.host}, &messages.QueryView{}); err != nil {
			t.Fatal(err)
		}
	}
	live := func(n int) {
		name := fmt.Sprintf("passing-%d", n)
		id := messages.ModelActor(d.host, name)
		tell := func(m proto.Message) {
			if _, err := d.tree.Ask(t.Context(), id, m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		tell(&messages.DeclareModel{Spec: &messages.ModelSpec{Name: name, Runtime: "openai", Url: fmt.Sprintf("%s/%d", engine.URL, n), UseModelName: "m", Revision: "1", Aliases: []string{name + "-alias"}}})
		follow()
		d.loads(t, name)
		response, err := client.Post("http://"+d.rest.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"`+name+`-alias","messages":[{"role":"user","content":"x"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("%d %s %v", response.StatusCode, body, err)
		}
		if _, err := d.gateway.Infer(t.Context(), &messages.InferenceRequest{ModelName: name, Prompt: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		tell(&messages.RetireModel{Reason: "the test is done with it"})
	}
	goroutines := func() int {
		client.CloseIdleConnections()
		engine.CloseClientConnections()
		return runtime.NumGoroutine()
	}
	const few, many = 20, 150
	for n := range few {
		live(n)
	}
	before := goroutines()
	for n := few; n < many; n++ {
		live(n)
	}
	d.sees(t, "all have ended", func() bool { return len(d.view.Present()) == 4 })
	follow()
	if got := d.gateway.Models(); len(got) != 4 {
		t.Errorf("the gateway has %d models", len(got))
	}
	if got := len(d.view.Models()); got > 4+16 {
		t.Errorf("%d views are left", got)
	}
	d.sees(t, "no series is left", func() bool { // the feed counts events a moment after the views show them
		page := httptest.NewRecorder()
		d.metrics.Handler(d.refresh).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		return !strings.Contains(page.Body.String(), "passing")
	})
	hang := time.NewTimer(hangLimit)
	for goroutines() > before+(many-few)/2 { // those of closed connections end a moment later
		select {
		case <-time.After(20 * time.Millisecond): // meant to pass: goroutines tell nobody that they end
		case <-hang.C:
			t.Fatalf("%d goroutines, %d after the first models", goroutines(), before)
		}
	}
}
