package runtime

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"modelops/bridges/process"
	"modelops/messages"
)

// The test binary is its own worker: started with FAKE=MODE it plays a part and never comes to the tests.
func TestMain(m *testing.M) {
	if mode := os.Getenv("FAKE"); mode != "" {
		os.Exit(fake(mode))
	}
	if os.Getenv("MODELOPS_MODEL") != "" { // a worker that isn't told its part must not run the tests, which start workers
		os.Exit(3)
	}
	goleak.VerifyTestMain(m)
}

// fake plays a worker; its one argument is the port.
func fake(mode string) int {
	port := ""
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	if path, ok := strings.CutPrefix(mode, "recorded:"); ok {
		return playRecording(path, port)
	}
	switch mode {
	case "exit":
		fmt.Println("hello")
		fmt.Fprintln(os.Stderr, "error: out of memory")
		return 7
	case "never":
		return serve(port, "fake", func() (int, string) { return 503, `{"error":{"message":"Loading model"}}` })
	case "late":
		var asked atomic.Int32
		return serve(port, "fake", func() (int, string) {
			if asked.Add(1) <= lateAfter {
				return 503, `{}`
			}
			return 200, `{}`
		})
	case "v6":
		return serveOn("[::1]:"+port, "fake", always)
	case "opens late":
		<-time.After(300 * time.Millisecond) // meant to pass: the port is closed until then
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		return serve(port, "fake", always)
	case "parent":
		return parent(port)
	case "sleeper":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "reader":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			for range 4 { // more than the process itself takes of memory
				if f, err := os.Open(os.Args[0]); err == nil {
					_, _ = io.Copy(io.Discard, bufio.NewReader(f))
					_ = f.Close()
				}
			}
			fmt.Print(".")
		}
		return 0
	case "start":
		return startAndDie()
	}
	return serve(port, strings.TrimPrefix(mode, "serve:"), always)
}

// lateAfter is how often the worker that is late says that it isn't ready.
const lateAfter = 10

func always() (int, string) { return 200, `{}` }

func serve(port, model string, health func() (int, string)) int {
	return serveOn("127.0.0.1:"+port, model, health)
}

func serveOn(address, model string, health func() (int, string)) int {
	mux := http.NewServeMux()
	var asked atomic.Int32
	mux.HandleFunc("/asked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, asked.Load()) })
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		code, body := health()
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	})
	mux.HandleFunc("/v1/models", func(w http.ResponseWriter, _ *http.Request) {
		model := model
		if model == "dies" || model == "hangs" || model == "keyed" {
			model = "fake"
		}
		fmt.Fprintf(w, `{"data":[{"id":%q}]}`, model)
	})
	mux.HandleFunc("/props", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"total_slots":3}`) })
	mux.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, req *http.Request) {
		switch model {
		case "dies":
			fmt.Println("CUDA error: out of memory")
			os.Exit(3)
		case "hangs":
			<-req.Context().Done()
		}
		fmt.Fprint(w, `{}`)
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(os.Environ(), "\n")) })
	fmt.Println("serving", model)
	door := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if model == "keyed" && r.Header.Get("Authorization") != "Bearer engine-key" {
			http.Error(w, "Invalid API Key", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
	if err := http.ListenAndServe(address, door); err != nil {
		fmt.Println("error:", err)
	}
	return 1
}

// parent starts a child in a session of its own, one that only has the parent's group, and ends on SIGTERM.
func parent(port string) int {
	for _, own := range []bool{true, false} {
		c := exec.Command(os.Args[0], port)
		c.Env = append(os.Environ(), "FAKE=sleeper")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: own}
		if err := c.Start(); err != nil {
			fmt.Println("error:", err)
			return 1
		}
		fmt.Println("child", c.Process.Pid)
	}
	return serve(port, "fake", always)
}

// startAndDie is a coordinator that starts a worker and is lost.
func startAndDie() int {
	r := New(Options{LogDir: os.Getenv("LOGS"), Env: newEnviron("FAKE=" + os.Getenv("NEXT")), PassEnv: []string{"FAKE"}})
	w, err := r.Start(context.Background(), fakeSpec(), nil, os.Getenv("NONCE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(w.Pid)
	return 0
}

func newEnviron(pairs ...string) []string { return append(os.Environ(), pairs...) }

func fakeSpec() *messages.ModelSpec {
	return &messages.ModelSpec{Name: "fake", Runtime: "command", Cmd: "'" + os.Args[0] + "' ${PORT}"}
}

// newRuntime makes a Runtime whose workers play mode.
func newRuntime(t *testing.T, mode string) *Runtime {
	t.Helper()
	return New(Options{LogDir: t.TempDir(), Env: newEnviron("FAKE=" + mode), PassEnv: []string{"FAKE"}, StopGrace: 2 * time.Second})
}

// start starts a worker and sees to its end.
func start(t *testing.T, r *Runtime, spec *messages.ModelSpec) *messages.Worker {
	t.Helper()
	w, err := r.Start(t.Context(), spec, nil, nonce(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, r, spec, w) })
	return w
}

func stopped(t *testing.T, r *Runtime, spec *messages.ModelSpec, w *messages.Worker) {
	t.Helper()
	if err := r.StopWithin(context.Background(), spec, w, 10*time.Millisecond); err != nil {
		t.Error(err)
	}
	if _, err := r.Watch(context.Background(), w); err != nil {
		t.Error(err)
	}
}

func nonce(t *testing.T) string {
	return strings.ReplaceAll(t.Name(), "/", "-") + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// lostCoordinator lets another process start a worker and die, and tells what the journal would know of the worker.
func lostCoordinator(t *testing.T, mode, logs string) *messages.Worker {
	t.Helper()
	n := nonce(t)
	c := exec.Command(os.Args[0])
	c.Env = newEnviron("FAKE=start", "NEXT="+mode, "LOGS="+logs, "NONCE="+n)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if _, err := c.Output(); err != nil {
		t.Fatal(err, stderr.String())
	}
	w, err := New(Options{}).Find(t.Context(), n)
	if err != nil || w == nil {
		t.Fatalf("the worker of the lost coordinator is not found: %v", err)
	}
	return w
}

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

// eventually polls what another process does: there is nothing here to wait on.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	for !ok() {
		if process.Sleep(ctx, 5*time.Millisecond) != nil {
			t.Fatal("never seen: " + what)
		}
	}
}

// childrenOf are the pids that a fake parent wrote into its log.
func childrenOf(w *messages.Worker) []int64 {
	var out []int64
	for _, l := range process.Tail(w.LogPath, 10) {
		if v, ok := strings.CutPrefix(l, "child "); ok {
			pid, _ := strconv.ParseInt(v, 10, 64)
			out = append(out, pid)
		}
	}
	return out
}

func running(w *messages.Worker) bool {
	live, _ := New(Options{}).Prove(w)
	return live == process.Alive
}

func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func modelFile(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../testdata/model/tiny.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}
