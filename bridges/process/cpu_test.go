package process

import (
	"os"
	"testing"
	"time"
)

// A process that computes uses processor time, and one that is gone has none.
func TestCPUTime(t *testing.T) {
	self := int64(os.Getpid())
	before, err := CPUTime(self)
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now < before+3*tick; {
		if now, err = CPUTime(self); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := CPUTime(1 << 30); err == nil {
		t.Error("a process that isn't there has a processor time")
	}
	if before > 24*time.Hour {
		t.Errorf("%s", before)
	}
}
