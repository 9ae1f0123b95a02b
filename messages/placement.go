package messages

// ByName is the claim of a placement that was asked for by a model's name, before its host was known.
const ByName = "name"

// Bytes is what a placement holds of all its devices.
func (p *Placement) Bytes() (sum uint64) {
	for _, s := range p.GetShares() {
		sum += s.Bytes
	}
	return sum
}

// Gpu is the first of a placement's devices; empty when it has none.
func (p *Placement) Gpu() string {
	if len(p.GetShares()) == 0 {
		return ""
	}
	return p.Shares[0].Gpu
}

// On is what a placement holds of a device, in bytes; ok is false when it isn't there.
func (p *Placement) On(gpu string) (bytes uint64, ok bool) { return on(p.GetShares(), gpu) }

// On is what an allocation holds of a device, in bytes; ok is false when it isn't there.
func (a *Allocation) On(gpu string) (bytes uint64, ok bool) { return on(a.GetShares(), gpu) }

// Bytes is what an allocation holds of all its devices.
func (a *Allocation) Bytes() (sum uint64) {
	for _, s := range a.GetShares() {
		sum += s.Bytes
	}
	return sum
}

func on(shares []*Share, gpu string) (bytes uint64, ok bool) {
	for _, s := range shares {
		if s.Gpu == gpu {
			return s.Bytes, true
		}
	}
	return 0, false
}

// epochLeap is how far ahead of every epoch that is known another one may be. Each take-over is one further, and a host may have been off for many of them.
const epochLeap = 1 << 32

// LeapsAhead tells whether an arbiter's epoch is too far ahead of the highest known one to be believed. One near the end of its type would be the last: owners
// that obey it refuse all arbiters after it, for good.
func LeapsAhead(epoch, known uint64) bool { return epoch > known && epoch-known > epochLeap }
