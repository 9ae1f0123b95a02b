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

// Outdated refuses a decision of an arbiter of a lower epoch than an owner has obeyed: another one has taken over since. Two of one epoch, on two sides of a
// split, are both obeyed while there is room.
func Outdated(owner ActorID, arbiter string, epoch, obeyed uint64) error {
	switch {
	case LeapsAhead(epoch, obeyed):
		return Errorf(InvalidArgument, owner.String(), "epoch %d is no arbiter's: the highest that was obeyed here is %d", epoch, obeyed)
	case arbiter == "" || epoch >= obeyed:
		return nil
	}
	return Errorf(FailedPrecondition, owner.String(), "the arbiter of %s decided under epoch %d, and one of epoch %d has taken over since", arbiter, epoch, obeyed).
		WithHint("modelops cluster shows which host's arbiter has the seat")
}

// LeapsAhead tells whether an arbiter's epoch is too far ahead of the highest known one to be believed. One near the end of its type would be the last: owners
// that obey it refuse all arbiters after it, for good.
func LeapsAhead(epoch, known uint64) bool { return epoch > known && epoch-known > epochLeap }
