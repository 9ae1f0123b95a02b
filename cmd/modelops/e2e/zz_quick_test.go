//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestQuickPlace(t *testing.T) {
	for range 5 {
		took := placements(t)
		var sum time.Duration
		for _, d := range took {
			sum += d
		}
		slices.Sort(took)
		fmt.Println("mean", sum/time.Duration(len(took)), "p50", took[len(took)/2], "p99", took[len(took)*99/100], "p999", took[len(took)*999/1000])
	}
}
