//go:build e2e

package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// fakeEngineWord makes this test program an engine that misbehaves on command: `TEST fake-engine --port N`.
const fakeEngineWord = "fake-engine"

// fakeEngine answers chats, or fails while its knob says so: PUT /knob/500 makes every answer a 500, PUT /knob/200 a good one,
// and PUT /knob/0 lets it answer no more while it says that it is well.
func fakeEngine(args []string) int {
	flags := flag.NewFlagSet(fakeEngineWord, flag.ContinueOnError)
	port := flags.Int("port", 0, "where it listens")
	code := flags.Int("code", http.StatusOK, "what it answers until its knob is turned")
	deaf := flags.Bool("deaf", false, "ignore SIGTERM")
	if flags.Parse(args) != nil {
		return 2
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	e := &fake{}
	e.code.Store(int64(*code))
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	web := &http.Server{Handler: e.mux(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = web.Serve(l) }()
	for range terminate {
		if !*deaf {
			return 0
		}
	}
	return 0
}

type fake struct {
	code  atomic.Int64
	asked atomic.Int64
}

func (e *fake) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"status":"ok"}`) })
	mux.HandleFunc("PUT /knob/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int64
		if _, err := fmt.Sscan(r.PathValue("code"), &code); err == nil {
			e.code.Store(code)
		}
	})
	mux.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, e.asked.Load()) })
	mux.HandleFunc("POST /v1/chat/completions", e.chat)
	return mux
}

func (e *fake) chat(w http.ResponseWriter, r *http.Request) {
	e.asked.Add(1)
	_, _ = io.Copy(io.Discard, r.Body) // or it doesn't see that its caller leaves
	code := int(e.code.Load())
	if code == 0 {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if code != http.StatusOK {
		fmt.Fprintf(w, `{"error":{"message":"told to fail","type":"server_error","code":%d}}`, code)
		return
	}
	_ = json.NewEncoder(w).Encode(object{
		"object": "chat.completion", "model": "fake", "usage": object{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
		"choices": []object{{"index": 0, "finish_reason": "stop", "message": object{"role": "assistant", "content": paris}}},
	})
}
