package runtime

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"modelops/bridges/process"
	"modelops/messages"
)

func TestStartRefuses(t *testing.T) {
	r := New(Options{LogDir: t.TempDir(), Env: []string{"PATH=/bin"}})
	file := modelFile(t)
	tests := map[string]*messages.ModelSpec{
		"unknown runtime":           {Runtime: "x"},
		"there is no command":       {Runtime: "command", Cmd: " # nothing"},
		"without its partner":       {Runtime: "command", Cmd: "sleep 'x"},
		"${NOPE} means nothing":     {Runtime: "command", Cmd: "sleep ${NOPE}"},
		"${PID} means nothing":      {Runtime: "command", Cmd: "sleep ${PID}"},
		"variable KEY is not set":   {Runtime: "command", Cmd: "sleep 1", Env: []string{"A=${env.KEY}"}},
		"Model file not found":      {Runtime: "embedded", Path: "/no/such.gguf"},
		"can't be started":          {Runtime: "command", Cmd: "/no/such/program"},
		"llama-none can't be start": {Runtime: "llama.cpp", Path: file},
		"is no http address":        {Runtime: "openai", Url: "example.org"},
		"variable KEY2, which":      {Runtime: "openai", Url: "https://example.org", ApiKeyEnv: "KEY2"},
	}
	r.o.LlamaServer = "llama-none"
	for want, spec := range tests {
		spec.Name = "m"
		_, err := r.Start(t.Context(), spec, nil, nonce(t))
		e := messages.AsError(err)
		if e == nil || e.Code != messages.ModelLoadError || e.Subject != "model/m" || e.Retry != 0 || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := r.Start(t.Context(), &messages.ModelSpec{Runtime: "command", Cmd: "sleep 1"}, nil, ""); messages.CodeOf(err) != messages.InvalidArgument {
		t.Error(err)
	}
}

// A start that fails for want of something that passes says when to try again; what is wrong with a declaration or a program doesn't pass.
func TestWhatAStartFailsForMayPass(t *testing.T) {
	spec := &messages.ModelSpec{Name: "m"}
	for cause, passes := range map[error]bool{syscall.EMFILE: true, syscall.ENOSPC: true, syscall.EIO: true, os.ErrNotExist: false, os.ErrPermission: false, syscall.ENOEXEC: false} {
		e := messages.AsError(asLoadError(spec, fmt.Errorf("no port: %w", cause)))
		if e.Code != messages.ModelLoadError || passes != (e.Retry > 0) {
			t.Errorf("%v: %v, again in %s", cause, e, e.Retry)
		}
	}
}

func TestArgumentsOfTheEngines(t *testing.T) {
	r := New(Options{Self: "modelops", LlamaServer: "ls", Threads: 2})
	full := &messages.ModelSpec{Name: "m", Path: "/m.gguf", ContextLength: 100, Parallel: 3, Shards: 2, UseModelName: "up", Args: []string{"--x", "${MODEL_ID}"}}
	bare := &messages.ModelSpec{Name: "m", Path: "/m.gguf", Threads: 1}
	replica := &messages.ModelSpec{Name: "m~2", ReplicaOf: "m", Path: "/m.gguf", Threads: 1, Args: []string{"--x", "${MODEL_ID}"}}
	own := func(args ...string) *messages.ModelSpec {
		return &messages.ModelSpec{Name: "m", Path: "/m.gguf", Threads: 1, Shards: 3, Args: args}
	}
	sleepy := &messages.ModelSpec{Name: "m", Path: "/m.gguf", Threads: 1, SleepMs: proto.Int64(1500)}
	sleepyOwn := &messages.ModelSpec{Name: "m", Path: "/m.gguf", Threads: 1, SleepMs: proto.Int64(1500), Args: []string{"--sleep-idle-seconds", "9"}}
	hub := &messages.ModelSpec{Name: "m", Threads: 1, Args: []string{"-hf", "some/model"}}
	tests := []struct {
		engine string
		spec   *messages.ModelSpec
		want   string
	}{
		{"embedded", full, "modelops worker --model /m.gguf --alias up --host 127.0.0.1 --port 9 --slots 3 --threads 2 --ctx 100 --x m"},
		{"embedded", bare, "modelops worker --model /m.gguf --alias m --host 127.0.0.1 --port 9 --slots 4 --threads 1"},
		{"embedded", replica, "modelops worker --model /m.gguf --alias m --host 127.0.0.1 --port 9 --slots 4 --threads 1 --x m"},
		{"llama.cpp", full, "ls --model /m.gguf --alias up --host 127.0.0.1 --port 9 --parallel 3 --threads 2 --ctx-size 300 --tensor-split 1,1 --x m"},
		{"llama.cpp", bare, "ls --model /m.gguf --alias m --host 127.0.0.1 --port 9 --parallel 4 --threads 1 --ctx-size 16384"},
		{"llama.cpp", hub, "ls --alias m --host 127.0.0.1 --port 9 --parallel 4 --threads 1 --ctx-size 16384 -hf some/model"},
		{"vllm", full, "vllm serve /m.gguf --served-model-name up --host 127.0.0.1 --port 9 --tensor-parallel-size 2 --max-model-len 100 --max-num-seqs 3 --x m"},
		{"llama.cpp", own("-ts", "3,1,1"), "ls --model /m.gguf --alias m --host 127.0.0.1 --port 9 --parallel 4 --threads 1 --ctx-size 16384 -ts 3,1,1"},
		{"vllm", own("--tensor-parallel-size=1", "-pp", "3"), "vllm serve /m.gguf --served-model-name m --host 127.0.0.1 --port 9 --tensor-parallel-size=1 -pp 3"},
		{"vllm", own(), "vllm serve /m.gguf --served-model-name m --host 127.0.0.1 --port 9 --tensor-parallel-size 3"},
		{"llama.cpp", sleepy, "ls --model /m.gguf --alias m --host 127.0.0.1 --port 9 --parallel 4 --threads 1 --ctx-size 16384 --sleep-idle-seconds 2"},
		{"llama.cpp", sleepyOwn, "ls --model /m.gguf --alias m --host 127.0.0.1 --port 9 --parallel 4 --threads 1 --ctx-size 16384 --sleep-idle-seconds 9"},
		{"vllm", sleepy, "vllm serve /m.gguf --served-model-name m --host 127.0.0.1 --port 9 --enable-sleep-mode"},
		{"embedded", sleepy, "modelops worker --model /m.gguf --alias m --host 127.0.0.1 --port 9 --slots 4 --threads 1"},
		{"vllm", bare, "vllm serve /m.gguf --served-model-name m --host 127.0.0.1 --port 9"},
		{"transformers", full, "transformers serve /m.gguf --host 127.0.0.1 --port 9 --x m"},
		{"whisper.cpp", bare, "whisper-server --model /m.gguf --host 127.0.0.1 --port 9 --inference-path /v1/audio/transcriptions --threads 1"},
	}
	for _, c := range tests {
		spec := proto.Clone(c.spec).(*messages.ModelSpec)
		spec.Runtime = c.engine
		k, err := r.kindOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		argv, err := k.argv(spec, r.macros(k, spec, 9, r.contextFor(t.Context(), k, spec)))
		if err != nil || !slices.Equal(argv, strings.Fields(c.want)) {
			t.Errorf("%q %v, want %q", argv, err, c.want)
		}
	}
}

// What names its model by arguments is started without a file of ours.
func TestArgumentsInPlaceOfAPath(t *testing.T) {
	r := New(Options{LlamaServer: "ls"})
	spec := &messages.ModelSpec{Name: "m", Runtime: "llama.cpp", Args: []string{"-hf", "some/model"}}
	k, err := r.kindOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.plan(k, spec, nil, "n", fit{})
	if err != nil || !slices.Equal(l.spec.Argv[:3], []string{"ls", "--alias", "m"}) || slices.Contains(l.spec.Argv, "--model") {
		t.Errorf("%v %v", l, err)
	}
	spec.Args = nil
	if k, err = r.kindOf(spec); err == nil {
		_, err = r.plan(k, spec, nil, "n", fit{})
	}
	if messages.CodeOf(err) != messages.ModelLoadError {
		t.Error(err)
	}
}

func TestCmdStopEndsTheWorker(t *testing.T) {
	r := newRuntime(t, "late")
	mark := filepath.Join(t.TempDir(), "mark")
	spec := fakeSpec()
	spec.CheckEndpoint = "none"
	spec.CmdStop = `sh -c 'echo ${MODEL_ID} ${PORT} > "$0"; kill -INT ${PID}' ` + mark
	w := start(t, r, spec)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(mark); err != nil || !strings.HasPrefix(string(b), "fake ") {
		t.Errorf("cmdStop did not run: %q %v", b, err)
	}
}

func TestRemote(t *testing.T) {
	var keys []string
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.URL.Path+" "+r.Header.Get("Authorization"))
		w.WriteHeader(status)
	}))
	defer s.Close()
	r := New(Options{Env: []string{"KEY=secret"}})
	spec := &messages.ModelSpec{Name: "far", Runtime: "openai", Url: s.URL + "/v1/", ApiKeyEnv: "KEY", LoadTimeoutSeconds: 1}
	w, err := r.Start(t.Context(), spec, nil, "n")
	if err != nil || !w.Remote || w.Url != s.URL || strings.Contains(w.String(), "secret") {
		t.Fatal(w, err)
	}
	if _, slots, err := r.AwaitReady(t.Context(), spec, w); err != nil || slots != 4 {
		t.Error(slots, err)
	}
	if err := r.Healthy(t.Context(), spec, w); err != nil {
		t.Error(err)
	}
	if want := "/v1/models Bearer secret"; keys[0] != want {
		t.Errorf("%q, want %q", keys[0], want)
	}
	for code, want := range map[int]string{401: "refused our key", 500: "gave no 200"} {
		status = code
		if _, _, err := r.AwaitReady(t.Context(), spec, w); messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), want) {
			t.Error(code, err)
		}
	}
	if err := r.Stop(t.Context(), spec, w); err != nil {
		t.Error(err)
	}
}

// The kernel gives a connection to the socket of the very address before those of all addresses.
func TestAnsweringPicksAsTheKernelDoes(t *testing.T) {
	var all []process.Socket
	for name, addr := range map[string]string{"own": "127.0.0.1:80", "all": "0.0.0.0:80", "other": "127.0.0.2:80", "all81": "0.0.0.0:81"} {
		all = append(all, process.Socket{Addr: netip.MustParseAddrPort(addr), Inode: name})
	}
	for where, want := range map[string]string{"127.0.0.1 80": "own", "127.0.0.9 80": "all", "localhost 81": "all81", "127.0.0.1 82": ""} {
		host, port, _ := strings.Cut(where, " ")
		var got []string
		for _, l := range answering(all, host, uint16(portOf("http://x:"+port))) {
			got = append(got, l.Inode)
		}
		if strings.Join(got, "") != want {
			t.Errorf("%s: %q, want %q", where, got, want)
		}
	}
}

// TestEngineWithAKeyOfItsOwn: an engine that is started here may ask for a key too, also when it is asked whether it is ready.
func TestEngineWithAKeyOfItsOwn(t *testing.T) {
	r := New(Options{LogDir: t.TempDir(), Env: newEnviron("FAKE=serve:keyed", "ENGINE_KEY=engine-key"), PassEnv: []string{"FAKE"}, StopGrace: 2 * time.Second})
	spec := fakeSpec()
	spec.ApiKeyEnv = "ENGINE_KEY"
	w := start(t, r, spec)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	spec.ApiKeyEnv = "ABSENT_KEY"
	if _, err := r.Start(t.Context(), spec, nil, nonce(t)); messages.CodeOf(err) != messages.ModelLoadError {
		t.Error(err)
	}
}
