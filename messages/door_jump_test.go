package messages

import (
	"testing"
	"time"
	"unsafe"
)

// setBack is a reading of a wall clock that was set back an hour, while the monotonic one went on. It knows how the package time keeps both.
func setBack(t *testing.T, at time.Time) time.Time {
	t.Helper()
	jumped := at
	(*struct{ wall uint64 })(unsafe.Pointer(&jumped)).wall -= 3600 << 30
	if got := at.Round(0).Sub(jumped.Round(0)); got != time.Hour || jumped.Sub(at) != 0 {
		t.Fatalf("the wall clock was set back %s, the monotonic one %s", got, at.Sub(jumped))
	}
	return jumped
}

// When the last byte came is known by the monotonic clock: a stream that goes on while the wall clock is set back isn't taken for a silent one.
func TestAByteIsHeardThoughTheWallClockIsSetBack(t *testing.T) {
	began := time.Now()
	g := &Grant{Began: began}
	if at, ok := g.LastHeard(); ok {
		t.Errorf("nothing came, and was heard at %s", at)
	}
	g.Heard(setBack(t, began.Add(time.Minute)))
	if at, ok := g.LastHeard(); !ok || at.Sub(began) != time.Minute || !at.After(began) {
		t.Errorf("heard %t, %s after the grant", ok, at.Sub(began))
	}
	g.Heard(began)
	if _, ok := g.LastHeard(); !ok {
		t.Error("a byte in the instant of the grant isn't heard")
	}
}
