package journal

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// natsLog brings the server's lines to slog. Its notices are our debug lines; its warnings are often the only sign of a sick store.
type natsLog struct {
	log     *slog.Logger
	full    func(why string, n int, about ...any) // told of connections that don't fit
	hub     func(line string) bool                // takes lines about the hub; nil = none
	refused minutely                              // lines about refused clients
}

// minutely lets one log line a minute through, by the monotonic clock: a wall clock that is set back silences nothing.
type minutely struct{ last atomic.Pointer[time.Time] }

func (m *minutely) due(now time.Time) bool {
	last := m.last.Load()
	return (last == nil || now.Sub(*last) >= time.Minute) && m.last.CompareAndSwap(last, &now)
}

// Noticef passes on why a handshake with the hub failed: where the hub doesn't speak TLS there is no other line.
func (l *natsLog) Noticef(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	if l.hub != nil && strings.Contains(line, hubHandshake) && l.hub(line) {
		return
	}
	l.log.Debug(line)
}

// hubHandshake is in the server's last line about a connection to the hub whose TLS handshake failed.
const hubHandshake = "Leafnode connection closed: TLS Handshake Failure"

func (l *natsLog) Warnf(format string, v ...any) {
	if line := fmt.Sprintf(format, v...); l.hub == nil || !l.hub(line) {
		l.log.Warn(line)
	}
}

// Errorf leaves out the text of a client's mistake: it holds what the client sent, a key perhaps. Anyone can make mistakes at any rate, so there
// is one line a minute.
func (l *natsLog) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	if l.hub != nil && l.hub(line) {
		return
	}
	if !refusesClient(line) {
		l.log.Error(line)
		return
	}
	if strings.Contains(line, "maximum connections exceeded") && l.full != nil {
		l.full("all connections are in use", 1)
		return
	}
	if l.refused.due(time.Now()) {
		l.log.Warn("NATS clients are refused: a key is missing or wrong, or doesn't allow the subject")
	}
}

func refusesClient(line string) bool {
	for _, sign := range []string{"uthentication", "uthorization", " Violation", "maximum ", "TLS handshake"} {
		if strings.Contains(line, sign) {
			return true
		}
	}
	return false
}

func (l *natsLog) Fatalf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(string, ...any)          {}
func (l *natsLog) Tracef(string, ...any)          {}
