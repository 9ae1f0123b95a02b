package journal

import (
	"testing"
	"testing/synctest"
	"time"
)

// The steady clock begins at the wall or at the journal's last time, whichever is later, and goes on by the monotonic clock alone.
func TestS30TheClockIsSteady(t *testing.T) {
	for name, c := range map[string]struct{ journal, ahead time.Duration }{
		"the journal is of the past": {-time.Hour, 0}, "the wall was set back an hour": {time.Hour, time.Hour}, "both agree": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				clock := NewSteadyClock(began.Add(c.journal))
				if got := clock.Now().Sub(began); got != c.ahead {
					t.Errorf("it begins %s ahead, want %s", got, c.ahead)
				}
				before := clock.Now()
				time.Sleep(10 * time.Second)
				if got := clock.Now().Sub(before); got != 10*time.Second {
					t.Errorf("ten seconds take it %s", got)
				}
			})
		})
	}
}
