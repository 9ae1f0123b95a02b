package openai

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"modelops/messages"
)

// defaultQueuePatience is how long a streaming request waits for its place before its answer begins as SSE. A request that
// gets a place or a refusal sooner has a true status.
const defaultQueuePatience = 500 * time.Millisecond

// pulse keeps a silent stream alive. After its first comment the response has begun as SSE and its status is 200: a later
// error is sent as an event. While it runs, only pulse may write to the response.
type pulse struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	conn  *http.ResponseController
	every time.Duration
	// patience is how long a request waits in the queue before its position is sent.
	patience time.Duration
	timer    *time.Timer
	// place is where the request stands in its queue; nil while it doesn't wait there.
	place *messages.QueuePlace
	first *messages.QueuePlace // where it stood when it was first told: the head's figures
	begun bool
	over  bool
}

func startPulse(w http.ResponseWriter, every, patience time.Duration) *pulse {
	p := &pulse{w: w, conn: http.NewResponseController(w), every: every, patience: patience}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(every, p.beat)
	return p
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write()
}

// told gets the request's position: it is sent at once, after the first moments.
func (p *pulse) told(at messages.QueuePlace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.place = &at
	if p.first == nil {
		p.first = &at
	}
	switch {
	case p.over:
	case p.begun || at.Waited >= p.patience:
		p.write()
	default:
		p.timer.Reset(min(p.every, p.patience-at.Waited))
	}
}

// placed ends the waiting in the queue; what follows is the engine's silence. It may be called on nil.
func (p *pulse) placed() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.place != nil && !p.over {
		p.timer.Reset(p.every)
	}
	p.place = nil
}

// write is called with the lock, so that stop returns only when no write is under way.
func (p *pulse) write() {
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
		if p.first != nil {
			placeHeaders(h, p.first.Position, p.first.Expected)
		}
		p.w.WriteHeader(http.StatusOK)
	}
	if _, err := p.w.Write([]byte(p.comment())); err != nil {
		return // the client is gone; its context says so to all others
	}
	_ = p.conn.Flush()
	p.timer.Reset(p.every)
}

// comment is a line that readers of SSE skip. Its words hold no spaces.
func (p *pulse) comment() string {
	if p.place == nil {
		return ": loading\n\n"
	}
	expected := ""
	if p.place.Expected > 0 { // it is known
		expected = " expected=" + p.place.Expected.Round(100*time.Millisecond).String()
	}
	return fmt.Sprintf(": queued position=%d%s waits_for=%s\n\n", p.place.Position, expected, strings.Join(strings.Fields(p.place.WaitsFor), "_"))
}

// stop ends the comments and says whether the response has begun. It may be called again, and on nil.
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
