package messages

// StateNow is what is known of a model now: its phase, or that its host is unreachable and what it said last may no longer be so.
func StateNow(m *ModelView, said []*HostSaid) string {
	if SaidBy(said, m.GetHost()).GetStale() {
		return MemberView_unreachable.String()
	}
	return m.GetPhase().String()
}

// SaidBy is how old what a host said is; nil for this host.
func SaidBy(said []*HostSaid, host string) *HostSaid {
	for _, h := range said {
		if h.Host == host {
			return h
		}
	}
	return nil
}
