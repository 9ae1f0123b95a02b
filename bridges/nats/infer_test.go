package natsapi

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bytes"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"modelops/messages"
)

func TestInferNamesItsModel(t *testing.T) {
	_, nc := open(t, Options{})
	for subject, want := range map[string]string{
		"infer.tiny": "tiny", "infer.qwen2.5-0.5b": "qwen2.5-0.5b", "infer.org/m:7b": "org/m:7b", "infer.a%20b%2Ac": "a b*c", "infer." + Token(".x..y"): ".x..y",
	} {
		r := &messages.InferenceResponse{}
		m := answer(t, nc, subject, `{"prompt":"hello"}`, r)
		if r.ModelName != want || r.ResponseText != "hello" || r.RequestId == "" || m.Header.Get(RequestIDHeader) != r.RequestId {
			t.Errorf("%s: %v %v", subject, r, m.Header)
		}
	}
	r := &messages.InferenceResponse{}
	answer(t, nc, "infer", `{"model_name":"tiny","prompt":"x","request_id":"r1"}`, r)
	if r.ModelName != "tiny" || r.RequestId != "r1" {
		t.Error(r)
	}
	answer(t, nc, "infer.tiny", `{"modelName":"tiny","prompt":"x"}`, r)
}

func TestInferRefusals(t *testing.T) {
	_, nc := open(t, Options{Gateway: &gateway{infer: func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		panic("it reached the gateway")
	}}})
	for _, c := range []struct{ subject, body, says string }{
		{"infer.tiny", "", "empty"},
		{"infer.tiny", "  \n", "empty"},
		{"infer.tiny", "{", "not JSON"},
		{"infer.tiny", "hello", "not JSON"},
		{"infer.tiny", "[]", "unexpected token ["},
		{"infer.tiny", `{"prompt":"x","colour":1}`, `unknown field "colour"`},
		{"infer.tiny", `{"model":"tiny","prompt":"x","colour":1}`, `unknown field "colour"`},
		{"infer.tiny", `{"prompt":"x","prompt":"y"}`, `duplicate field "prompt"`},
		{"infer.tiny", `{"prompt":1}`, "prompt"},
		{"infer.tiny", `{"prompt":""}`, "neither"},
		{"infer.tiny", `{"prompt":"x","messages":[{"role":"user","content":"x"}]}`, "both"},
		{"infer.tiny", `{"prompt":"x","max_tokens":-5}`, "max_tokens: it is negative"},
		{"infer.tiny", `{"prompt":"x","temperature":-1}`, "temperature"},
		{"infer.tiny", `{"prompt":"x","temperature":"NaN"}`, "temperature"},
		{"infer.tiny", `{"prompt":"x","cancel":true}`, "cancel"},
		{"infer.tiny", `{"prompt":"x","model_name":"big"}`, `the subject names "tiny", the body "big"`},
		{"infer.tiny", `{"prompt":"x","model":"big"}`, `the subject names "tiny", the body "big"`},
		{"infer.tiny", `{"prompt":"x","model":"tiny","model_name":"tiny"}`, "model_name too"},
		{"infer.tiny", `{"prompt":"x","n":2}`, "only one answer"},
		{"infer.a%zz", `{"prompt":"x"}`, "percent"},
		{"infer", `{"prompt":"x"}`, "it is empty"},
	} {
		e := failureOf(t, request(t, nc, c.subject, c.body, nil))
		if e.Code != messages.InvalidArgument || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s %s: %v", c.subject, c.body, e)
		}
	}
	for header, value := range map[string]string{TimeoutHeader: "soon", StreamHeader: "maybe"} {
		if e := failureOf(t, request(t, nc, "infer.tiny", `{"prompt":"x"}`, nats.Header{header: {value}})); e.Code != messages.InvalidArgument || e.Subject != header {
			t.Error(e)
		}
	}
	picture := `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`
	if e := failureOf(t, request(t, nc, "infer.tiny", picture, nil)); e.Code != messages.Unsupported {
		t.Error(e)
	}
	if _, err := nc.Request(root+".infer.tiny", make([]byte, 65<<10), hangLimit); err == nil {
		t.Error("a body over the server's limit was taken")
	}
}

// Every code of the table crosses the wire and comes back as itself, as a reply and at the end of a stream.
func TestEveryErrorSurvivesTheWire(t *testing.T) {
	g, c := &gateway{}, &control{}
	_, nc := open(t, Options{Gateway: g, Operations: c})
	for _, code := range messages.Codes() {
		want := messages.Error{Code: code, Subject: "model/main_pc/tiny", Message: "it failed: ü", Hint: "do this", Retry: 1500 * time.Millisecond}
		g.set(func(_ context.Context, _ *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			if emit != nil {
				_ = emit(&messages.InferenceChunk{Text: "a"})
			}
			return nil, &want
		})
		c.mu.Lock()
		c.err = &want
		c.mu.Unlock()
		for _, subject := range []string{"infer.tiny", "models.list", "models.load.tiny", "models.unload.tiny", "status"} {
			body := ""
			if subject == "infer.tiny" {
				body = `{"prompt":"x"}`
			}
			if got := failureOf(t, request(t, nc, subject, body, nil)); !reflect.DeepEqual(*got, want) {
				t.Errorf("%s %s came back as %+v", subject, code, got)
			}
		}
		chunks, all := stream(t, nc, "infer.tiny", `{"prompt":"x","stream":true}`, nil)
		if len(chunks) != 2 || !chunks[1].Done || chunks[1].Index != 1 {
			t.Fatal(code, chunks)
		}
		if got := headed(t, all[1], chunks[1].Error); !reflect.DeepEqual(*got, want) {
			t.Errorf("stream: %s came back as %+v", code, got)
		}
		headed(t, all[2], chunks[1].Error)
	}
}

func TestStreamIsInOrder(t *testing.T) {
	texts := make([]string, 300)
	for i := range texts {
		texts[i] = fmt.Sprint("t", i, " ")
	}
	_, nc := open(t, Options{Gateway: &gateway{infer: pieces(texts...)}})
	for _, headers := range []nats.Header{nil, {StreamHeader: {"true"}}} {
		body := `{"prompt":"x","request_id":"r7"}`
		if headers == nil {
			body = `{"prompt":"x","request_id":"r7","stream":true}`
		}
		chunks, all := stream(t, nc, "infer.tiny", body, headers)
		if len(chunks) != len(texts)+1 {
			t.Fatal(len(chunks))
		}
		for i, c := range chunks {
			if int(c.Index) != i || all[i].Header.Get(IndexHeader) != strconv.Itoa(i) || c.RequestId != "r7" || c.Done != (i == len(texts)) || !c.Done && c.Text != texts[i] {
				t.Fatal(i, c, all[i].Header)
			}
		}
		if last := chunks[len(texts)].Response; last.GetResponseText() != strings.Join(texts, "") || last.GetTokensGenerated() != 300 {
			t.Error(last)
		}
		if eof := all[len(all)-1]; eof.Header.Get(micro.ErrorHeader) != "" {
			t.Error(eof.Header)
		}
	}
}

func TestStreamRefusalEndsTheStream(t *testing.T) {
	_, nc := open(t, Options{})
	for _, body := range []string{"", `{"prompt":""}`} {
		chunks, all := stream(t, nc, "infer.tiny", body, nats.Header{StreamHeader: {"1"}})
		if len(chunks) != 1 || chunks[0].Index != 0 || headed(t, all[0], chunks[0].Error).Code != messages.InvalidArgument {
			t.Error(chunks)
		}
	}
}

func TestAnswersOverThePayload(t *testing.T) {
	g := &gateway{infer: pieces(strings.Repeat("x", 40<<10), strings.Repeat("y", 40<<10))}
	_, nc := open(t, Options{Gateway: g})
	chunks, _ := stream(t, nc, "infer.tiny", `{"prompt":"x","stream":true}`, nil)
	if len(chunks) != 3 || len(chunks[1].Text) != 40<<10 || chunks[2].Response.GetTokensGenerated() != 2 || chunks[2].Response.ResponseText != "" {
		t.Error("a long stream ends with its counts alone")
	}
	g.set(func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		return &messages.InferenceResponse{ResponseText: strings.Repeat("x", 80<<10)}, nil
	})
	if e := failureOf(t, request(t, nc, "infer.tiny", `{"prompt":"x"}`, nil)); e.Code != messages.PayloadTooLarge || e.Hint == "" {
		t.Error(e)
	}
}

func TestCancelAndDeadline(t *testing.T) {
	entered, left := make(chan string, 1), make(chan error, 1)
	_, nc := open(t, Options{Gateway: &gateway{infer: waits(entered, left)}})
	ask := func(id string, headers nats.Header) <-chan *nats.Msg {
		got := make(chan *nats.Msg, 1)
		go func() {
			m, _ := nc.RequestMsg(&nats.Msg{Subject: root + ".infer.tiny", Data: []byte(`{"prompt":"x","request_id":"` + id + `"}`), Header: headers}, hangLimit)
			got <- m
		}()
		return got
	}
	got := ask("r.1 a", nil)
	<-entered
	if e := failureOf(t, request(t, nc, "infer.tiny", `{"prompt":"x","request_id":"r.1 a"}`, nil)); e.Code != messages.Conflict {
		t.Error("two of one id:", e)
	}
	var reply struct {
		RequestID string `json:"request_id"`
		Cancelled bool
	}
	answer(t, nc, "cancel.nobody", "", &reply)
	if reply.Cancelled || reply.RequestID != "nobody" {
		t.Error(reply)
	}
	answer(t, nc, "cancel."+Token("r.1 a"), "", &reply)
	if e := failureOf(t, <-got); !reply.Cancelled || e.Code != messages.Cancelled {
		t.Error(reply, e)
	}
	<-left
	got = ask("r2", nil)
	if err := nc.Publish(root+".cancel."+<-entered, nil); err != nil {
		t.Fatal(err)
	}
	if e := failureOf(t, <-got); e.Code != messages.Cancelled {
		t.Error("a publish cancels too:", e)
	}
	<-left
	got = ask("r3", nats.Header{TimeoutHeader: {"10ms"}})
	if e := failureOf(t, <-got); <-entered != "r3" || e.Code != messages.DeadlineExceeded || <-left != context.DeadlineExceeded {
		t.Error(e)
	}
}

// One slow request must hold up neither its endpoint nor the others, and the bound is a refusal, not a queue.
func TestRequestsRunBesideEachOther(t *testing.T) {
	entered, left := make(chan string, 2), make(chan error, 2)
	a, nc := open(t, Options{MaxInference: 2, Gateway: &gateway{infer: waits(entered, left)}})
	in := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(in)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := nc.PublishRequest(root+".infer.tiny", in, []byte(`{"prompt":"x"}`)); err != nil {
			t.Fatal(err)
		}
	}
	<-entered
	<-entered
	if e := failureOf(t, request(t, nc, "infer.tiny", `{"prompt":"x"}`, nil)); e.Code != messages.BulkheadRejection || e.Retry == 0 {
		t.Error(e)
	}
	answer(t, nc, "models.list", "", &messages.ModelList{})
	// Stopping ends what is left.
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := a.Stop(over); err != context.DeadlineExceeded {
		t.Error(err)
	}
	if err := <-left; err != context.Canceled {
		t.Error(err)
	}
	m, err := answers.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if e := failureOf(t, m); e.Code != messages.Unavailable || e.Retry == 0 { // the caller didn't go away
		t.Error(e)
	}
}

func TestStopLetsRunningRequestsFinish(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	a, nc := open(t, Options{Gateway: &gateway{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		close(entered)
		<-finish
		return echo(ctx, r, emit)
	}}})
	in := nc.NewRespInbox()
	sub, _ := nc.SubscribeSync(in)
	_ = nc.PublishRequest(root+".infer.tiny", in, []byte(`{"prompt":"x"}`))
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop(t.Context()) }()
	for a.enter() { // until the door closes
		a.work.Done()
	}
	close(finish)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if m, err := sub.NextMsg(hangLimit); err != nil || m.Header.Get(micro.ErrorHeader) != "" {
		t.Error(m, err)
	}
}

func TestPanicsAndSecretsInTheLog(t *testing.T) {
	var logged lockedBuffer
	g := &gateway{infer: func(context.Context, *messages.InferenceRequest, func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		panic("boom 4711")
	}}
	_, nc := open(t, Options{Gateway: g, Log: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if e := failureOf(t, request(t, nc, "infer.tiny", `{"prompt":"my secret"}`, nil)); e.Code != messages.Internal || strings.Contains(e.Error(), "4711") {
		t.Error(e)
	}
	request(t, nc, "infer.tiny", `{"prompt":"my secret"`, nil)
	request(t, nc, "infer.tiny", `{"prompt":"x","stop":{"my secret":1}}`, nil)
	g.set(echo)
	answer(t, nc, "infer.tiny", `{"prompt":"my secret"}`, &messages.InferenceResponse{})
	if out := logged.String(); !strings.Contains(out, "boom 4711") || strings.Contains(out, "my secret") {
		t.Error(out)
	}
}

// lockedBuffer is written by the door and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
