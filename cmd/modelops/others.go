package main

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// clusterTroubles is what /health says of the cluster.
func (d *daemon) clusterTroubles() []string {
	troubles := append(d.hubTroubles(), inversionTroubles(d.view.Inversions())...)
	if d.cluster == nil {
		return troubles
	}
	return append(troubles, troublesOf(d.clusterView())...)
}

// expected are the members that haven't been heard since this host started. Health names them in its details only, as long as they may still be starting too; what
// somebody should do about one that stays away is among the troubles.
func (d *daemon) expected() (out []string) {
	if d.cluster == nil {
		return nil
	}
	for _, m := range d.cluster.View().Members {
		if m.State == messages.MemberView_expected {
			out = append(out, m.Host)
		}
	}
	return out
}

// clusterView is the cluster as this host sees it, with the models whose files differ among what somebody should mend.
func (d *daemon) clusterView() *messages.ClusterView {
	v := d.cluster.View()
	for _, m := range v.Members { // also of a host that has never been heard since this one started
		_, m.Wakes = d.wakes(m.Host)
	}
	for _, e := range d.compared.All() {
		v.Notes = append(v.Notes, e.Message+". To mend it, "+e.Hint)
	}
	return v
}

// apart says why another host's workers may not serve a model for this host; nil = they may.
func (d *daemon) apart(model, host string) *messages.Error {
	if d.files == nil {
		return nil
	}
	return d.compared.Apart(model, host)
}

// declaredHere are the declarations of this host.
func (d *daemon) declaredHere() (out []*messages.ModelSpec) {
	for _, v := range d.view.ModelsOf(d.host) {
		if messages.IsDeclared(v) {
			out = append(out, v.Spec)
		}
	}
	return out
}

// troublesOf are the members that can't be reached, and what somebody should do. A host that left in good order is no trouble.
func troublesOf(v *messages.ClusterView) (out []string) {
	noted := func(host string) bool {
		return slices.ContainsFunc(v.Notes, func(n string) bool { return strings.HasPrefix(n, host+" ") })
	}
	for _, m := range v.Members {
		lost := m.State == messages.MemberView_unreachable || m.State == messages.MemberView_alive && m.Reason != ""
		if lost && !noted(m.Host) {
			out = append(out, "host "+m.Host+": "+m.Reason)
		}
	}
	return append(out, v.Notes...)
}

// reportAges are the ages of the other hosts' last reports.
func (d *daemon) reportAges() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, host := range d.follower.Hosts() {
		out[host] = d.follower.Said(host).Age
	}
	return out
}

// saidBy tells how old what other hosts said is; nil on a host alone.
func (d *daemon) saidBy() func() []*messages.HostSaid {
	if d.far == nil {
		return nil
	}
	return func() []*messages.HostSaid {
		said, _ := d.othersSaid()
		return said
	}
}

// othersSaid is what other hosts said last: how old it is, and the requests that ran and waited there.
func (d *daemon) othersSaid() (said []*messages.HostSaid, requests []*messages.QueuedRequest) {
	for _, host := range d.follower.Hosts() {
		at := d.follower.Said(host)
		q := at.Report.GetQueue()
		said = append(said, &messages.HostSaid{Host: host, AgeMs: at.Age.Milliseconds(), Stale: !d.follower.Fresh(host), Active: q.GetActive(), Queued: q.GetQueued()})
		for _, r := range q.GetRequests() {
			r = proto.CloneOf(r)
			r.Host = host
			requests = append(requests, r)
		}
	}
	return said, requests
}

// saidNeed is what another host says that a model needs there; nil when it hasn't said it, as before the first report after it was away.
func (d *daemon) saidNeed(model, host string) (need *messages.Need, told bool) {
	for _, f := range d.follower.Said(host).Report.GetFiles() {
		if f.Model == model {
			need = f.Need
		}
	}
	return need, d.follower.Fresh(host)
}
