package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"modelops/messages"
)

// Callers say who may use the listener, and what for. The zero value lets nobody in.
type Callers struct {
	// Admit finds the principal of the key that a connection presents. A principal without a name is anonymous, and has no right here.
	Admit messages.Authenticate
	// Operator is a key that a client may also prove by a signature (Signed), so that a program that listens on the port doesn't learn it; empty = none.
	Operator string
	// Rights are what a principal may do in the account of its key.
	Rights func(messages.Principal) Rights
}

// Rights are subjects, with wildcards. What they don't name is refused.
type Rights struct{ Publish, Subscribe []string }

// Door serves the requests of callers.
type Door interface {
	// Enter serves the account of a principal over nc, which leads into it, from before the first connection of the principal until leave is
	// called. nc stays the journal's.
	Enter(nc *nats.Conn, p messages.Principal) (leave func(), err error)
}

const (
	doorUser   = "door " // and the account's name
	maxCallers = 4096    // accounts; the server can't forget one before it ends

	admitLimit = 5 * time.Second // an issuer of tokens may have to be asked
	idleLimit  = time.Minute     // how long an account is served after its last connection
)

// callers keeps an account of its own for each key, without JetStream. So no caller sees a subject of another one, not even an inbox, and the
// account in which a request arrives says whose it is: nothing in the request has to be believed.
type callers struct {
	j *Journal

	mu       sync.Mutex // never held while the server calls for a connection of the door
	door     Door
	accounts map[string]*account

	unfit     atomic.Int64 // connections that didn't fit, since the last line about them
	unfitSaid minutely
}

// account is that of one principal.
type account struct {
	name      string
	principal messages.Principal
	nc        *nats.Conn // of the door; nil while it isn't served
	leave     func()
	sessions  map[uint64]session // by the connection's id
	seen      time.Time          // the last connection was let in
}

// session is a connection that was let in.
type session struct {
	key  string
	peer netip.Addr
}

// gate is the authentication of one server.
type gate struct {
	callers *callers
	server  atomic.Pointer[server.Server]
}

// Check implements server.Authentication.
func (g *gate) Check(c server.ClientAuthentication) bool {
	s, o := g.server.Load(), c.GetOpts()
	if s == nil || c.Kind() != server.CLIENT {
		return false
	}
	if o.Password != "" && subtle.ConstantTimeCompare([]byte(o.Password), []byte(g.callers.j.password)) == 1 {
		return g.own(s, c, o.Username)
	}
	if g.callers.j.peers.check(s, c) {
		return true
	}
	key := g.callers.presented(c)
	if key == "" || g.callers.j.o.Callers.Admit == nil {
		return false
	}
	in := session{key: key, peer: peerOf(c.RemoteAddress())}
	p, ok := g.callers.admit(g.callers.j.stopped, in)
	return ok && g.callers.enter(s, c, p, in)
}

// own lets the connections of this process in.
func (g *gate) own(s *server.Server, c server.ClientAuthentication, user string) bool {
	name, ofDoor := strings.CutPrefix(user, doorUser)
	switch {
	case user == ownUser:
		c.RegisterUser(&server.User{Username: user, Account: s.GlobalAccount()})
	case user == bridgeUser:
		c.RegisterUser(&server.User{Username: user, Account: s.GlobalAccount(), Permissions: bridgePermissions()})
	case ofDoor:
		a, _ := s.LookupOrRegisterAccount(name)
		c.RegisterUser(&server.User{Username: user, Account: a})
	default:
		return false
	}
	return true
}

// presented is the key of a connection: a token, a password with any user name, or the operator's by its signature of the server's nonce.
func (a *callers) presented(c server.ClientAuthentication) string {
	o := c.GetOpts()
	switch {
	case o.Nkey != "":
		if provesKey(a.j.o.Callers.Operator, o.Nkey, o.Sig, c.GetNonce()) {
			return a.j.o.Callers.Operator
		}
		return ""
	case o.Token != "":
		return o.Token
	}
	return o.Password
}

func peerOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// admit finds the principal of a key. Who is anonymous has no right here.
func (a *callers) admit(ctx context.Context, s session) (messages.Principal, bool) {
	ctx, cancel := context.WithTimeout(ctx, admitLimit)
	defer cancel()
	p, err := a.j.o.Callers.Admit(ctx, messages.Credentials{Key: s.key, Peer: s.peer, Door: "nats"})
	if err == nil && !p.Until.IsZero() && !p.Until.After(time.Now()) {
		return p, false
	}
	return p, err == nil && p.Name != ""
}

// enter lets a connection into the account of its principal, which is served before the client can ask for anything.
func (a *callers) enter(s *server.Server, c server.ClientAuthentication, p messages.Principal, in session) bool {
	name := accountOf(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.accounts[name]
	if at == nil {
		if len(a.accounts) >= maxCallers {
			a.j.o.Log.Warn("a NATS client was refused: too many keys have been used since the start", "caller", p.Name)
			return false
		}
		at = &account{name: name, principal: p, sessions: map[uint64]session{}}
		a.accounts[name] = at
	}
	if !samePrincipal(at.principal, p) {
		at.close()
		at.principal = p
	}
	if err := a.serve(at); err != nil {
		a.j.o.Log.Warn("a NATS client was refused: its account can't be served", "caller", p.Name, "error", err)
		return false
	}
	where, _ := s.LookupOrRegisterAccount(name)
	if n := where.NumLocalConnections(); n > a.most() && !p.May(messages.Role_ADMIN) {
		a.refuse("a key has too many", 1, "caller", p.Name, "open", n)
		return false
	}
	if a.full(s, p) {
		a.refuse("those that are left are reserved for the operator", 1, "caller", p.Name, "open", s.NumClients())
		return false
	}
	c.RegisterUser(&server.User{Username: p.Name, Account: where, Permissions: a.permissions(p), ConnectionDeadline: p.Until})
	at.sessions[c.GetID()], at.seen = in, time.Now()
	return true
}

// most is how many connections a key may have: half of all, so that no key keeps every other one out.
func (a *callers) most() int { return cmp.Or(a.j.o.MaxConnections, maxConnections) / 2 }

// samePrincipal compares what an account is served with. Each connection ends at an hour of its own.
func samePrincipal(p, q messages.Principal) bool {
	p.Until, q.Until = time.Time{}, time.Time{}
	return reflect.DeepEqual(p, q)
}

// accountOf names a principal's account. A key's fingerprint alone may be empty.
func accountOf(p messages.Principal) string {
	sum := sha256.Sum256([]byte(p.Fingerprint + "\x00" + p.Name))
	return "CALLER_" + hex.EncodeToString(sum[:12])
}

// permissions are an allow-list, and never an empty one, which the server would take for "everything".
func (a *callers) permissions(p messages.Principal) *server.Permissions {
	var r Rights
	if a.j.o.Callers.Rights != nil {
		r = a.j.o.Callers.Rights(p)
	}
	const nothing = "$NOTHING"
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: append([]string{nothing}, r.Publish...)},
		Subscribe: &server.SubjectPermission{Allow: append([]string{nothing}, r.Subscribe...)},
	}
}

// serve has the door serve an account, when there is a door.
func (a *callers) serve(at *account) error {
	if a.door == nil || at.nc != nil {
		return nil
	}
	nc, err := a.j.connect(doorUser + at.name)
	if err != nil {
		return err
	}
	leave, err := a.door.Enter(nc, at.principal)
	if err != nil {
		nc.Close()
		return err
	}
	at.nc, at.leave = nc, leave
	return nil
}

func (at *account) close() {
	if at.nc != nil {
		at.leave()
		at.nc.Close()
		at.nc, at.leave = nil, nil
	}
}

// ServeCallers has door serve the accounts of all callers, from now on until stop. Before, connections are let in and nobody answers them.
func (j *Journal) ServeCallers(door Door) (stop func(), err error) {
	a := &j.callers
	a.mu.Lock()
	defer a.mu.Unlock()
	a.door = door
	for _, at := range a.accounts {
		if err := a.serve(at); err != nil {
			return nil, err
		}
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.door = nil
		for _, at := range a.accounts {
			at.close()
		}
	}, nil
}

// Reads tells whether anyone is subscribed to a subject in the account of a principal. It says yes when it can't know: while the server restarts.
func (j *Journal) Reads(p messages.Principal, subject string) bool {
	s := j.server.Load()
	if s == nil || !s.Running() {
		return true
	}
	a, err := s.LookupAccount(accountOf(p))
	return err != nil || a.SubscriptionInterest(subject)
}

// RecheckCallers ends the connections whose keys no longer give the rights with which they were let in: keys that were revoked, have expired
// or were changed. Their clients may connect again, with the rights that they have now.
func (j *Journal) RecheckCallers(ctx context.Context) {
	a := &j.callers
	for _, at := range a.snapshot() {
		for id, in := range at.sessions {
			if p, ok := a.admit(ctx, in); !ok || !samePrincipal(p, at.principal) {
				a.end(at.name, id)
			}
		}
	}
}

// DisconnectCallers ends the connections of a key.
func (j *Journal) DisconnectCallers(fingerprint string) {
	for _, at := range j.callers.snapshot() {
		if at.principal.Fingerprint != fingerprint {
			continue
		}
		for id := range at.sessions {
			j.callers.end(at.name, id)
		}
	}
}

// snapshot copies the accounts, so that nothing is held while a key's issuer is asked or a connection ends.
func (a *callers) snapshot() []account {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]account, 0, len(a.accounts))
	for _, at := range a.accounts {
		c := account{name: at.name, principal: at.principal, sessions: make(map[uint64]session, len(at.sessions))}
		for id, in := range at.sessions {
			c.sessions[id] = in
		}
		out = append(out, c)
	}
	return out
}

func (a *callers) end(name string, id uint64) {
	if s := a.j.server.Load(); s != nil {
		_ = s.DisconnectClientByID(id) // it may have left already
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.accounts[name]; at != nil {
		delete(at.sessions, id)
	}
}

// keepCallers forgets connections that have left, and stops serving accounts without any.
func (j *Journal) keepCallers() {
	tick := time.NewTicker(idleLimit / 2)
	defer tick.Stop()
	for {
		select {
		case <-j.stopped.Done():
			return
		case now := <-tick.C:
			j.callers.sweep(now)
		}
	}
}

func (a *callers) sweep(now time.Time) {
	s := a.j.server.Load()
	if s == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.accounts {
		for id := range at.sessions {
			if s.GetClient(id) == nil {
				delete(at.sessions, id)
			}
		}
		if len(at.sessions) == 0 && now.Sub(at.seen) > idleLimit {
			at.close()
		}
	}
}
