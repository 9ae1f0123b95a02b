package openai

import (
	"net/http"
	"sync"
	"time"
)

// pulse keeps a silent stream alive. Once it has beaten, the response has begun as SSE and its status is 200: whatever
// goes wrong later is told as an event. While it runs, nobody else may touch the response.
type pulse struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	conn  *http.ResponseController
	every time.Duration
	timer *time.Timer
	begun bool
	over  bool
}

func startPulse(w http.ResponseWriter, every time.Duration) *pulse {
	p := &pulse{w: w, conn: http.NewResponseController(w), every: every}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(every, p.beat)
	return p
}

// beat holds the lock while it writes, so that stop returns only when no write is under way.
func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	if !p.begun {
		p.begun = true
		h := p.w.Header()
		h["Content-Type"] = []string{"text/event-stream"}
		h["Cache-Control"] = []string{"no-cache"}
		h["X-Accel-Buffering"] = []string{"no"}
		h["X-Modelops-Source"] = []string{"modelops"}
		p.w.WriteHeader(http.StatusOK)
	}
	if _, err := p.w.Write([]byte(": loading\n\n")); err != nil {
		return // the client is gone; its context says so to all others
	}
	_ = p.conn.Flush()
	p.timer.Reset(p.every)
}

// stop ends the beating and says whether the response has begun. It may be called again, and on nil.
func (p *pulse) stop() (begun bool) {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
	return p.begun
}
