package journal

import (
	"fmt"
	"log/slog"
	"strings"
)

// natsLog brings the server's lines to slog. Its notices are our debug lines; its warnings are often the only sign of a sick store.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	if strings.HasPrefix(line, "Plaintext passwords detected") {
		return // they are random and never leave this process
	}
	l.log.Warn(line)
}
func (l natsLog) Errorf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Fatalf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(string, ...any)          {}
func (l natsLog) Tracef(string, ...any)          {}
