package messages

// Parts are what a placement holds of each of its devices: its shares, or all of it on one.
func (p *Placement) Parts() []*Share {
	if p == nil {
		return nil
	}
	if len(p.Shares) > 0 {
		return p.Shares
	}
	return []*Share{{Gpu: p.Gpu, Bytes: p.Bytes, Lease: p.Lease}}
}

// On is what a placement holds of a device, in bytes; ok is false when it isn't there.
func (p *Placement) On(gpu string) (bytes uint64, ok bool) {
	return on(gpu, p.GetShares(), p.GetGpu(), p.GetBytes(), p != nil)
}

// On is what a resident holds of a device, in bytes; ok is false when it isn't there.
func (r *Resident) On(gpu string) (bytes uint64, ok bool) {
	return on(gpu, r.GetShares(), r.GetGpu(), r.GetBytes(), r != nil)
}

// on looks for a device among shares, or compares it with the only one.
func on(gpu string, shares []*Share, only string, bytes uint64, there bool) (uint64, bool) {
	for _, s := range shares {
		if s.Gpu == gpu {
			return s.Bytes, true
		}
	}
	if len(shares) == 0 && only == gpu {
		return bytes, there
	}
	return 0, false
}
