package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A line that comes every two seconds for a day is written some thirty times, and says how often it was left out; others aren't held back by it, and
// after a quiet hour it is new.
func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := Seldom(slog.New(slog.NewTextHandler(&out, nil))).With("device", "gpu0").WithGroup("of")
		for i := range 24 * 60 * 30 {
			log.Warn("a GPU is lost", "try", i)
			time.Sleep(2 * time.Second)
		}
		n := strings.Count(out.String(), "a GPU is lost")
		if n < 25 || n > 40 || !strings.Contains(out.String(), "repeated=1799") {
			t.Errorf("%d lines: %s", n, &out)
		}
		other := Seldom(slog.New(slog.NewTextHandler(&out, nil)))
		for _, device := range []string{"gpu0", "gpu1"} {
			for range 4 {
				other.Warn("a GPU is away", "device", device)
			}
			if n := strings.Count(out.String(), `a GPU is away" device=`+device); n != 3 {
				t.Errorf("%s: %d lines", device, n)
			}
		}
		time.Sleep(lastPause)
		out.Reset()
		log.Warn("a GPU is lost")
		log.Warn("a GPU is lost")
		if n := strings.Count(out.String(), "a GPU is lost"); n != 2 {
			t.Errorf("after a quiet hour: %s", &out)
		}
	})
}
