package gpu

import "modelops/messages"

// Pressure says when idle models have to leave a device.
type Pressure struct {
	// ThresholdPct is the part of the device's limit above which they leave.
	ThresholdPct int
	// Foreign: memory of other programs counts too, and idle models are evicted for it.
	Foreign bool
}

// relieveTo is the part of the threshold down to which models are evicted: the blueprint's 80 %.
const relieveTo = 80

// relief asks for idle models to leave; nil while the device is below its threshold. RAM without a soft limit has none.
func (p Pressure) relief(g *messages.GpuView) *messages.RelievePressure {
	if g == nil || g.Kind == "cpu" && g.SoftLimitBytes == 0 {
		return nil
	}
	threshold := g.LimitBytes / 100 * uint64(p.ThresholdPct)
	used, level := g.ReservedBytes, threshold/100*relieveTo
	if p.Foreign {
		used += g.ForeignBytes
	} else {
		level += g.ForeignBytes // the scheduler counts foreign memory, and no model is evicted because of it
	}
	if used <= threshold {
		return nil
	}
	return &messages.RelievePressure{Gpu: g.Id, LevelBytes: level, Foreign: g.ReservedBytes <= threshold,
		Reason: messages.FormatBytes(used) + " of " + messages.FormatBytes(g.LimitBytes) + " used, threshold " + messages.FormatBytes(threshold)}
}
