package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/emptypb"

	natsapi "modelops/bridges/nats"
	"modelops/messages"
)

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

// fakeDaemon answers at the real NATS door in place of a daemon.
type fakeDaemon struct {
	messages.Gateway
	messages.Operations
	infer  func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)
	health *messages.HealthReply
	err    error
	key    string // that callers must send; empty = none
}

func (p *fakeDaemon) authenticate(_ context.Context, c messages.Credentials) (messages.Principal, error) {
	if c.Key != p.key {
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
	}
	return messages.Principal{Role: messages.Role_ADMIN}, nil
}

func (p *fakeDaemon) Infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	return p.infer(ctx, r, emit)
}
func (p *fakeDaemon) GetHealth(context.Context, *emptypb.Empty) (*messages.HealthReply, error) {
	return p.health, nil
}
func (p *fakeDaemon) LoadModel(context.Context, *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	return &messages.ModelLoadReply{Success: true, ModelId: "m", VramUsedMb: 7}, p.err
}

// openDoor serves p and returns a command line that finds it.
func openDoor(t *testing.T, p *fakeDaemon) (c *cli, out, errs *bytes.Buffer) {
	t.Helper()
	if p == nil {
		return openDoorFor(t, nil, nil, nil)
	}
	return openDoorFor(t, p, p, p.authenticate)
}

// openDoorFor serves a gateway and operations; without a gateway the NATS server has no daemon.
func openDoorFor(t *testing.T, gateway messages.Gateway, operations messages.Operations, authenticate messages.Authenticate) (c *cli, out, errs *bytes.Buffer) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(hangLimit) {
		t.Fatal("the NATS server doesn't start")
	}
	if gateway != nil {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		api := natsapi.New(natsapi.Options{Gateway: gateway, Operations: operations, Authenticate: authenticate, Host: "pc", Version: "1.2.3"})
		if _, err := api.Enter(nc, messages.Principal{Name: "operator", Role: messages.Role_ADMIN}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Stop(context.Background()) })
	}
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	return &cli{stdin: strings.NewReader(""), stdout: out, stderr: errs, server: s.ClientURL(), now: time.Now}, out, errs
}

// run runs the command line with these arguments.
func (c *cli) run(args ...string) int {
	server := c.server
	defer func() { c.server = server }()
	args = append([]string{"--server", server}, args...)
	root := newRoot(c) // sets the flags to their defaults
	root.SetArgs(args)
	return c.finish(root.ExecuteC())
}

func chunks(texts ...string) *fakeDaemon {
	return &fakeDaemon{infer: func(_ context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		for _, text := range texts {
			if emit == nil {
				break
			}
			if err := emit(&messages.InferenceChunk{Text: text}); err != nil {
				return nil, err
			}
		}
		return &messages.InferenceResponse{ResponseText: strings.Join(texts, ""), RequestId: r.RequestId}, nil
	}}
}

func TestAnswersAndStreams(t *testing.T) {
	c, out, errs := openDoor(t, chunks("Paris", " it", " is."))
	for _, args := range [][]string{{"infer", "m", "where?"}, {"infer", "m", "where?", "--stream"}, {"chat", "m"}} {
		out.Reset()
		c.stdin = strings.NewReader("where?\n")
		if code := c.run(args...); code != exitOK || out.String() != "Paris it is.\n" {
			t.Errorf("%v: %d %q %s", args, code, out, errs)
		}
	}
}

// Every error code keeps its message and hint over NATS, as a reply and in a stream, and ends the program with its exit code. Progress, which
// a busy machine would show, stays silent.
func TestErrorsBecomeExitCodes(t *testing.T) {
	p := &fakeDaemon{}
	c, out, errs := openDoor(t, p)
	for _, code := range messages.Codes() {
		p.err = &messages.Error{Code: code, Subject: "model/pc/m", Message: "it went wrong", Hint: "mend it"}
		p.infer = func(_ context.Context, _ *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			if emit != nil {
				_ = emit(&messages.InferenceChunk{Text: "begun"})
			}
			return nil, p.err
		}
		for _, args := range [][]string{{"infer", "m", "x"}, {"infer", "m", "x", "--stream"}, {"load", "m"}} {
			out.Reset()
			errs.Reset()
			if got := c.run(append(args, "--quiet")...); got != exitOf[code] || errs.String() != "modelops: model/pc/m: it went wrong\nhint: mend it\n" {
				t.Errorf("%s %v: %d %q", code, args, got, errs)
			}
		}
	}
}

// An interrupt cancels the request at the daemon; NATS alone doesn't do that. The daemon takes the cancellation with the caller's key only.
func TestAnInterruptCancels(t *testing.T) {
	t.Setenv("MODELOPS_API_KEY", "alice-key")
	for _, stream := range []bool{false, true} {
		entered, left := make(chan struct{}), make(chan error, 1)
		p := &fakeDaemon{key: "alice-key", infer: func(ctx context.Context, _ *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
			close(entered)
			<-ctx.Done()
			left <- ctx.Err()
			return nil, ctx.Err()
		}}
		c, _, _ := openDoor(t, p)
		ctx, interrupt := context.WithCancel(t.Context())
		go func() { <-entered; interrupt() }()
		err := c.infer(ctx, &messages.InferenceRequest{ModelName: "m", Prompt: "x"}, stream)
		if messages.CodeOf(err) != messages.Cancelled {
			t.Error(err)
		}
		if err := <-left; err != context.Canceled {
			t.Error("the daemon was not told:", err)
		}
	}
}

func TestDeadlines(t *testing.T) {
	p := &fakeDaemon{infer: func(ctx context.Context, _ *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	c, _, errs := openDoor(t, p)
	for _, args := range [][]string{{"--timeout", "100ms", "infer", "m", "x"}, {"--timeout", "100ms", "infer", "m", "x", "--stream"}, {"--timeout", "1ns", "ps"}} {
		if code := c.run(args...); code != exitDeadline {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	if code := c.run("--timeout", "-1s", "ps"); code != exitUsage {
		t.Errorf("a negative time: %d", code)
	}
}

func TestALostChunkIsReported(t *testing.T) {
	c, out, _ := openDoor(t, nil)
	nc, err := nats.Connect(c.server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, err = nc.Subscribe(apiRoot+"infer", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"request_id":"r","text":"a"}`))
		_ = m.Respond([]byte(`{"request_id":"r","index":2,"text":"c"}`))
	})
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	err = c.infer(t.Context(), &messages.InferenceRequest{ModelName: "m", Prompt: "x"}, true)
	if messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), "chunk 1") || out.String() != "a\n" {
		t.Errorf("%v %q", err, out)
	}
}

func TestUnhealthyIsExitOne(t *testing.T) {
	p := &fakeDaemon{health: &messages.HealthReply{JournalLag: 9, Reasons: []string{"the journal is full"}}}
	c, out, _ := openDoor(t, p)
	if code := c.run("health"); code != exitNo || out.String() != "not ok: the journal is full\n" {
		t.Errorf("%d %q", code, out)
	}
	out.Reset()
	var body map[string]any
	if code := c.run("health", "--json"); code != exitNo || json.Unmarshal(out.Bytes(), &body) != nil || body["ok"] != false {
		t.Errorf("%d %q", code, out)
	}
	p.health = &messages.HealthReply{Ok: true}
	if code := c.run("health"); code != exitOK {
		t.Error(code)
	}
}

func TestServerWithoutDaemon(t *testing.T) {
	c, _, errs := openDoor(t, nil)
	for _, args := range [][]string{{"ps"}, {"infer", "m", "x", "--stream"}, {"replay"}, {"logs", "m"}} {
		errs.Reset()
		if code := c.run(args...); code != exitUnreachable || !strings.Contains(errs.String(), "no daemon answers") {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}

func TestPasswordsAreNotPrinted(t *testing.T) {
	c := &cli{server: "nats://me:secret@127.0.0.1:1"}
	if _, err := c.dial(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
