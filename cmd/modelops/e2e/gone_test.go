//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"modelops/messages"
)

const oneSlow = `
models:
  preload: [{name: slow}]
  declare:
    slow:
      runtime: embedded
      path: TINY
      args: [--token-delay, 250ms] # whoever asks for a story is there for most of a minute
      resilience: {bulkhead: {max_concurrent: 1, max_queue_size: 4}}
    lazy: {runtime: embedded, path: TINY, args: [--load-delay, 6s, --token-delay, 20ms]}
`

// idle waits until no request runs or waits at the gateway, and no engine computes.
func (d *daemon) idle(model string) {
	d.t.Helper()
	d.until(waitLimit, model+" is idle", func() bool {
		m := d.model(model)
		return m.Active == 0 && m.Queued == 0 && (m.Phase != messages.ModelView_ready || d.busySlots(m.Worker.Url) == 0)
	})
}

// busy waits until the engine computes.
func (d *daemon) busy(model string) {
	d.t.Helper()
	d.until(waitLimit, model+" computes", func() bool {
		m := d.model(model)
		return m.Phase == messages.ModelView_ready && d.busySlots(m.Worker.Url) > 0
	})
}

// TestS12ClientGone: in every state of a request the end of its client ends it, and the engine is told.
func TestS12ClientGone(t *testing.T) {
	d := start(t, oneSlow)
	d.awaitPhase("slow", "ready")
	before := d.handles()
	for name, leave := range map[string]func(*testing.T, *daemon){
		"streaming":                    leaveStream,
		"waiting for the whole answer": leaveAnswer,
		"queued":                       leaveQueue,
		"on gRPC":                      leaveGRPC,
		"cancelled on gRPC":            cancelOnGRPC,
		"cancelled on NATS":            cancelOnNATS,
	} {
		t.Run(name, func(t *testing.T) {
			d := d.in(t)
			leave(t, d)
			d.idle("slow")
		})
	}
	d.answers("slow")
	d.settlesAt(before)
}

func story() object { return question("slow", "Tell me a story.", "max_tokens", 200) }

func leaveStream(t *testing.T, d *daemon) {
	next, end, err := d.stream(t.Context(), "slow")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	d.busy("slow")
	end()
}

func leaveAnswer(t *testing.T, d *daemon) {
	gone := d.inBackground(t, story())
	d.busy("slow")
	gone()
}

func leaveQueue(t *testing.T, d *daemon) {
	running := d.inBackground(t, story())
	d.busy("slow")
	waiting := d.inBackground(t, story())
	d.until(waitLimit, "one waits", func() bool { return d.model("slow").Queued == 1 })
	waiting()
	d.until(waitLimit, "none waits", func() bool { return d.model("slow").Queued == 0 })
	if d.model("slow").Active != 1 {
		t.Error("the running request went with the waiting one")
	}
	running()
}

func leaveGRPC(t *testing.T, d *daemon) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := d.inferStream(ctx, &messages.InferenceRequest{ModelName: "slow", Prompt: "Tell me a story.", MaxTokens: 200, RequestId: "r1"})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	d.busy("slow")
	cancel()
}

func cancelOnGRPC(t *testing.T, d *daemon) {
	stream := d.inferStream(t.Context(), &messages.InferenceRequest{ModelName: "slow", Prompt: "Tell me a story.", MaxTokens: 200, RequestId: "r2"})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&messages.InferenceRequest{RequestId: "r2", Cancel: true}); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if c.Done {
			if c.Error.GetCode() != "CANCELLED" {
				t.Errorf("%v", c)
			}
			return
		}
	}
}

func cancelOnNATS(t *testing.T, d *daemon) {
	nc := d.nats()
	failed := make(chan error, 1)
	go func() {
		_, err := ask(nc, "infer.slow", object{"prompt": "Tell me a story.", "max_tokens": 200, "request_id": "r3"})
		failed <- err
	}()
	d.busy("slow")
	if err := nc.Publish("modelops.v1.cancel.r3", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if messages.CodeOf(err) != messages.Cancelled {
			t.Errorf("%v", err)
		}
	case <-time.After(waitLimit):
		t.Error("the cancelled request goes on")
	}
}

// TestS12ClientGoneWhileLoading: the load goes on, for the next request; the request itself ends.
func TestS12ClientGoneWhileLoading(t *testing.T) {
	d := start(t, oneSlow)
	gone := d.inBackground(t, question("lazy", "Tell me a story.", "max_tokens", 200))
	d.until(waitLimit, "it waits for the load", func() bool {
		m := d.model("lazy")
		return m.Phase == messages.ModelView_loading && m.Queued == 1
	})
	gone()
	d.until(waitLimit, "no request waits any more", func() bool { return d.model("lazy").Queued == 0 })
	if m := d.awaitPhase("lazy", "ready"); m.Attempt != 1 {
		t.Errorf("the load went with the request: it is ready in attempt %d", m.Attempt)
	}
	d.idle("lazy")
	d.answers("lazy")
}

// TestS11HangingEngine: an engine that is healthy and stands still costs its callers their deadline, and gets its places back.
func TestS11HangingEngine(t *testing.T) {
	d := start(t, "models: {declare: {stuck: {runtime: embedded, path: TINY, args: [--hang-after, \"3\"]}}}\n")
	if a := d.post("/v1/chat/completions", question("stuck", france), "X-Request-Timeout", "2"); a.status != 504 || a.code() != "DEADLINE_EXCEEDED" {
		t.Errorf("%s", a)
	}
	d.idle("stuck")
	if a := d.post("/v1/chat/completions", question("stuck", france, "stream", true), "X-Request-Timeout", "3"); a.status != 200 || !strings.Contains(string(a.body), "deadline_exceeded") {
		t.Errorf("stream: %s", a)
	}
	d.idle("stuck")
}

// inBackground sends a chat; the returned function ends it from the client's side and waits until that is so.
func (d *daemon) inBackground(t *testing.T, q object) (leave func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan answer, 1)
	go func() { ended <- d.do(ctx, "POST", "/v1/chat/completions", q) }()
	return func() {
		cancel()
		if a := <-ended; !errors.Is(a.err, context.Canceled) {
			t.Errorf("the request had an answer: %s", a)
		}
	}
}

func (d *daemon) grpc() messages.ModelOpsClient {
	d.t.Helper()
	conn, err := grpc.NewClient(d.at.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(bearer(d.operatorKey())), grpc.WithContextDialer(d.site.dial))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	return messages.NewModelOpsClient(conn)
}

// inferStream opens a stream and sends the requests.
func (d *daemon) inferStream(ctx context.Context, requests ...*messages.InferenceRequest) messages.ModelOps_InferStreamClient {
	d.t.Helper()
	stream, err := d.grpc().InferStream(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range requests {
		if err := stream.Send(r); err != nil {
			d.t.Fatal(err)
		}
	}
	return stream
}
