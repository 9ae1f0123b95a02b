package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"modelops/messages"
)

// progress says on stderr what an operation waits for: on a terminal as one line that is written anew and removed at the end, elsewhere as a
// line every few seconds. It never touches stdout.
type progress struct {
	w       io.Writer // nil = it is silent
	tty     bool
	mu      sync.Mutex
	label   string
	part    string // how much is done, in words
	began   time.Time
	drawn   bool
	ended   bool
	turn    int
	stop    chan struct{}
	stopped chan struct{}
}

const (
	quietFirst = 500 * time.Millisecond // on a terminal
	redraw     = 100 * time.Millisecond
	lifeEvery  = 2 * time.Second // elsewhere
)

// progress begins one. With --quiet it is silent, and with --json where stderr is read by a program.
func (c *cli) progress(label string) *progress {
	p := &progress{label: label, tty: terminal(c.stderr), began: time.Now(), stop: make(chan struct{}), stopped: make(chan struct{})}
	if c.quiet || c.stderr == nil || c.asJSON && !p.tty {
		close(p.stopped)
		return p
	}
	p.w = c.stderr
	go p.tick()
	return p
}

func (p *progress) tick() {
	defer close(p.stopped)
	every := lifeEvery
	if p.tty {
		every = redraw
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.draw()
		}
	}
}

const spinner = `|/-\`

func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Since(p.began)
	if p.ended || p.tty && since < quietFirst {
		return
	}
	said := p.label
	if p.part != "" {
		said += ", " + p.part
	}
	if !p.tty {
		fmt.Fprintf(p.w, "%s (%s)\n", said, lasting(since))
		return
	}
	p.drawn = true
	p.turn++
	fmt.Fprintf(p.w, "\r\x1b[K%c %s (%s)", spinner[p.turn%len(spinner)], said, lasting(since))
}

// shows tells whether anybody can see it.
func (p *progress) shows() bool { return p.w != nil }

// stage sets the label.
func (p *progress) stage(label string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.label != label {
		p.label, p.part = label, ""
	}
}

// at reports that n of total are done; bytes tells that they are bytes.
func (p *progress) at(n, total int64, bytes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if total <= 0 {
		return
	}
	n = max(0, min(n, total))
	p.part = fmt.Sprintf("%d %%", n*100/total)
	if bytes {
		p.part += " of " + messages.FormatBytes(uint64(total))
	}
}

// done removes the line. Nothing is written after it has returned. Calls after the first do nothing.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	close(p.stop)
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
