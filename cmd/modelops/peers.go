package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/cluster"
	"modelops/actors/view"
	"modelops/bridges/certs"
	"modelops/bridges/config"
	"modelops/bridges/peer"
	"modelops/bridges/runtime"
	"modelops/journal"
	"modelops/messages"
)

// retryStarting is when to ask a host again that starts.
const retryStarting = 500 * time.Millisecond

// inCluster tells whether this host works with others. A host alone opens nothing of what is in this file.
func inCluster(cfg *config.Config) bool {
	_, err := os.Stat(filepath.Join(cfg.DataDir, "cluster"))
	return err == nil || len(cfg.Others()) > 0
}

// newActorsDoor is the door of the actors: the tree, and on a host of a cluster the other hosts too.
func (d *daemon) newActorsDoor() messages.Door {
	if !inCluster(d.cfg) {
		return d.tree
	}
	d.far = &farDoor{host: d.host, tree: d.tree}
	d.follower = &view.Follower{View: d.view, Log: d.log}
	d.files = &runtime.Files{Runtime: d.runtime, DataDir: d.cfg.DataDir, Specs: d.declaredHere, Log: d.log}
	d.compared = view.Files{Host: d.host, Own: d.files.Own, Others: d.follower}
	d.files.Wanted = d.compared.Wanted
	return d.far
}

// trustOf says who belongs to the cluster: with certificates of one's own or those of data_dir/cluster, else as declared on this machine.
func trustOf(cfg *config.Config) (peer.Trust, error) {
	c, dir := cfg.Cluster, certs.ClusterDir(cfg.DataDir)
	if _, err := os.Stat(filepath.Join(dir, "host.crt")); c.Cert == "" && err != nil {
		return declared(cfg)
	}
	declared := map[string]string{}
	for _, p := range cfg.Others() {
		declared[p.Host] = p.Address
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, messages.Errorf(messages.FailedPrecondition, dir, "it can't be made: %w", err)
	}
	if c.Cert == "" {
		if err := certs.RenewMember(dir, cfg.Host, time.Now()); err != nil {
			return nil, err
		}
	}
	m, err := certs.OpenMembership(certs.MembershipOptions{Dir: dir, Host: cfg.Host, CA: c.CA, Cert: c.Cert, Key: c.Key, Declared: declared}, time.Now())
	if err != nil {
		return nil, err
	}
	return membersOf{m}, nil
}

// membersOf fits the membership to the port of the links.
type membersOf struct{ *certs.Membership }

// Members implements peer.Trust.
func (m membersOf) Members() (out []peer.Member) {
	for host, address := range m.Hosts() {
		out = append(out, peer.Member{Host: host, Address: address})
	}
	return out
}

const certificatesHint = "make certificates: modelops cluster init on one host, modelops cluster invite, and serve --join on the other; or name your own by cluster.cert, cluster.key and cluster.ca"

// declared are members without certificates.
func declared(cfg *config.Config) (peer.Trust, error) {
	var out peer.Declared
	for _, p := range cfg.Others() {
		if p.Address == "" {
			return nil, messages.Errorf(messages.FailedPrecondition, "cluster.peers", "%s is to be reached over nats.hub, and hosts without certificates don't work together over a hub", p.Host).WithHint(certificatesHint)
		}
		if !peer.IsLoopback(p.Address) {
			return nil, messages.Errorf(messages.FailedPrecondition, "cluster.peers", "%s at %s isn't on this machine, and hosts without certificates join over loopback only", p.Host, p.Address).
				WithHint(certificatesHint)
		}
		out = append(out, peer.Member{Host: p.Host, Address: p.Address})
	}
	return out, nil
}

// openPeers listens on the cluster port, links this host to the others, and begins to hear them. The links close before what they stand on.
func (d *daemon) openPeers(context.Context) error {
	if d.far == nil {
		return nil
	}
	trust, err := trustOf(d.cfg)
	if err != nil {
		return err
	}
	l, err := listen(d.atForHosts(trust.Server() != nil), d.cfg.Cluster.Port, "cluster.port")
	if err != nil {
		return err
	}
	d.peers = peer.New(peer.Options{
		Host: d.host, BootID: d.bootID, Version: buildVersion(), Listener: l, Trust: trust, Accounts: d.journal, Hub: d.atHub, Log: d.log,
		Door: recoveredDoor{Door: d.tree, host: d.host, over: d.recovery.Over}, Operations: d.control.Scoped(),
		Heard: func(h *messages.Heartbeat, _ string) {
			d.learn(trust, h)
			d.cluster.Hear(h)
			d.copies.Heard(h.Host, h.Sequence)
		},
		Moved: func(host, address string) {
			if d.members == nil {
				return
			}
			if err := d.members.Moved(host, address); err != nil {
				d.log.Error("the new address of a member can't be written down", "host", host, "error", err)
			}
		},
		Pager:    journal.Pager{Host: d.host, Journal: d.journal, Copies: d.copies},
		Reporter: recoveredReporter{over: d.recovery.Over, Reporter: view.Reporter{Host: d.host, BootID: d.bootID, View: d.view, Ledgers: d.ledgers(), Queue: d.gateway.Queue, Files: d.files.Own, Samples: d.samples, MaxJobs: func() uint32 { return d.learning().MaxJobs }, Now: d.clock.Now}},
	})
	d.far.peers = d.peers
	d.follower.Source = d.peers
	if d.actors, err = d.openActors(trust); err != nil {
		_ = l.Close()
		return err
	}
	d.cluster = d.newCluster(trust)
	d.far.seat = d.cluster
	declared := newRemembered(d.cfg.DataDir, d.log)
	declared.restore(func(host string) bool {
		return slices.ContainsFunc(trust.Members(), func(m peer.Member) bool { return m.Host == host })
	}, d.follower.Restore)
	d.follower.Store = declared
	d.openForward()
	stop := d.journal.ServePeers(d.peers)
	d.later(func(context.Context) error { d.peers.Close(); stop(); return nil })
	if err := d.openInvitations(); err != nil {
		return err
	}
	d.peers.Start()
	d.actors.Start(d.cluster.Hold, d.cluster.SeatActors)
	d.later(func(context.Context) error { d.actors.Stop(); return nil })
	d.alongside(d.cluster.Run)
	d.alongside(d.copying)
	d.alongside(d.files.Run)
	d.alongside(d.spares)
	d.alongside(d.followMembers(trust))
	d.log.Info("this host works with others", "cluster", d.peers.Address(), "members", len(trust.Members()))
	return nil
}

// learn makes members of those whom a member hears: with certificates, each member is known to all from its first meeting with any.
func (d *daemon) learn(trust peer.Trust, h *messages.Heartbeat) {
	m, ok := trust.(membersOf)
	if !ok {
		return
	}
	if !m.Declares(h.Host) {
		d.peers.Learn(h.Host, h.Address)
	}
	heard := map[string]string{}
	for _, x := range h.Heard {
		heard[x.Host] = x.Address
	}
	for host, changes := range h.Membership {
		if err := m.Learn(certs.Member{Host: host, Address: heard[host], Changes: changes}); err != nil {
			d.log.Error("what a member says of another host can't be written down", "host", host, "error", err)
		}
	}
}

// newCluster is the table of the members, over the links.
func (d *daemon) newCluster(trust peer.Trust) *cluster.Cluster {
	writes := &writing{ill: d.journal.Health}
	o := cluster.Options{Host: d.host, BootID: d.bootID, Ready: d.recovery.Over, Beats: d.peers, Log: d.log,
		Actors: d.actors.Address, Settle: d.actors.Settle,
		Facts: func() cluster.Facts {
			return cluster.Facts{Version: buildVersion(), Address: d.advertised(d.peers.Address()), Sequence: d.journal.Sequence(), Membership: d.changesOfMembers(), Standby: d.standby.waits()}
		},
		Links: d.links, Arbiter: ownArbiter{d.host, d.tree}, Obeyed: d.obeyed, Copied: d.copied, Draining: func() bool { return d.stopping.Load() || d.draining() || writes.not() }, Changed: d.memberChanged,
	}
	if m, ok := trust.(membersOf); ok {
		d.members = m.Membership
		o.Removed = m.Removed()
	}
	for _, m := range trust.Members() {
		o.Peers = append(o.Peers, cluster.Peer{Host: m.Host, Address: m.Address})
	}
	return cluster.New(o)
}

// changesOfMembers counts how often each host has joined and was removed; nil without certificates.
func (d *daemon) changesOfMembers() map[string]uint64 {
	if d.members == nil {
		return nil
	}
	out := map[string]uint64{}
	for _, x := range d.members.All() {
		out[x.Host] = x.Changes
	}
	return out
}

// links is how the connections to the others are now.
func (d *daemon) links() map[string]cluster.Link {
	out := map[string]cluster.Link{}
	for _, l := range d.peers.Links() {
		out[l.Host] = cluster.Link{Up: l.To, ByHub: l.ByHub, RTT: l.RTT, Offset: l.ClockOffset, Why: strings.TrimPrefix(l.Reason, "host "+l.Host+" can't be reached: ")}
	}
	return out
}

// membership is this host's place in the cluster, for the operations on it.
type membership struct{ d *daemon }

// View implements control.Cluster.
func (m membership) View() *messages.ClusterView {
	v := m.d.clusterView()
	for _, x := range v.Members {
		if said := m.d.lastDeclared(x.Host); said != "" && x.State != messages.MemberView_alive {
			x.Reason = strings.TrimPrefix(x.Reason+"; "+said, "; ")
		}
	}
	v.Copies = m.d.copiesInUse()
	for _, k := range v.Copies {
		for _, x := range v.Members {
			if x.Host == k.Host {
				x.CopyAgeMs = k.AgeMs
			}
		}
	}
	v.Copies = append(v.Copies, m.d.copiesKept()...)
	return v
}

// Remove implements control.Cluster.
func (m membership) Remove(_ context.Context, r *messages.RemoveMemberRequest) (*messages.RemoveMemberReply, error) {
	d := m.d
	switch {
	case d.members == nil:
		return nil, m.declared("remove")
	case r.Host == d.host:
		return nil, messages.NewError(messages.InvalidArgument, "host "+r.Host, "a host can't remove itself").WithHint("run modelops cluster remove on another member")
	case !d.members.IsMember(r.Host):
		return nil, messages.NoMember(r.Host)
	}
	out := &messages.RemoveMemberReply{Host: r.Host, Consequences: []string{r.Host + " is cut off here at once, and at every other member as soon as that hears of it. It works alone, and needs a new invitation to come back."}}
	out.Consequences = append(out.Consequences, d.modelsWithout(r.Host)...)
	out.Consequences = append(out.Consequences, "Leases of its memory end with it. Its own journal stays on its disk.")
	if err := d.members.Expel(r.Host); err != nil {
		return nil, err
	}
	d.cluster.Remove(r.Host)
	return out, nil
}

// modelsWithout says what becomes of a host's models when it is removed.
func (d *daemon) modelsWithout(host string) (out []string) {
	for _, v := range d.view.ModelsOf(host) {
		elsewhere := slices.ContainsFunc(d.view.Models(), func(o *messages.ModelView) bool { return o.Name == v.Name && o.Id != v.Id })
		switch {
		case !elsewhere:
			out = append(out, fmt.Sprintf("%s alone declares %s: requests for it are refused here from now on.", host, v.Name))
		case v.Phase != messages.ModelView_absent:
			out = append(out, fmt.Sprintf("Its worker of %s serves nobody here any more; a request loads the model on another host that declares it.", v.Name))
		}
	}
	return out
}

func (m membership) declared(what string) error {
	return messages.Errorf(messages.FailedPrecondition, "host "+m.d.host, "its cluster is declared in its configuration: there is nobody to %s", what).
		WithHint("change cluster.peers in the configuration of each host")
}

// hosts are the other hosts, for the operations about one of them.
type hosts struct{ d *daemon }

// isMember tells whether a host is another one of the cluster, reached or not.
func (d *daemon) isMember(host string) bool { return d.far != nil && hosts{d}.Has(host) }

// Has implements control.Hosts.
func (h hosts) Has(host string) bool { _, ok := h.d.peers.Link(host); return ok }

// Reached implements control.Hosts.
func (h hosts) Reached(host string) bool { return h.d.closed(host) == "" }

// Call implements control.Hosts.
func (h hosts) Call(ctx context.Context, host, operation string, request proto.Message) (proto.Message, error) {
	return h.d.peers.Call(ctx, host, operation, request)
}

// memberChanged follows the reports of members that are reached, and has models load here that only those had that aren't.
func (d *daemon) memberChanged(c cluster.Change) {
	d.reached(c)
	d.failsOver(c) // it looks at what the member had
	switch {
	case c.Removed:
		d.follower.Forget(c.Host)
	case c.To == messages.MemberView_alive:
		d.follower.Reached(d.life, c.Host, d.alongside)
	default:
		d.follower.Lost(c.Host)
	}
}
