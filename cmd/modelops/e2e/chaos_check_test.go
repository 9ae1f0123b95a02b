//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"

	"modelops/messages"
)

// carrier is a living process that carries a worker's nonce; only the leader of a group is a worker, the others are what it started.
type carrier struct {
	pid    int
	nonce  string
	leader bool
}

// triple is what the checker compares: the ledgers and the models as the API shows them, the processes as the kernel does, and the
// states of all actors, live and folded from the journal.
type triple struct {
	gpus         []*messages.GpuView
	models       []*messages.ModelView
	processes    []carrier
	live, folded map[string]string // sequence and state by actor
	history      []string          // what a decision of the journal did wrong, however long ago
}

// wrong lists where ledger, processes and journal contradict each other, for a host at rest.
func (p triple) wrong() []string {
	out := slices.Clone(p.history)
	out = append(out, p.ledgers()...)
	for _, m := range p.models {
		out = append(out, p.model(m)...)
	}
	out = append(out, p.strays()...)
	for actor, state := range p.folded {
		if p.live[actor] != state {
			out = append(out, fmt.Sprintf("%s is %q, by its journal %q", actor, p.live[actor], state))
		}
	}
	for actor := range p.live {
		if _, ok := p.folded[actor]; !ok {
			out = append(out, fmt.Sprintf("%s is in no journal", actor))
		}
	}
	slices.Sort(out)
	return out
}

// atRest tells whether a phase lasts: the others are on their way to one.
func atRest(phase messages.ModelView_Phase) bool {
	return slices.Contains([]messages.ModelView_Phase{
		messages.ModelView_absent, messages.ModelView_ready, messages.ModelView_asleep, messages.ModelView_failed,
	}, phase)
}

func resident(m *messages.ModelView) bool {
	return m.Phase == messages.ModelView_ready || m.Phase == messages.ModelView_asleep
}

func holds(r *messages.Reservation) uint64 {
	if r.MeasuredBytes > 0 {
		return r.MeasuredBytes
	}
	return r.Bytes
}

// ledgers checks each ledger's sums, and that each lease is known to its holder or ends by itself.
func (p triple) ledgers() (out []string) {
	for _, g := range p.gpus {
		var sum uint64
		for _, r := range g.Reservations {
			sum += holds(r)
			if !p.holder(g, r) {
				out = append(out, fmt.Sprintf("%s: lease %s of %s has no holder that knows it, and no time to live", g.Id, r.Lease, r.Holder))
			}
		}
		if sum != g.ReservedBytes {
			out = append(out, fmt.Sprintf("%s: %d bytes are reserved, the leases hold %d", g.Id, g.ReservedBytes, sum))
		}
		if g.ReservedBytes > g.LimitBytes {
			out = append(out, fmt.Sprintf("%s: %d bytes are reserved, the limit is %d", g.Id, g.ReservedBytes, g.LimitBytes))
		}
	}
	return out
}

func (p triple) holder(g *messages.GpuView, r *messages.Reservation) bool {
	if id, err := messages.ParseActorID(r.Holder); err != nil || id.Kind != messages.KindModel {
		return r.TtlSeconds > 0
	}
	return slices.ContainsFunc(p.models, func(m *messages.ModelView) bool {
		return m.Id == r.Holder && resident(m) && slices.ContainsFunc(m.Placement.GetShares(), func(s *messages.Share) bool {
			return s.Gpu == g.Id && s.Lease == r.Lease && s.Epoch == r.Epoch
		})
	})
}

// model checks that a resident model has one worker, with its nonce, and the leases of its placement, and that another has neither.
func (p triple) model(m *messages.ModelView) (out []string) {
	if !atRest(m.Phase) {
		return []string{fmt.Sprintf("%s is %s: it isn't at rest", m.Id, m.Phase)}
	}
	if !resident(m) {
		return nil
	}
	var pids []int
	for _, c := range p.processes {
		if c.leader && c.nonce == m.Nonce {
			pids = append(pids, c.pid)
		}
	}
	if len(pids) != 1 || int64(pids[0]) != m.Worker.GetPid() || m.Nonce == "" || m.Worker.GetNonce() != m.Nonce {
		out = append(out, fmt.Sprintf("%s is %s in attempt %d with worker %d and nonce %q; its processes are %v", m.Id, m.Phase, m.Attempt, m.Worker.GetPid(), m.Nonce, pids))
	}
	if len(m.Placement.GetShares()) == 0 {
		out = append(out, fmt.Sprintf("%s is %s without a lease", m.Id, m.Phase))
	}
	for _, s := range m.Placement.GetShares() {
		out = append(out, p.share(m, s)...)
	}
	return out
}

func (p triple) share(m *messages.ModelView, s *messages.Share) []string {
	for _, g := range p.gpus {
		for _, r := range g.Reservations {
			if g.Id != s.Gpu || r.Lease != s.Lease {
				continue
			}
			switch {
			case r.Holder != m.Id || r.Epoch != s.Epoch:
				return []string{fmt.Sprintf("%s: lease %s belongs to %s since %d; %s holds it since %d", g.Id, r.Lease, r.Holder, r.Epoch, m.Id, s.Epoch)}
			case m.Phase == messages.ModelView_ready && len(m.Placement.Shares) == 1 && r.MeasuredBytes != m.MeasuredBytes:
				return []string{fmt.Sprintf("%s: lease %s of %s is measured as %d bytes, the worker as %d", g.Id, r.Lease, m.Id, r.MeasuredBytes, m.MeasuredBytes)}
			}
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: its lease %s on %s isn't in the ledger", m.Id, s.Lease, s.Gpu)}
}

// strays are processes that no resident model owns.
func (p triple) strays() (out []string) {
	for _, c := range p.processes {
		owned := slices.ContainsFunc(p.models, func(m *messages.ModelView) bool { return resident(m) && m.Nonce == c.nonce })
		if !owned {
			out = append(out, fmt.Sprintf("process %d with nonce %q belongs to no resident model, so it has no lease", c.pid, c.nonce))
		}
	}
	return out
}
