package engine

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// worker is a running Serve.
type worker struct {
	url  string
	stop context.CancelFunc
	done chan error
}

func startWorker(t *testing.T, change func(*Options)) worker {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr := make(chan string, 1)
	o := Options{ModelPath: tinyPath, Alias: "tiny", OnListen: func(a string) { addr <- a }}
	if change != nil {
		change(&o)
	}
	w := worker{stop: cancel, done: make(chan error, 1)}
	go func() { w.done <- Serve(ctx, o) }()
	select {
	case a := <-addr:
		w.url = "http://" + a
	case err := <-w.done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

func (w worker) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.Get(w.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

// until polls a condition of the real server.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(hangLimit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func (w worker) ready(t *testing.T) {
	t.Helper()
	until(t, "ready", func() bool { code, _ := w.get(t, "/health"); return code == 200 })
}

// ask posts in the background under a context; the answer's body is read to its end.
func (w worker) ask(ctx context.Context, path, body string) <-chan string {
	out := make(chan string, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+path, strings.NewReader(body))
		if err != nil {
			out <- err.Error()
			return
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			out <- err.Error()
			return
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		out <- string(b)
	}()
	return out
}

func (w worker) busy(t *testing.T) int {
	_, body := w.get(t, "/slots")
	return strings.Count(body, `"is_processing":true`)
}

func TestLoadingShowsProgress(t *testing.T) {
	// A busy machine has time for few looks at a short load: then the next one takes longer.
	for delay, readings := 300*time.Millisecond, 0; readings < 5; delay *= 2 {
		if delay > hangLimit {
			t.Fatalf("only %d different readings", readings)
		}
		readings = progressReadings(t, delay)
	}
}

// progressReadings counts the different readings of a load that takes so long.
func progressReadings(t *testing.T, delay time.Duration) (readings int) {
	w := startWorker(t, func(o *Options) { o.LoadDelay = delay })
	last := -1.0
	until(t, "loaded", func() bool {
		code, body := w.get(t, "/health")
		if code == 200 {
			return true
		}
		var v struct {
			Error struct {
				Code          int
				Message, Type string
			}
			Progress float64
		}
		if err := json.Unmarshal([]byte(body), &v); err != nil || code != 503 || v.Error.Message != "Loading model" || v.Error.Type != "unavailable_error" || v.Error.Code != 503 {
			t.Fatalf("%d %s %v", code, body, err)
		}
		if v.Progress < last || v.Progress > 1 {
			t.Fatalf("progress went from %g to %g", last, v.Progress)
		}
		if v.Progress > last {
			readings++
		}
		last = v.Progress
		return false
	})
	w.stop()
	if err := <-w.done; err != nil {
		t.Error(err)
	}
	return readings
}

func TestStopWhileLoading(t *testing.T) {
	w := startWorker(t, func(o *Options) { o.LoadDelay = time.Hour })
	w.stop()
	if err := <-w.done; err != nil {
		t.Error(err)
	}
}

func TestBadModelIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.gguf")
	if err := os.WriteFile(path, []byte("GGUF but no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, "/nowhere.gguf", t.TempDir()} {
		if err := Serve(t.Context(), Options{ModelPath: p}); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
}

const endless = `{"prompt":"Anne","temperature":0,"ignore_eos":true,"stream":true}`

func TestClientGoneFreesSlotAndQueue(t *testing.T) {
	w := startWorker(t, func(o *Options) { o.Slots = 1; o.TokenDelay = time.Minute })
	w.ready(t)
	running, leave := context.WithCancel(t.Context())
	first := w.ask(running, "/completion", endless)
	until(t, "running", func() bool { return w.busy(t) == 1 })
	waiting, giveUp := context.WithCancel(t.Context())
	second := w.ask(waiting, "/completion", endless)
	deferred := func(n string) func() bool {
		return func() bool {
			_, m := w.get(t, "/metrics")
			return strings.Contains(m, "llamacpp_requests_deferred "+n+"\n")
		}
	}
	until(t, "queued", deferred("1"))
	giveUp()
	<-second
	until(t, "queue empty", deferred("0"))
	leave()
	<-first
	until(t, "slot free", func() bool { return w.busy(t) == 0 })
	_, metrics := w.get(t, "/metrics")
	if strings.Contains(metrics, "tokens_predicted_total 253\n") {
		t.Error("the generation ran to its end though its client had left")
	}
	w.stop()
	if err := <-w.done; err != nil {
		t.Error(err)
	}
}

func TestGraceLetsRequestsFinish(t *testing.T) {
	w := startWorker(t, func(o *Options) { o.TokenDelay = 50 * time.Millisecond })
	w.ready(t)
	got := w.ask(t.Context(), "/v1/chat/completions", `{"messages":[{"role":"user","content":"Who are you?"}],"temperature":0}`)
	until(t, "running", func() bool { return w.busy(t) == 1 || len(got) > 0 }) // a busy machine may look too late
	w.stop()
	if text := <-got; !strings.Contains(text, "I am Tiny") {
		t.Errorf("cut off: %s", text)
	}
	if err := <-w.done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get(w.url + "/health"); err == nil {
		t.Error("still listening")
	}
}

// Clients dial connections in reserve; they must not hold up the end. The web server itself would wait five seconds for each.
func TestSilentConnectionDoesNotDelayTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, side := net.Pipe()
		defer client.Close()
		silent := &silentConns{open: map[net.Conn]bool{}}
		web := &http.Server{ConnState: silent.track}
		l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conn <- side
		served := make(chan error, 1)
		go func() { served <- web.Serve(l) }()
		synctest.Wait()
		began := time.Now()
		stop(web, silent, time.Hour, func() { t.Error("requests were cut off") })
		<-served
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection is open: %v", err)
		}
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestGraceEnds(t *testing.T) {
	w := startWorker(t, func(o *Options) { o.HangAfter = 3; o.Grace = 50 * time.Millisecond })
	w.ready(t)
	got := w.ask(t.Context(), "/completion", endless)
	until(t, "hanging", func() bool { return w.busy(t) == 1 })
	w.stop()
	if err := <-w.done; err != nil {
		t.Error(err)
	}
	if text := <-got; !strings.Contains(text, "unavailable_error") {
		t.Errorf("the stream does not say that it was cut off: %s", text)
	}
}
