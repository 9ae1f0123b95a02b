package cli

import (
	"fmt"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"modelops/messages"
)

const (
	// lullAfter is how long an answer that has begun may bring nothing before a sign of life is shown.
	lullAfter = 3 * time.Second
	lullEvery = time.Second
)

// lull shows on a terminal that an answer goes on although it brings nothing at the moment. It never touches the answer: where that is on the same
// terminal, the sign stands behind it while it fits on the line, and is removed before the answer goes on.
type lull struct {
	w      *os.File // nil = it shows nothing
	same   bool     // the answer is written to a terminal too
	mu     sync.Mutex
	timer  *time.Timer
	last   time.Time
	column int  // of the answer's end; -1 when it isn't known
	drawn  bool // a sign is there
	ended  bool
}

func (c *cli) lull() *lull {
	l := &lull{same: terminal(c.stdout)}
	if f, ok := c.stderr.(*os.File); ok && terminal(f) && !c.quiet && !(c.asJSON && l.same) {
		l.w = f
	}
	return l
}

// chunk writes a piece of the answer, with no sign in its way.
func (l *lull) chunk(chunk *messages.InferenceChunk, write func(*messages.InferenceChunk) error) error {
	if l.w == nil {
		return write(chunk)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.moved(chunk.Text)
	l.last = time.Now()
	switch {
	case chunk.Done:
		l.ended = true
	case l.timer == nil:
		l.timer = time.AfterFunc(lullAfter, l.draw)
	default:
		l.timer.Reset(lullAfter)
	}
	return write(chunk)
}

// done removes the sign. Nothing is written after it has returned.
func (l *lull) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.erase()
}

// moved follows the column. Where letters may be two columns wide, or move the cursor, it isn't known until the next line begins.
func (l *lull) moved(text string) {
	for _, r := range text {
		switch {
		case r == '\n':
			l.column = 0
		case l.column < 0 || r < ' ' || r >= utf8.RuneSelf:
			l.column = -1
		default:
			l.column++
		}
	}
}

func (l *lull) draw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.timer.Reset(lullEvery)
	since := time.Since(l.last)
	if since < lullAfter { // a chunk came in this moment
		return
	}
	sign := fmt.Sprintf(" [goes on, nothing for %s]", lasting(since.Round(time.Second)))
	if !l.same {
		fmt.Fprintf(l.w, "\r\x1b[K%s", sign[1:])
		l.drawn = true
		return
	}
	width, _, err := term.GetSize(int(l.w.Fd()))
	if err != nil || l.column < 0 || width == 0 || l.column%width+len(sign) >= width || l.column > 0 && l.column%width == 0 {
		l.erase()
		return
	}
	fmt.Fprintf(l.w, "\x1b7\x1b[K%s\x1b8", sign)
	l.drawn = true
}

func (l *lull) erase() {
	switch {
	case !l.drawn:
	case l.same:
		fmt.Fprint(l.w, "\x1b[K")
	default:
		fmt.Fprint(l.w, "\r\x1b[K")
	}
	l.drawn = false
}
