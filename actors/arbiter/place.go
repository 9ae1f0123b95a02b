package arbiter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"modelops/messages"
)

// retryPlacement is when a device that is merely full is worth asking again.
const retryPlacement = 500 * time.Millisecond

// promised is what this arbiter has decided for a device and the ledger may not show yet.
func (s State) promised(gpu string) uint64 {
	var sum uint64
	for _, o := range s.Open {
		if o.Placement.Gpu == gpu && o.Step == Decided {
			sum += o.Placement.Bytes
		}
	}
	return sum
}

// weigh looks at every ledger in order of its name and says what speaks against it.
func (s State) weigh(need uint64, ledgers []*messages.GpuView) []*messages.Candidate {
	sorted := slices.Clone(ledgers)
	slices.SortFunc(sorted, func(a, b *messages.GpuView) int { return strings.Compare(a.Id, b.Id) })
	out := make([]*messages.Candidate, 0, len(sorted))
	for _, l := range sorted {
		c := &messages.Candidate{Gpu: l.Id, LimitBytes: l.LimitBytes, ReservedBytes: l.ReservedBytes + s.promised(l.Id),
			ForeignBytes: l.ForeignBytes, NeedBytes: need}
		c.Refusal = refusal(c, l)
		out = append(out, c)
	}
	return out
}

func refusal(c *messages.Candidate, l *messages.GpuView) string {
	used := c.ReservedBytes + c.ForeignBytes
	free := c.LimitBytes - min(used, c.LimitBytes)
	switch {
	case l.Lost:
		return "the device is lost: " + l.LostReason
	case c.NeedBytes > c.LimitBytes:
		return fmt.Sprintf("never fits: needs %s, limit %s", messages.FormatBytes(c.NeedBytes), messages.FormatBytes(c.LimitBytes))
	case c.NeedBytes > free:
		return fmt.Sprintf("full: needs %s; limit %s - reserved %s - used by others %s = %s free", messages.FormatBytes(c.NeedBytes),
			messages.FormatBytes(c.LimitBytes), messages.FormatBytes(c.ReservedBytes), messages.FormatBytes(c.ForeignBytes), messages.FormatBytes(free))
	}
	return ""
}

// firstFit takes the first device that nothing speaks against; nil when there is none.
func firstFit(candidates []*messages.Candidate) *messages.Candidate {
	for _, c := range candidates {
		if c.Refusal == "" {
			c.Chosen = true
			return c
		}
	}
	return nil
}

// nowhere is the refusal with the sums of every device. It is worth a retry only when the model could fit one day.
func nowhere(model string, need uint64, candidates []*messages.Candidate) *messages.Error {
	if len(candidates) == 0 {
		return messages.NewError(messages.GPUUnavailable, model, "no device is registered yet").WithRetry(retryPlacement)
	}
	var sums []string
	var best uint64
	possible := false
	for _, c := range candidates {
		sums = append(sums, c.Gpu+" "+c.Refusal)
		used := c.ReservedBytes + c.ForeignBytes
		best = max(best, c.LimitBytes-min(used, c.LimitBytes))
		possible = possible || c.NeedBytes <= c.LimitBytes
	}
	e := messages.Errorf(messages.GPUUnavailable, model, "Insufficient GPU memory: required %dMB, available %dMB; %s",
		(need+messages.MiB-1)/messages.MiB, best/messages.MiB, strings.Join(sums, "; "))
	if !possible {
		return e.WithHint("it fits no device here: take a smaller quantisation or context, or raise resources.vram_soft_limit_mb")
	}
	return e.WithRetry(retryPlacement).WithHint("unload a model (modelops ps, modelops unload NAME) or wait until one leaves")
}
