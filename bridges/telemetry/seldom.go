package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// often is how many equal lines pass before pauses begin.
	often      = 3
	firstPause = time.Minute
	// lastPause is the longest pause between equal lines, and how long one has to be away to be new again.
	lastPause = time.Hour
)

// Seldom makes a log in which a line that comes again and again is written with growing pauses, with the number of those left out. Lines are
// equal when they say the same of the same device or actor; what else they hold may differ.
func Seldom(log *slog.Logger) *slog.Logger {
	return slog.New(seldom{log.Handler(), &lines{of: map[line]*repeats{}}, ""})
}

type seldom struct {
	slog.Handler
	lines *lines
	about string
}

type line struct {
	level          slog.Level
	message, about string
}

type repeats struct {
	written, left int
	last, seen    time.Time
}

type lines struct {
	mu sync.Mutex
	of map[line]*repeats
}

func (s seldom) Handle(ctx context.Context, r slog.Record) error {
	about := s.about
	r.Attrs(func(a slog.Attr) bool { about += subject(a); return true })
	left, write := s.lines.pass(line{r.Level, r.Message, about}, r.Time)
	if !write {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", left))
	}
	return s.Handler.Handle(ctx, r)
}

func (s seldom) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		s.about += subject(a)
	}
	s.Handler = s.Handler.WithAttrs(attrs)
	return s
}

func (s seldom) WithGroup(name string) slog.Handler {
	s.Handler = s.Handler.WithGroup(name)
	return s
}

func subject(a slog.Attr) string {
	if a.Key == "device" || a.Key == "actor" {
		return " " + a.Value.String()
	}
	return ""
}

// pass tells whether a line is written now, and how many of its equals were left out before.
func (l *lines) pass(of line, now time.Time) (left int, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, r := range l.of {
		if now.Sub(r.seen) >= lastPause {
			delete(l.of, other)
		}
	}
	r := l.of[of]
	if r == nil {
		r = &repeats{}
		l.of[of] = r
	}
	r.seen = now
	if r.written >= often && now.Sub(r.last) < min(firstPause<<min(r.written-often, 16), lastPause) {
		r.left++
		return 0, false
	}
	left = r.left
	r.written, r.left, r.last = r.written+1, 0, now
	return left, true
}
