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
	// hesitatesMost is how long a program may take to take its memory over: longer than the arbiter waits for it.
	hesitatesMost = 20 * time.Second
)

// former is a grant that is over: its lease has been granted again.
type former struct {
	grantKey
	grant
}

// belief is a grant that a program was told that it has, until a moment. renewed is when it was last told that it has it for longer; 0 = never.
type belief struct {
	grant
	until, renewed time.Duration
}

// noteGrant remembers the holder of a lease, and its former holder.
func (w *World) noteGrant(key grantKey, g grant) {
	if before, ok := w.granted[key]; ok {
		w.former = append(w.former, former{key, before})
		w.former = w.former[max(0, len(w.former)-formerGrants):]
	}
	w.granted[key] = g
}

// believes lets a program hold a lease as it was told, and renew it some times.
func (w *World) believes(key grantKey, epoch uint64, ttl time.Duration) {
	g, due := grant{program, epoch}, w.due[key]
	if w.elapsed >= due || w.believed[key].grant == g {
		return
	}
	if held := w.ledgers[w.deviceOf(key.device.String())].state.Leases[key.lease].Epoch; held != epoch {
		w.violated("%s is told that it holds lease %s of %s with epoch %d, whose epoch is %d", program, key.lease, key.device, epoch, held)
	}
	w.believed[key] = belief{grant: g, until: due}
	w.renews(key, g, ttl, w.rng.IntN(4))
}

// renews keeps a lease for some times longer.
func (w *World) renews(key grantKey, g grant, ttl time.Duration, times int) {
	if times == 0 {
		return
	}
	w.after(time.Duration(w.rng.Int64N(int64(ttl))), func() {
		if w.calm || w.believed[key].grant != g {
			return
		}
		if _, err := (door{w}).Ask(&try{}, key.device, &messages.RenewLease{Lease: key.lease, Holder: g.holder, Epoch: g.epoch}); err == nil {
			w.believed[key] = belief{g, w.elapsed + ttl, w.elapsed}
		}
		w.renews(key, g, ttl, times-1)
	})
}

// leaseEnds: no lease ends while its holder was told that it has it.
func (w *World) leaseEnds(key grantKey) {
	b := w.believed[key]
	if b.grant == w.granted[key] && w.elapsed < b.until {
		w.violated("lease %s of %s ends although its holder was told that it has it for another %s", key.lease, key.device, b.until-w.elapsed)
	}
	delete(w.believed, key)
}

// programReserves asks a device for memory under a name that comes back, past the arbiter.
func (w *World) programReserves() {
	d := w.devices[w.rng.IntN(len(w.devices))]
	c := &messages.ReserveVram{Lease: "job", Holder: program, Bytes: w.rng.Uint64N(d.capacity / 4), TtlSeconds: uint32(1 + w.rng.IntN(20))}
	r, _ := door{w}.Ask(&try{}, d.id, c)
	if g, ok := r.Answer.(*messages.VramGrant); ok {
		key := grantKey{d.id, g.Lease}
		w.believes(key, g.Epoch, time.Duration(w.ledgers[w.deviceOf(d.id.String())].state.Leases[g.Lease].TTL)*time.Second)
	}
}

// programClaims asks the arbiter for memory and takes it over, or forgets about it.
func (w *World) programClaims() {
	c := &messages.RequestPlacement{Holder: program, Claim: &messages.Claim{Id: w.newID(), TtlSeconds: uint32(1 + w.rng.IntN(40)),
		Needs: []*messages.Need{{Bytes: w.rng.Uint64N(w.o.Devices[0] / 4), Kinds: []string{"cuda"}, Source: messages.Need_declared}}}}
	if w.far != nil {
		c.Claim.Needs[0].Host = w.host(0)
	}
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
		hesitates := time.Duration(0)
		if w.rng.IntN(2) == 0 {
			hesitates = time.Duration(w.rng.Int64N(int64(hesitatesMost)))
		}
		w.alive(hesitates, func() { w.takesOver(p, time.Duration(c.Claim.TtlSeconds)*time.Second) })
	default:
		w.alive(lookAgain, func() { w.claim(c, looks-1) })
	}
}

// takesOver tells the arbiter that the program has its memory. Without the arbiter's consent the program takes none.
func (w *World) takesOver(p *messages.Placement, ttl time.Duration) {
	if _, err := (door{w}).Ask(&try{}, w.arbiter.id, &messages.ClosePlacement{Id: p.Id, Reason: "taken over by " + program, TakenOver: true}); err != nil {
		return
	}
	for _, share := range p.Shares {
		w.believes(grantKey{w.devices[w.deviceOf(share.Gpu)].id, share.Lease}, share.Epoch, ttl)
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
