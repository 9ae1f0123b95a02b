//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"

	"modelops/actors/entity"
	"modelops/actors/kinds"
	"modelops/journal"
	"modelops/messages"
)

// history folds a host's journal with the kinds' own Evolve and judges each grant in it.
type history struct {
	after  uint64
	actors map[messages.ActorID]*past
	wrong  []string
}

type past struct {
	fold     entity.Folding
	sequence uint64
}

// take folds a decision. A ledger may grant no more than its limit, and no lease that is held already.
func (h *history) take(r messages.Recorded) error {
	f, err := kinds.FoldOf(r.Actor)
	if err != nil {
		return err
	}
	a, ok := h.actors[r.Actor]
	if !ok {
		a = &past{fold: f.Begin(r.Actor)}
		h.actors[r.Actor] = a
	}
	before := a.fold.View()
	a.fold.Apply(r)
	a.sequence, h.after = r.Sequence, r.Sequence
	for _, e := range r.Events {
		granted, ok := e.(*messages.VramReserved)
		if !ok {
			continue
		}
		for _, held := range before.(*messages.GpuView).Reservations {
			if held.Lease == granted.Lease {
				h.wrong = append(h.wrong, fmt.Sprintf("sequence %d: lease %s of %s is granted to %s", r.Sequence, held.Lease, held.Holder, granted.Holder))
			}
		}
		if g := a.fold.View().(*messages.GpuView); g.ReservedBytes > g.LimitBytes {
			h.wrong = append(h.wrong, fmt.Sprintf("sequence %d: %s grants %s: %d of %d bytes are reserved", r.Sequence, g.Id, granted.Lease, g.ReservedBytes, g.LimitBytes))
		}
	}
	return nil
}

// states are those of the actors that can be compared with the live ones. The host is left out: it counts boots.
func (h *history) states() (map[string]string, error) {
	out := map[string]string{}
	for id, a := range h.actors {
		if id.Kind == messages.KindHost {
			continue
		}
		raw, err := json.Marshal(a.fold.State())
		if err != nil {
			return nil, err
		}
		out[id.String()] = fmt.Sprintf("%d %s", a.sequence, raw)
	}
	return out, nil
}

// observer looks at one daemon again and again; what it has read of the journal stays.
type observer struct {
	d *daemon
	h history
}

func (d *daemon) observer() *observer {
	return &observer{d: d, h: history{actors: map[messages.ActorID]*past{}}}
}

// look reads ledger, processes and journal.
func (o *observer) look(nc *nats.Conn) (p triple, err error) {
	err = journalOf(o.d.at.Host, nc).Replay(o.d.t.Context(), journal.Query{After: o.h.after}, o.h.take)
	if err != nil {
		return p, err
	}
	if p.folded, err = o.h.states(); err != nil {
		return p, err
	}
	p.history, p.live = o.h.wrong, map[string]string{}
	for actor := range p.folded {
		id, err := messages.ParseActorID(actor)
		if err != nil {
			return p, err
		}
		v, err := view(nc, id)
		if err != nil {
			return p, err
		}
		if id.Kind == messages.KindArbiter && seatedAt(v) != "" && seatedAt(v) != o.d.at.Host {
			delete(p.folded, actor)
			p.history = append(slices.Clone(p.history), o.standsDown(id)...)
			continue
		}
		p.live[actor] = fmt.Sprintf("%d %s", v.Sequence, v.StateJson)
	}
	s := o.d.status()
	p.gpus = slices.DeleteFunc(s.Gpus, func(g *messages.GpuView) bool { return !ownedBy(o.d.at.Host, g.Id) })
	p.models = slices.DeleteFunc(s.Models, func(m *messages.ModelView) bool { return !ownedBy(o.d.at.Host, m.Id) })
	p.processes = carriers(o.d.dir)
	return p, nil
}

// seatedAt is the host of the arbiter that a host shows: the one that places for the cluster, which can be another host's. Empty on a host that was always alone.
func seatedAt(v *messages.StateReply) string {
	a := &messages.ArbiterView{}
	if protojson.Unmarshal([]byte(v.ViewJson), a) != nil {
		return ""
	}
	return a.Host
}

// standsDown judges this host's arbiter by its journal while another one places: it has given up what it had decided, and the leases are released.
func (o *observer) standsDown(id messages.ActorID) (wrong []string) {
	for _, p := range o.h.actors[id].fold.View().(*messages.ArbiterView).Open {
		wrong = append(wrong, fmt.Sprintf("the arbiter of %s doesn't place any more, and has placement %s for %s in hand", o.d.at.Host, p.Id, p.Holder))
	}
	return wrong
}

// ownedBy tells whether an actor is of a host, and not what the host shows of others.
func ownedBy(host, actor string) bool {
	id, err := messages.ParseActorID(actor)
	return err == nil && id.Host() == host
}

// carriers are the living workers of the daemon in dir, and what they started.
func carriers(dir string) (out []carrier) {
	for _, w := range processesOf(dir) {
		if !alive(w.pid) {
			continue
		}
		group, err := syscall.Getpgid(w.pid)
		out = append(out, carrier{pid: w.pid, nonce: environOf(w.pid)["MODELOPS_NONCE"], leader: err == nil && group == w.pid})
	}
	return out
}

// settles waits until ledger, processes and journal agree. A decision that was wrong stays wrong, so it fails at once.
func (o *observer) settles(where string) {
	o.d.t.Helper()
	nc := o.d.dial()
	defer nc.Close()
	var wrong []string
	for end := time.Now().Add(waitLimit); ; {
		p, err := o.look(nc)
		if err == nil {
			if wrong = p.wrong(); len(wrong) == 0 {
				return
			}
		} else {
			wrong = []string{err.Error()}
		}
		if len(o.h.wrong) > 0 || time.Now().After(end) {
			o.d.t.Fatalf("%s: ledger, processes and journal differ:\n%s", where, strings.Join(wrong, "\n"))
		}
		pause(o.d.t)
	}
}
