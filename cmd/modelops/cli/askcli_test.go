package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// TestAQuestionNeedsNoConfiguration: whatever is wrong with the file, a client finds the daemon by the data directory, and warns once.
func TestAQuestionNeedsNoConfiguration(t *testing.T) {
	c, out, errs := openDoor(t, chunks("Paris."))
	state := t.TempDir()
	address := `{"nats": "` + c.server + `"}`
	if err := os.WriteFile(filepath.Join(state, AddressFile), []byte(address), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MODELOPS_SERVER", "")
	for name, text := range map[string]string{"broken": "models: [", "binary": "\x7fELF\x00\x01", "other": "version: 99\nnonsense: 1\n", "empty": "", "missing": "-", "folder": "/"} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		var err error
		switch text {
		case "-":
		case "/":
			err = os.Mkdir(file, 0o755)
		default:
			err = os.WriteFile(file, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		errs.Reset()
		root := newRoot(c)
		root.SetArgs([]string{"--config", file, "--data-dir", state, "infer", "m", "where?"})
		c.warned = false
		if code := c.finish(root.ExecuteC()); code != exitOK || out.String() != "Paris.\n" {
			t.Errorf("%s: %d %q %s", name, code, out, errs)
		}
		if warned := strings.Count(errs.String(), "\n") == 1 && strings.HasPrefix(errs.String(), "warning: the configuration can't be used"); warned != (name != "empty") {
			t.Errorf("%s: it says %q", name, errs)
		}
	}
}

// askedDaemon keeps the prompts, and counts the loads.
type askedDaemon struct {
	*fakeDaemon
	prompts []string
	loads   int
}

func (a *askedDaemon) LoadModel(context.Context, *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	a.loads++
	return &messages.ModelLoadReply{Success: true, ModelId: "m", VramUsedMb: 7}, nil
}

// TestRunIsMeantAsOllamasUsersMeanIt: words are one prompt, what is piped stands before them, and without both the model is loaded.
func TestRunIsMeantAsOllamasUsersMeanIt(t *testing.T) {
	a := &askedDaemon{fakeDaemon: &fakeDaemon{}}
	a.infer = func(_ context.Context, r *messages.InferenceRequest, _ func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		a.prompts = append(a.prompts, r.Prompt)
		return &messages.InferenceResponse{ResponseText: "yes"}, nil
	}
	c, out, errs := openDoorFor(t, a, a, a.authenticate)
	for _, tc := range []struct{ stdin, line, prompt, out string }{
		{"", "run m why is it so", "why is it so", "yes\n"},
		{"a\nb\n", "run m", "a\nb", "yes\n"},
		{"text\n", "run m sum it", "text\n\nsum it", "yes\n"},
		{"", "run m", "", "m is ready, 7 MiB\n"},
	} {
		out.Reset()
		errs.Reset()
		a.prompts = nil
		c.stdin = strings.NewReader(tc.stdin)
		if code := c.run(strings.Fields(tc.line)...); code != exitOK || out.String() != tc.out || strings.Join(a.prompts, "|") != tc.prompt {
			t.Errorf("%q: %d %q %q %s", tc.line, code, out, a.prompts, errs)
		}
	}
	if a.loads != 1 {
		t.Errorf("%d loads", a.loads)
	}
}

// said passes on what the progress writes.
type said struct{ lines chan string }

func (s said) Write(b []byte) (int, error) {
	select {
	case s.lines <- string(b):
	default:
	}
	return len(b), nil
}

// TestThereIsASignOfLife: while nothing comes, stderr tells what the request waits for, and stdout has the answer alone.
func TestThereIsASignOfLife(t *testing.T) {
	release := make(chan struct{})
	p := &queuedDaemon{fakeDaemon: &fakeDaemon{}}
	p.infer = func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		p.id <- r.RequestId
		<-release
		if err := emit(&messages.InferenceChunk{Text: "Paris."}); err != nil {
			return nil, err
		}
		return &messages.InferenceResponse{ResponseText: "Paris."}, nil
	}
	p.id = make(chan string, 1)
	c, out, _ := openDoorFor(t, p, p, p.authenticate)
	errs := said{make(chan string, 100)}
	c.stderr = errs
	done := make(chan int)
	go func() { done <- c.run("infer", "m", "where?", "--stream") }()
	for line := range errs.lines {
		if strings.Contains(line, "place 3 in its queue, about 9.0s more") {
			break
		}
	}
	close(release)
	if code := <-done; code != exitOK || out.String() != "Paris.\n" {
		t.Errorf("%d %q", code, out)
	}
}

type queuedDaemon struct {
	*fakeDaemon
	id    chan string
	known string
}

func (q *queuedDaemon) GetQueue(context.Context, *emptypb.Empty) (*messages.QueueView, error) {
	select {
	case q.known = <-q.id:
	default:
	}
	return &messages.QueueView{Requests: []*messages.QueuedRequest{{RequestId: q.known, Model: "m", State: "waiting", Position: 3, ExpectedMs: 9000}}}, nil
}
func (q *queuedDaemon) GetVersion(context.Context, *emptypb.Empty) (*messages.VersionReply, error) {
	return &messages.VersionReply{Host: "pc"}, nil
}
func (q *queuedDaemon) GetState(context.Context, *messages.StateRequest) (*messages.StateReply, error) {
	return nil, messages.NewError(messages.NotFound, "m", "there is none")
}

// TestProgressIsSilent: with --quiet, and with --json where a program reads stderr; nothing follows its end.
func TestProgressIsSilent(t *testing.T) {
	var errs bytes.Buffer
	for _, c := range []*cli{{stderr: &errs, quiet: true}, {stderr: &errs, asJSON: true}} {
		p := c.progress("x")
		if p.shows() {
			t.Error("it shows")
		}
		p.done()
		p.done()
	}
	p := &progress{w: &errs, label: "loading m", began: time.Now(), stop: make(chan struct{})}
	p.at(1, 4, false)
	p.draw()
	p.done()
	p.draw()
	if got := errs.String(); !strings.HasPrefix(got, "loading m, 25 % (") || strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
}

// TestAChatOfAProgramEndsAsItsLastMessage: a pipe's reader learns of a failure by the exit code.
func TestAChatOfAProgramEndsAsItsLastMessage(t *testing.T) {
	c, out, errs := openDoor(t, &fakeDaemon{infer: func(_ context.Context, _ *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		_ = emit(&messages.InferenceChunk{Text: "half"})
		return nil, messages.NewError(messages.InferenceError, "m", "it ended")
	}})
	c.stdin = strings.NewReader("hello\n")
	if code := c.run("chat", "m"); code != exitNo || out.String() != "half\n" || !strings.Contains(errs.String(), "it ended") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	c, out, errs = openDoor(t, chunks(""))
	if code := c.run("infer", "m", "x", "--stream"); code != exitOK || !strings.Contains(errs.String(), "the answer is empty") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}
