package tree

import (
	"log/slog"
	"runtime"
	"testing"
)

// TestAnEmptyTreeIsSmall: protoactor's maps take 3 MB as they come.
func TestAnEmptyTreeIsSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tree := New(Options{Log: slog.New(slog.DiscardHandler)})
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
		t.Errorf("%d bytes", taken)
	}
	tree.Stop()
}
