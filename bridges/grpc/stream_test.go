package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// stepped is a gateway whose requests emit one piece each time the test says so, by request id.
type stepped struct {
	gateway
	mu    sync.Mutex
	steps map[string]chan string
	ended chan string // "id: error" of each request that left the gateway
}

func newStepped() *stepped {
	s := &stepped{steps: map[string]chan string{}, ended: make(chan string, 1000)}
	s.infer = func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (res *messages.InferenceResponse, err error) {
		defer func() { s.ended <- fmt.Sprintf("%s: %v", r.RequestId, err) }()
		all := ""
		for {
			select {
			case text, more := <-s.of(r.RequestId):
				if !more {
					return &messages.InferenceResponse{ResponseText: all, Status: "success", RequestId: r.RequestId}, nil
				}
				if text == "panic" {
					panic(text)
				}
				if text == "fail" {
					return nil, messages.NewError(messages.InferenceError, r.ModelName, "the engine broke").WithRetry(time.Second)
				}
				all += text
				if err := emit(&messages.InferenceChunk{Text: text}); err != nil {
					return nil, err
				}
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	return s
}

func (s *stepped) of(id string) chan string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps[id] == nil {
		s.steps[id] = make(chan string)
	}
	return s.steps[id]
}

// renew forgets an id's steps, so that the id can be used once more.
func (s *stepped) renew(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.steps, id)
}

type talk struct {
	t *testing.T
	grpc.BidiStreamingClient[messages.InferenceRequest, messages.InferenceChunk]
}

func converse(t *testing.T, ctx context.Context, conn *grpc.ClientConn) talk {
	t.Helper()
	stream, err := messages.NewModelOpsClient(conn).InferStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return talk{t, stream}
}

func (c talk) ask(id string) {
	c.t.Helper()
	if err := c.Send(&messages.InferenceRequest{RequestId: id, ModelName: "tiny", Prompt: "x"}); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads one chunk and shows it as "id index text|done|CODE".
func (c talk) hear() string {
	c.t.Helper()
	chunk, err := c.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	what := chunk.Text
	switch {
	case chunk.Error != nil:
		what = chunk.Error.Code
	case chunk.Done:
		what = "done:" + chunk.Response.GetResponseText()
	}
	if chunk.Done != (chunk.Response != nil || chunk.Error != nil) {
		c.t.Errorf("done and the end of an answer must come together: %v", chunk)
	}
	return fmt.Sprintf("%s %d %s", chunk.RequestId, chunk.Index, what)
}

func (c talk) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.hear(); got != w {
			c.t.Fatalf("heard %q, want %q", got, w)
		}
	}
}

func TestStreamInterleavesRequests(t *testing.T) {
	g := newStepped()
	_, conn := open(t, Options{Gateway: g})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	c.ask("b")
	for _, step := range []struct{ id, text, want string }{
		{"a", "A0", "a 0 A0"}, {"b", "B0", "b 0 B0"}, {"b", "B1", "b 1 B1"}, {"a", "A1", "a 1 A1"}, {"b", "fail", "b 2 INFERENCE_ERROR"},
	} {
		g.of(step.id) <- step.text
		c.expect(step.want)
	}
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	g.of("a") <- "A2"
	c.expect("a 2 A2")
	close(g.of("a"))
	c.expect("a 3 done:A0A1A2")
	if _, err := c.Recv(); !errors.Is(err, io.EOF) {
		t.Error("a stream whose requests are answered ends well:", err)
	}
}

func TestStreamRefusals(t *testing.T) {
	g := newStepped()
	_, conn := open(t, Options{Gateway: g, MaxInFlight: 2})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	c.ask("a")
	c.expect("a 0 CONFLICT")
	c.ask("b")
	c.ask("c")
	c.expect("c 0 BULKHEAD_REJECTION")
	if err := c.Send(&messages.InferenceRequest{RequestId: "d", ModelName: "tiny", Prompt: "x", MaxTokens: -1}); err != nil {
		t.Fatal(err)
	}
	c.expect("d 0 INVALID_ARGUMENT")
	g.of("b") <- "panic"
	c.expect("b 0 INTERNAL")
	// An id and its place are free as soon as the client has the end.
	for range 50 {
		g.renew("b")
		c.ask("b")
		close(g.of("b"))
		c.expect("b 0 done:")
	}
	close(g.of("a"))
	c.expect("a 0 done:")
	_ = c.CloseSend()
	if _, err := c.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestStreamGivesIDs(t *testing.T) {
	_, conn := open(t, Options{})
	c := converse(t, t.Context(), conn)
	c.ask("")
	chunk, err := c.Recv()
	if err != nil || chunk.RequestId == "" || chunk.Response.GetRequestId() != chunk.RequestId {
		t.Error(chunk, err)
	}
}

func TestStreamCancel(t *testing.T) {
	g := newStepped()
	_, conn := open(t, Options{Gateway: g})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	c.ask("b")
	g.of("a") <- "A0"
	c.expect("a 0 A0")
	for _, id := range []string{"nobody", "a"} {
		if err := c.Send(&messages.InferenceRequest{RequestId: id, Cancel: true}); err != nil {
			t.Fatal(err)
		}
	}
	c.expect("a 1 CANCELLED")
	if got := <-g.ended; got != "a: context canceled" {
		t.Error(got)
	}
	g.of("b") <- "B0"
	c.expect("b 0 B0")
	close(g.of("b"))
	c.expect("b 1 done:B0")
}

func TestStreamRequestsHaveADeadline(t *testing.T) {
	_, conn := open(t, Options{Gateway: newStepped(), Timeout: 10 * time.Millisecond})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	c.expect("a 0 DEADLINE_EXCEEDED")
}

func TestStreamEndCancelsTheRest(t *testing.T) {
	g := newStepped()
	_, conn := open(t, Options{Gateway: g})
	ctx, leave := context.WithCancel(t.Context())
	c := converse(t, ctx, conn)
	for i := range 10 {
		c.ask(fmt.Sprint(i))
	}
	g.of("9") <- "here"
	c.expect("9 0 here")
	leave()
	for range 10 {
		if got := <-g.ended; !strings.HasSuffix(got, ": context canceled") {
			t.Error(got)
		}
	}
}

// A client that reads nothing can hold the places of its requests only for a time.
func TestStreamCutsAClientThatDoesNotRead(t *testing.T) {
	g := &gateway{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		for {
			if err := emit(&messages.InferenceChunk{Text: strings.Repeat("x", 1<<20)}); err != nil {
				return nil, err
			}
		}
	}}
	observed := make(chan string, 2)
	_, conn := open(t, Options{Gateway: g, SendTimeout: 30 * time.Millisecond, Observe: func(_, code string, _ time.Duration) { observed <- code }})
	c := converse(t, t.Context(), conn)
	c.ask("a")
	if request, stream := <-observed, <-observed; request != "CANCELLED" || stream != "DEADLINE_EXCEEDED" {
		t.Error(request, stream)
	}
	for {
		if _, err := c.Recv(); err != nil {
			if status.Code(err) != codes.DeadlineExceeded {
				t.Error(err)
			}
			return
		}
	}
}

func TestManyOnOneStream(t *testing.T) {
	const requests, pieces = 64, 20
	_, conn := open(t, Options{Gateway: &gateway{infer: func(_ context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		for i := range pieces {
			if err := emit(&messages.InferenceChunk{Text: fmt.Sprint(r.RequestId, ".", i)}); err != nil {
				return nil, err
			}
		}
		return &messages.InferenceResponse{}, nil
	}}})
	c := converse(t, t.Context(), conn)
	for i := range requests {
		c.ask(fmt.Sprint(i))
	}
	_ = c.CloseSend()
	next := map[string]int32{}
	for {
		chunk, err := c.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || chunk.Error != nil {
			t.Fatal(chunk, err)
		}
		if want := next[chunk.RequestId]; chunk.Index != want || !chunk.Done && chunk.Text != fmt.Sprint(chunk.RequestId, ".", want) {
			t.Fatalf("%v, want index %d", chunk, want)
		}
		next[chunk.RequestId]++
	}
	for id, n := range next {
		if n != pieces+1 {
			t.Error(id, n)
		}
	}
	if len(next) != requests {
		t.Error(len(next))
	}
}
