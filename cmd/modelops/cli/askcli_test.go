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
	"google.golang.org/protobuf/types/known/structpb"

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
		a.prompts = append(a.prompts, strings.TrimSpace(r.Prompt+" "+r.Parameters["response_format"]))
		return &messages.InferenceResponse{ResponseText: "yes"}, nil
	}
	c, out, errs := openDoorFor(t, a, a, a.authenticate)
	for _, line := range []string{"run m -", "run m --format xml x"} {
		if code := c.run(strings.Fields(line)...); code != exitUsage || a.prompts != nil {
			t.Errorf("%s: %d %s", line, code, errs)
		}
	}
	for _, tc := range []struct{ stdin, line, prompt, out string }{
		{"", "run m why is it so", "why is it so", "yes\n"},
		{"a\nb\n", "run m", "a\nb", "yes\n"},
		{"text\n", "run m sum it", "text\n\nsum it", "yes\n"},
		{"a\nb\n", "run m -", "a\nb", "yes\n"},
		{"", "run m - x", "- x", "yes\n"},
		{"", "run m --format json x", `x {"type":"json_object"}`, "yes\n"},
		{"", `run m x --format {"type":"object"}`, `x {"json_schema":{"name":"answer","schema":{"type":"object"}},"type":"json_schema"}`, "yes\n"},
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

type statusDaemon struct {
	*fakeDaemon
	applied error
}

func (statusDaemon) GetStatus(context.Context, *emptypb.Empty) (*messages.StatusView, error) {
	return &messages.StatusView{Models: []*messages.ModelView{{Name: "tiny", Spec: &messages.ModelSpec{Name: "tiny", Aliases: []string{"small"}}}}}, nil
}

func (d statusDaemon) ApplyConfig(context.Context, *messages.ApplyConfigRequest) (*messages.ConfigChanges, error) {
	return nil, d.applied
}

func (statusDaemon) SendCommand(context.Context, *messages.SendRequest) (*messages.SendReply, error) {
	grant, err := structpb.NewStruct(map[string]any{"lease": "7", "epoch": "12", "bytes": "1048576"})
	if err != nil {
		return nil, err
	}
	placed, err := structpb.NewStruct(map[string]any{"placement": map[string]any{"id": "5", "shares": []any{map[string]any{"gpu": "g", "bytes": "77"}}}, "x": "8"})
	return &messages.SendReply{AnswerType: "VramGrant", Answer: grant, Sequence: 9, Events: []*messages.RecordedEvent{{Name: "arbiter.placement_decided", Body: placed}, {Name: "of.a.newer.build", Body: placed}}}, err
}

// TestAChatWithAnUnknownModel ends before the first message, which may never come.
func TestAChatWithAnUnknownModel(t *testing.T) {
	p := statusDaemon{fakeDaemon: chunks("yes")}
	c, _, errs := openDoorFor(t, p, p, p.authenticate)
	for model, want := range map[string]int{"tiyn": exitOf[messages.ModelNotFound], "tiny": exitOK, "small": exitOK, "model/tiny": exitOK} {
		errs.Reset()
		if code := c.run("chat", model); code != want || want != exitOK && !strings.Contains(errs.String(), `did you mean "tiny"?`) {
			t.Errorf("%s: exit %d, %s", model, code, errs)
		}
	}
}

// TestNumbersOfSentCommands: what a command's answer and events hold are numbers where the proto files say so, however deep, and texts where they don't.
func TestNumbersOfSentCommands(t *testing.T) {
	p := statusDaemon{fakeDaemon: chunks()}
	c, out, errs := openDoorFor(t, p, p, p.authenticate)
	for line, want := range map[string][]string{
		"send gpu/cpu ReserveVram --json": {`"answer":{"bytes":1048576,"epoch":12,"lease":"7"}`, `"body":{"placement":{"id":"5","shares":[{"bytes":77,"gpu":"g"}]},"x":"8"}`, `"bytes":"77"`, `"sequence":9`},
		"send gpu/cpu ReserveVram":        {`VramGrant {"bytes":1048576,`, `9  arbiter.placement_decided {"placement":{"id":"5","shares":[{"bytes":77,`},
	} {
		out.Reset()
		code := c.run(strings.Fields(line)...)
		for _, part := range want {
			if !strings.Contains(out.String(), part) || code != exitOK {
				t.Errorf("%s: exit %d, %s %s, want %s", line, code, out, errs, part)
			}
		}
	}
}

// TestABrokenFileIsSaidOnce when it is applied: the daemon says what is wrong with it.
func TestABrokenFileIsSaidOnce(t *testing.T) {
	p := statusDaemon{fakeDaemon: chunks(), applied: messages.NewError(messages.InvalidArgument, "configuration", "it has mistakes, and nothing was changed: nonsense")}
	c, _, errs := openDoorFor(t, p, p, p.authenticate)
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := c.run("--config", file, "config", "apply"); code != exitUsage || strings.Count(errs.String(), "nonsense") != 1 {
		t.Errorf("exit %d: %s", code, errs)
	}
	errs.Reset()
	c.server = "nats://127.0.0.1:1"
	if code := c.run("--config", file, "config", "apply"); code != exitUnreachable || !strings.Contains(errs.String(), "nonsense") {
		t.Errorf("without a daemon: exit %d: %s", code, errs)
	}
}

// TestWhatWorksWithABrokenConfiguration: restore, keys and certificates need the data directory of the file and nothing else of it.
func TestWhatWorksWithABrokenConfiguration(t *testing.T) {
	for _, key := range []string{"MODELOPS_SERVER", "MOC_DATA_DIR"} {
		t.Setenv(key, "")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	run := func(args ...string) int {
		out.Reset()
		errs.Reset()
		c := &cli{stdin: strings.NewReader("no copy"), stdout: &out, stderr: &errs, now: time.Now}
		root := newRoot(c)
		root.SetArgs(append([]string{"--config", file}, args...))
		return c.finish(root.ExecuteC())
	}
	write("host: me\ndata_dir: state\nserver: {grpc_port: 99999999}\nnonsense: 1\nmodels: {declare: {a: {cmd: x}}}\n")
	if code := run("certs", "init"); code != exitOK || !strings.Contains(out.String(), filepath.Join(dir, "state", "certs")) {
		t.Errorf("certs: exit %d, %s %s", code, &out, &errs)
	}
	if code := run("keys", "add", "alice"); code != exitOK {
		t.Errorf("keys: exit %d, %s", code, &errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "keys.json")); err != nil {
		t.Error(err)
	}
	if code := run("restore", "--from", "-"); strings.Contains(errs.String(), "it has mistakes") || !strings.Contains(errs.String(), "this is no copy of a journal") {
		t.Errorf("restore: exit %d, %s", code, &errs)
	}
	for _, text := range []string{"data_dir: [state]\n", "data_dir: ${NO_SUCH_VARIABLE}\n", "models: [", "\x00"} {
		write(text)
		if code := run("certs", "init"); code != exitUsage {
			t.Errorf("%q doesn't tell the directory: exit %d, %s", text, code, &out)
		}
	}
}
