package journal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// standstill is how long a start may go on without reading anything. The time of a start as a whole has no limit: a long journal on a slow disk
// takes minutes, and its daemon must come up all the same.
const standstill = 20 * time.Second

// leastProgress is how many bytes count as progress: timers and sockets read a few bytes all the time.
const leastProgress = 64 << 10

// progressing is ctx that also ends when done hasn't grown by leastProgress for a time.
func progressing(ctx context.Context, done func() uint64, still time.Duration) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(still / 20)
		defer tick.Stop()
		last, since := done(), time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now := done(); now >= last+leastProgress {
				last, since = now, time.Now()
			} else if time.Since(since) >= still {
				end(fmt.Errorf("nothing was read for %s", still))
				return
			}
		}
	}()
	return ctx, func() { end(context.Canceled) }
}

// looked is how many bytes bytesRead has read itself.
var looked atomic.Uint64

// bytesRead is how many bytes this process has read, from the page cache too: the server reads its store in this process and tells nobody how far
// it is.
func bytesRead() uint64 {
	own := looked.Load()
	b, err := os.ReadFile("/proc/self/io")
	looked.Add(uint64(len(b)))
	_, rest, _ := bytes.Cut(b, []byte("rchar: "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, bad := strconv.ParseUint(string(line), 10, 64)
	if err != nil || bad != nil {
		return uint64(time.Now().UnixNano()) // without a measure there is no limit
	}
	return n - min(own, n)
}
