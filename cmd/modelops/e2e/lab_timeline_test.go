//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// timeline is what a scenario did and what its hosts said, in the order of the clock.
type timeline struct {
	mu      sync.Mutex
	began   time.Time
	entries []entry
}

type entry struct {
	at   time.Time
	who  string
	what string
}

func newTimeline() *timeline { return &timeline{began: time.Now()} }

func (l *timeline) note(who, format string, args ...any) {
	l.noteAt(time.Now(), who, fmt.Sprintf(format, args...))
}

func (l *timeline) noteAt(at time.Time, who, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{at, who, what})
}

// timelineLines is how many entries are printed: the last ones.
const timelineLines = 600

func (l *timeline) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	sorted := slices.Clone(l.entries)
	slices.SortStableFunc(sorted, func(a, b entry) int { return a.at.Compare(b.at) })
	var out strings.Builder
	if left := len(sorted) - timelineLines; left > 0 {
		fmt.Fprintf(&out, "(%d earlier entries are left out)\n", left)
		sorted = sorted[left:]
	}
	for _, e := range sorted {
		fmt.Fprintf(&out, "%9.3f  %-8s %s\n", e.at.Sub(l.began).Seconds(), e.who, e.what)
	}
	return out.String()
}

// said is a writer that notes each line of a process.
func (l *timeline) said(who string) *saying { return &saying{to: l, who: who} }

type saying struct {
	to   *timeline
	who  string
	mu   sync.Mutex
	rest []byte
}

func (s *saying) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		s.to.note(s.who, "%s", line)
		s.rest = append([]byte(nil), rest...)
	}
}
