//go:build e2e

package e2e_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// player is an engine that behaves as a scenario needs; each request says how long its answer takes.
type player struct {
	says     string        // what it answers
	load     time.Duration // how long it loads
	progress bool          // it tells how far its load is
	stall    bool          // its load stops half-way for ever
	single   bool          // while it computes it answers nothing else, not even /health
	deaf     bool          // it ignores SIGTERM
	fork     bool          // it has a child that ignores SIGTERM and leaves its group
	dies     string        // its load ends half-way with these last words

	began time.Time
	one   sync.RWMutex // held by the request that computes, when single
	asked atomic.Int64
	holds atomic.Int64 // questions that it holds now
}

// part is what a question asks of a player beside its text.
type part struct {
	Stream bool `json:"stream"`
	Takes  int  `json:"takes_ms"`
	Pieces int  `json:"pieces"` // of a stream
	// Holds is a file: the question is under way until it is there.
	Holds string `json:"holds"`
}

// plays is a model that a player serves, for the section models.declare; more are further lines of its declaration.
func plays(t *testing.T, name, flags string, more ...string) string {
	t.Helper()
	out := fmt.Sprintf("    %s:\n      cmd: %s %s player --port ${PORT} --says %s %s\n", name, self(t), roleWord, name, flags)
	for _, line := range more {
		out += "      " + line + "\n"
	}
	return out
}

func playerRole(args []string) error {
	p := &player{began: time.Now()}
	flags := flag.NewFlagSet("player", flag.ContinueOnError)
	port := flags.Int("port", 0, "where it listens")
	flags.StringVar(&p.says, "says", "", "what it answers")
	flags.DurationVar(&p.load, "load", 0, "how long it loads")
	flags.BoolVar(&p.progress, "progress", false, "tell how far the load is")
	flags.BoolVar(&p.stall, "stall", false, "load half, and stop")
	flags.BoolVar(&p.single, "single", false, "answer nothing while it computes")
	flags.BoolVar(&p.deaf, "deaf", false, "ignore SIGTERM")
	flags.BoolVar(&p.fork, "fork", false, "have a child that ignores SIGTERM")
	flags.StringVar(&p.dies, "dies", "", "last words, half-way through the load; _ is a space")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.dies != "" {
		due(time.Now().Add(p.load / 2))
		return errors.New(strings.ReplaceAll(p.dies, "_", " "))
	}
	if p.fork {
		if err := p.beget(); err != nil {
			return err
		}
	}
	if p.deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	l, err := listenSaying(*port)
	if err != nil {
		return err
	}
	return (&http.Server{Handler: p.mux(), ReadHeaderTimeout: 10 * time.Second}).Serve(l)
}

// beget starts a child in a session of its own, as engines that daemonise do.
func (p *player) beget() error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(path, roleWord, "deaf")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return child.Start()
}

// deafRole is a process that only SIGKILL ends.
func deafRole([]string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	due(time.Now().Add(10 * time.Minute))
	return nil
}

func (p *player) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", p.health)
	mux.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, p.asked.Load()) })
	mux.HandleFunc("GET /holds", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, p.holds.Load()) })
	mux.HandleFunc("POST /leave", func(http.ResponseWriter, *http.Request) { os.Exit(3) }) // what it forked stays
	mux.HandleFunc("POST /v1/chat/completions", p.chat)
	return mux
}

func (p *player) loaded() float64 {
	if p.load <= 0 {
		return 1
	}
	share := min(1, time.Since(p.began).Seconds()/p.load.Seconds())
	if p.stall {
		share = min(share, 0.5)
	}
	return share
}

func (p *player) health(w http.ResponseWriter, _ *http.Request) {
	p.one.RLock()
	defer p.one.RUnlock()
	share := p.loaded()
	if share >= 1 {
		fmt.Fprintln(w, `{"status":"ok"}`)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	if p.progress {
		fmt.Fprintf(w, `{"error":{"message":"Loading model","progress":%.3f}}`, share)
	}
}

func (p *player) chat(w http.ResponseWriter, r *http.Request) {
	p.asked.Add(1)
	q := part{Pieces: 4}
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &q) != nil || p.loaded() < 1 {
		http.Error(w, `{"error":{"message":"not now"}}`, http.StatusServiceUnavailable)
		return
	}
	if p.single {
		p.one.Lock()
		defer p.one.Unlock()
	}
	takes := time.Duration(q.Takes) * time.Millisecond
	if p.single { // it doesn't even see that its caller leaves
		due(time.Now().Add(takes))
		takes = 0
	}
	if q.Holds != "" && !p.held(r, q.Holds) {
		return
	}
	if q.Stream {
		p.stream(w, r, takes, q.Pieces)
		return
	}
	if !lasts(r, takes) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{
		"object": "chat.completion", "model": p.says, "usage": object{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
		"choices": []object{{"index": 0, "finish_reason": "stop", "message": object{"role": "assistant", "content": p.says}}},
	})
}

func (p *player) stream(w http.ResponseWriter, r *http.Request, takes time.Duration, pieces int) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for range pieces {
		if !lasts(r, takes/time.Duration(pieces)) {
			return
		}
		fmt.Fprintf(w, `data: {"choices":[{"index":0,"delta":{"content":%q}}]}`+"\n\n", p.says)
		if flush.Flush() != nil {
			return
		}
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

// held waits for a file; false when the caller left.
func (p *player) held(r *http.Request, file string) bool {
	p.holds.Add(1)
	defer p.holds.Add(-1)
	for {
		if _, err := os.Stat(file); err == nil {
			return true
		}
		if !lasts(r, 10*time.Millisecond) {
			return false
		}
	}
}

// lasts computes for a time; false when the caller left.
func lasts(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
