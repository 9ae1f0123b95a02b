package journal

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A start may take as long as it reads; it ends when nothing has been read for a time.
func TestAStartIsLimitedByProgressOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		const reads = time.Hour
		read := func() uint64 { // a slow disk: a block a quarter of a minute, for an hour
			return min(uint64(time.Since(began)/(15*time.Second)), uint64(reads/(15*time.Second))) * (8 << 20)
		}
		ctx, cancel := progressing(t.Context(), read, standstill)
		defer cancel()
		<-ctx.Done()
		if took := time.Since(began); took < reads+standstill || took > reads+2*standstill {
			t.Errorf("ended after %s: %v", took, context.Cause(ctx))
		}
	})
}

// The few bytes that timers and sockets read are no progress.
func TestNoiseIsNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := progressing(t.Context(), func() uint64 { return uint64(min(time.Since(began), time.Hour).Seconds()) * 100 }, standstill)
		defer cancel()
		<-ctx.Done()
		if took := time.Since(began); took > 2*standstill {
			t.Errorf("ended after %s", took)
		}
	})
}

// What this process reads is counted, without what counting reads.
func TestBytesReadAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	before := bytesRead()
	for range 1000 {
		bytesRead()
	}
	quiet := bytesRead() - before
	if _, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if all := bytesRead() - before; quiet >= leastProgress || all < quiet+1<<20 {
		t.Errorf("%d bytes without a reading, %d after it", quiet, all)
	}
}
