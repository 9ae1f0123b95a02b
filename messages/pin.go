package messages

// PinAt is who pins a model at a time, and until when; both are in milliseconds since 1970, and 0 is no end. by is "configuration" for a model that
// only its declaration pins, and empty for one that may be evicted.
func (x *ModelView) PinAt(nowMS int64) (by string, untilMS int64) {
	switch {
	case x.GetPinnedBy() != "" && (x.PinnedUntilMs == 0 || nowMS < x.PinnedUntilMs):
		return x.PinnedBy, x.PinnedUntilMs
	case x.GetSpec().GetPinned():
		return "configuration", 0
	}
	return "", 0
}
