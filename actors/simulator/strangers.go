package simulator

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Programs hold memory too. Some take their memory over, some never do, and some act on a lease that isn't theirs or isn't theirs any more.

const (
	program  = "client/program"
	stranger = "client/stranger"
	// formerGrants is how many grants are remembered whose lease has been granted again since.
	formerGrants = 16
	// lookAgain is how often a program looks whether its memory is reserved, and lookMost how many times.
	lookAgain = 50 * time.Millisecond
	lookMost  = 100
)

// former is a grant that is over: its lease has been granted again.
type former struct {
	grantKey
	grant
}

// noteGrant remembers the holder of a lease, and its former holder.
func (w *World) noteGrant(key grantKey, g grant) {
	if before, ok := w.granted[key]; ok {
		w.former = append(w.former, former{key, before})
		w.former = w.former[max(0, len(w.former)-formerGrants):]
	}
	w.granted[key] = g
}

// programReserves asks a device for memory under a name that comes back, past the arbiter.
func (w *World) programReserves() {
	d := w.devices[w.rng.IntN(len(w.devices))]
	door{w}.Tell(&try{}, d.id, &messages.ReserveVram{Lease: "job", Holder: program, Bytes: w.rng.Uint64N(d.capacity / 4), TtlSeconds: uint32(1 + w.rng.IntN(20))})
}

// programClaims asks the arbiter for memory and takes it over, or forgets about it.
func (w *World) programClaims() {
	c := &messages.RequestPlacement{Holder: program, Claim: &messages.Claim{Id: w.newID(), TtlSeconds: uint32(1 + w.rng.IntN(20)),
		Needs: []*messages.Need{{Bytes: w.rng.Uint64N(w.o.Devices[0] / 4), Kinds: []string{"cuda"}, Source: messages.Need_declared}}}}
	looks := lookMost
	if w.rng.IntN(4) == 0 {
		looks = 1
	}
	w.claim(c, looks)
}

func (w *World) claim(c *messages.RequestPlacement, looks int) {
	r, err := door{w}.Ask(&try{}, w.arbiter.id, c)
	p := (*messages.Placement)(nil)
	if reply, ok := r.Answer.(*messages.PlacementReply); ok {
		p = reply.Placement
	}
	switch {
	case looks == 0, err == nil && p == nil, err != nil && messages.CodeOf(err) != messages.Unavailable:
	case p != nil && !slices.ContainsFunc(p.Shares, func(s *messages.Share) bool { return s.Epoch == 0 }):
		door{w}.Tell(&try{}, w.arbiter.id, &messages.ClosePlacement{Id: p.Id, Reason: "taken over by " + program, TakenOver: true})
	default:
		w.alive(lookAgain, func() { w.claim(c, looks-1) })
	}
}

// strangerReleases tries to release a lease of another holder.
func (w *World) strangerReleases() {
	l := w.ledgers[w.rng.IntN(len(w.ledgers))]
	leases := slices.Sorted(maps.Keys(l.state.Leases))
	if len(leases) == 0 {
		return
	}
	id := leases[w.rng.IntN(len(leases))]
	door{w}.Tell(&try{}, l.id, &messages.ReleaseVram{Lease: id, Holder: stranger, Epoch: l.state.Leases[id].Epoch, Reason: "a mistake"})
}

// fencedGoesOn lets the former holder of a lease act as if it still held it.
func (w *World) fencedGoesOn() {
	var held []former // those whose lease has another holder now
	for _, f := range w.former {
		if _, ok := w.ledgers[w.deviceOf(f.device.String())].state.Leases[f.lease]; ok {
			held = append(held, f)
		}
	}
	if len(held) == 0 {
		return
	}
	f := held[w.rng.IntN(len(held))]
	door{w}.Tell(&try{}, f.device, []proto.Message{
		&messages.ReleaseVram{Lease: f.lease, Holder: f.holder, Epoch: f.epoch, Reason: "its work is done"},
		&messages.ResizeVram{Lease: f.lease, Holder: f.holder, Epoch: f.epoch, Bytes: messages.GiB},
		&messages.SettleVram{Lease: f.lease, Holder: f.holder, Epoch: f.epoch, MeasuredBytes: messages.GiB},
		&messages.ExpireLease{Lease: f.lease, Holder: f.holder, Epoch: f.epoch},
	}[w.rng.IntN(4)])
}
