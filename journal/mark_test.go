package journal

import (
	"sync"
	"testing"
)

// The ticker and what mends the journal after an outage save the mark at the same time: each save succeeds, no reader sees half a mark, and the
// mark doesn't go back.
func TestMarksAreWrittenOneAtATime(t *testing.T) {
	j := &Journal{o: Options{Dir: t.TempDir(), Host: "main_pc"}}
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 25 {
				least := j.acked.Add(1)
				if err := j.saveMark(); err != nil {
					t.Errorf("save: %v", err)
				}
				if m, found, err := readMark(j.o.Dir); err != nil || !found || m.Sequence < least {
					t.Errorf("after saving %d the mark is %+v, found %t: %v", least, m, found, err)
				}
			}
		})
	}
	writers.Wait()
}
