package journal

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"modelops/messages"
)

// A stranger is a connection that hasn't said yet whose it is. The server counts it like any other and lets it stay until AuthTimeout, so a
// program that opens one after another would keep out every caller, and this process. Strangers have a part of all connections. Past it the
// oldest end, of the address that has the most: who presents a key does so at once.
const (
	strangerPart = 4 // they have one connection in four
	// reserved connections are left to this process and to the operator.
	reserved = 8

	lookEvery = 100 * time.Millisecond
	lookAgain = 10 * time.Millisecond // while strangers come
)

// most is how many connections the server takes.
func (o *Options) most() int {
	if o.MaxConnections > 0 {
		return o.MaxConnections + ownConnections
	}
	return maxConnections
}

// keepStrangersFew looks for strangers until the journal is closed.
func (j *Journal) keepStrangersFew() {
	next := time.NewTimer(lookEvery)
	defer next.Stop()
	for {
		select {
		case <-j.stopped.Done():
			return
		case <-next.C:
		}
		pause := lookEvery
		if j.callers.endStrangers() > 0 {
			pause = lookAgain
		}
		next.Reset(pause)
	}
}

// endStrangers ends those that are too many, and says how many.
func (a *callers) endStrangers() (ended int) {
	s, most := a.j.server.Load(), a.j.o.most()/strangerPart
	if s == nil || s.NumClients() <= most {
		return 0
	}
	open, err := s.Connz(&server.ConnzOptions{Sort: server.ByCid, Limit: 2 * a.j.o.most()}) // the oldest first
	if err != nil {
		return 0
	}
	known, by, n := a.known(), map[netip.Addr][]uint64{}, 0
	for _, c := range open.Conns {
		at, err := netip.ParseAddr(c.IP) // those of this process have none
		if _, in := known[c.Cid]; err == nil && !in {
			by[at], n = append(by[at], c.Cid), n+1
		}
	}
	for ; n > most; n-- {
		var from netip.Addr
		for at, ids := range by {
			if d := cmp.Compare(len(ids), len(by[from])); d > 0 || d == 0 && at.Less(from) {
				from = at
			}
		}
		_ = s.DisconnectClientByID(by[from][0]) // it may have left already
		by[from], ended = by[from][1:], ended+1
	}
	if ended > 0 {
		a.refuse("connections that present no key end when there are too many", ended)
	}
	return ended
}

// refuse counts connections that don't fit, and says so in a line a minute.
func (a *callers) refuse(why string, n int, about ...any) {
	a.j.o.Refused(n)
	all := a.unfit.Add(int64(n))
	if !a.unfitSaid.due(time.Now()) {
		return
	}
	a.unfit.Add(-all)
	a.j.o.Log.Warn("connections of NATS clients are refused: "+why, append(about, "max_connections", a.j.o.most(), "refused", all)...)
}

// known are the connections that were let in.
func (a *callers) known() map[uint64]struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[uint64]struct{}{}
	for _, at := range a.accounts {
		for id := range at.sessions {
			out[id] = struct{}{}
		}
	}
	return out
}

// full tells whether the connections that are left are reserved.
func (a *callers) full(s *server.Server, p messages.Principal) bool {
	return s.NumClients() > a.j.o.most()-min(reserved, a.j.o.most()/strangerPart) && !p.May(messages.Role_ADMIN)
}
