package cli

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A command is killed before the owner of its lease grants the memory to another, however long renewals travel and although the two clocks run at
// rates that differ by up to one percent. A renewal that is sent in time arrives in time.
func TestTheHolderGivesUpFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := time.Duration(rapid.Int64Range(shortestTTL, 3600).Draw(t, "ttl")) * time.Second
		sent := time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "sent"))
		travel := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "travel"))
		rate := rapid.Float64Range(0.99, 1.01).Draw(t, "rate") // of the owner's clock in ours
		held := tenure{sent, ttl}
		owners := sent + travel + time.Duration(float64(ttl)*rate)
		if held.killAt() >= owners {
			t.Fatalf("killed at %s, granted again at %s", held.killAt(), owners)
		}
		if !(held.renewAt() < held.askAt() && held.askAt() < held.killAt()) {
			t.Fatalf("renews at %s, asks at %s, kills at %s", held.renewAt(), held.askAt(), held.killAt())
		}
		if twice := held.renewAt() + held.ttl/renewPart; twice > held.askAt() {
			t.Fatalf("one lost renewal ends the command: the second is sent at %s, it is asked to end at %s", twice, held.askAt())
		}
	})
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{"10G": 10 << 30, "10GiB": 10 << 30, "1.5g": 3 << 29, "800M": 800 << 20, "800mb": 800 << 20, "2T": 2 << 40, "64K": 64 << 10} {
		if got, err := parseSize("--vram", text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10", "-1G", "0G", "G", "1e40G", "NaNG", "10X", "1 0G"} {
		if got, err := parseSize("--vram", text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}
