package journal

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
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

// A line a minute is let through by the monotonic clock: a wall clock that is set back an hour silences nothing.
func TestALineAMinuteThoughTheWallClockIsSetBack(t *testing.T) {
	var m minutely
	first := time.Now()
	if !m.due(first) || m.due(first.Add(59*time.Second)) {
		t.Error("the first line is written, and no other one within the minute")
	}
	back := first.Add(time.Minute)
	(*struct{ wall uint64 })(unsafe.Pointer(&back)).wall -= 3600 << 30 // the package time keeps the wall clock's seconds there, and the monotonic reading beside it
	if first.Round(0).Sub(back.Round(0)) < 59*time.Minute || back.Sub(first) != time.Minute {
		t.Fatalf("the wall clock was not set back: %s", back)
	}
	if !m.due(back) {
		t.Error("a minute later there is no line")
	}
}
