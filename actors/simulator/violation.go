package simulator

import (
	"fmt"
	"strings"
	"time"
)

// Violation is a broken invariant, with what is needed to see it again.
type Violation struct {
	Seed  uint64
	Step  int
	At    time.Duration
	What  string
	Trace []string // the last steps, in words
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d, step %d, %s: %s\n  %s", v.Seed, v.Step, v.At.Round(time.Microsecond), v.What, strings.Join(v.Trace, "\n  "))
}

// violated notes the first violation; the world stops there.
func (u *universe) violated(format string, args ...any) {
	if u.broken == nil {
		u.broken = &Violation{Seed: u.seed, Step: u.steps, At: u.elapsed, What: fmt.Sprintf(format, args...), Trace: u.told.words()}
	}
}
