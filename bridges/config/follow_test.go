package config

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Follow reloads at a signal and when the file changed, and at nothing else.
func TestFollow(t *testing.T) {
	path := write(t, "host: a\n")
	touch := func(age time.Duration) {
		if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0).Add(age)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		for _, watched := range []string{path, ""} {
			touch(0)
			ctx, end := context.WithCancel(t.Context())
			signals := make(chan os.Signal, 1)
			var reloads atomic.Int64
			go Follow(ctx, signals, watched, func(context.Context) { reloads.Add(1) })
			wait := func(what string, want int) {
				t.Helper()
				time.Sleep(2 * lookEvery)
				synctest.Wait()
				if got := int(reloads.Load()); got != want {
					t.Errorf("%d reloads of %q after %s, want %d", got, watched, what, want)
				}
			}
			wait("nothing", 0)
			signals <- syscall.SIGHUP
			wait("a signal", 1)
			touch(time.Second)
			seen := map[bool]int{true: 2, false: 1}[watched != ""]
			wait("a change", seen)
			wait("nothing more", seen)
			end()
			synctest.Wait()
		}
	})
}
