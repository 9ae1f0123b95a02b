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
	for _, s := range p.GetShares() {
		if s.Gpu == gpu {
			return s.Bytes, true
		}
	}
	if len(p.GetShares()) == 0 && p.GetGpu() == gpu {
		return p.GetBytes(), p != nil
	}
	return 0, false
}

// On is what a resident holds of a device, in bytes; ok is false when it isn't there.
func (r *Resident) On(gpu string) (bytes uint64, ok bool) {
	for _, s := range r.GetShares() {
		if s.Gpu == gpu {
			return s.Bytes, true
		}
	}
	if len(r.GetShares()) == 0 && r.GetGpu() == gpu {
		return r.GetBytes(), r != nil
	}
	return 0, false
}
