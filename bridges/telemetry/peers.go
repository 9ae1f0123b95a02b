package telemetry

import (
	"time"

	"modelops/messages"
)

var peerGauges = []string{"modelops_peer_heard_age_seconds", "modelops_peer_report_age_seconds", "modelops_peer_rtt_seconds", "modelops_peer_clock_offset_seconds",
	"modelops_peer_copy_lag_events"}

// SetPeers shows the other hosts of the cluster as this one sees them now, with the age of each one's last report. Hosts that aren't members any
// more lose their series.
func (m *Metrics) SetPeers(v *messages.ClusterView, ages map[string]time.Duration) {
	for _, g := range peerGauges {
		m.gauge(g).Reset()
	}
	count := map[string]int{}
	for _, member := range v.GetMembers() {
		count[member.State.String()]++
		if !member.Self {
			m.setPeer(member)
		}
	}
	for _, state := range []messages.MemberView_State{messages.MemberView_alive, messages.MemberView_unreachable, messages.MemberView_gone, messages.MemberView_expected} {
		m.gauge("modelops_peer_members").WithLabelValues(state.String()).Set(float64(count[state.String()]))
	}
	for host, age := range ages {
		m.gauge("modelops_peer_report_age_seconds").WithLabelValues(host).Set(age.Seconds())
	}
}

// SetArchive shows how far the hub's copy of this host's journal is behind; nil = there is none.
func (m *Metrics) SetArchive(host string, v *messages.ArchiveView) {
	if v != nil {
		m.gauge("modelops_archive_lag_events").WithLabelValues(host).Set(float64(v.Sequence - min(v.Archived, v.Sequence)))
	}
}

func (m *Metrics) setPeer(v *messages.MemberView) {
	if v.BootId == "" { // nothing of it is known
		return
	}
	set := func(name string, value float64) { m.gauge(name).WithLabelValues(v.Host).Set(value) }
	set("modelops_peer_heard_age_seconds", float64(v.HeardMs)/1000)
	set("modelops_peer_clock_offset_seconds", float64(v.ClockOffsetMs)/1000)
	if v.RttUs > 0 {
		set("modelops_peer_rtt_seconds", float64(v.RttUs)/1e6)
	}
	if v.Copied > 0 {
		set("modelops_peer_copy_lag_events", float64(v.Sequence-min(v.Copied, v.Sequence)))
	}
}
