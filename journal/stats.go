package journal

import (
	"sync/atomic"
	"time"
)

// Stats are counts since Open.
type Stats struct {
	Appends    uint64        // acknowledged
	Failures   uint64        // refused or failed, conflicts included
	AppendTime time.Duration // sum over acknowledged appends
	Sequence   uint64        // of the last decision
	Restarts   uint64        // of the server in place, after a full or failing disk
	FreeBytes  uint64        // on the journal's disk, now
}

type counters struct {
	appends, failures, nanos, restarts atomic.Uint64
}

func (c *counters) note(took time.Duration, err error) {
	if err != nil {
		c.failures.Add(1)
		return
	}
	c.appends.Add(1)
	c.nanos.Add(uint64(took))
}

// Stats is cheap enough to be asked at each scrape.
func (j *Journal) Stats() Stats {
	free, _ := freeBytes(j.o.Dir)
	return Stats{
		Appends: j.stats.appends.Load(), Failures: j.stats.failures.Load(), AppendTime: time.Duration(j.stats.nanos.Load()),
		Sequence: j.Sequence(), Restarts: j.stats.restarts.Load(), FreeBytes: free,
	}
}
