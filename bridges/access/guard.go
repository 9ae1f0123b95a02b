package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"modelops/messages"
)

// Sum is the SHA-256 of a key.
type Sum = [sha256.Size]byte

// SumOf reads a hash in hex, and is false for any other text.
func SumOf(text string) (s Sum, ok bool) {
	b, err := hex.DecodeString(text)
	return s, err == nil && copy(s[:], b) == len(s) && len(b) == len(s)
}

// Rules are what the configuration says of callers. They are replaced as a whole.
type Rules struct {
	Anonymous  messages.Role // of a request without a key from this machine; ROLE_UNKNOWN = it is refused
	Everywhere bool          // Anonymous holds for requests from other machines too
	Class      string        // of callers without one
	Classes    []string      // all of them
	Keys       map[Sum]messages.Principal
	Guessable  map[Sum]bool // those of Keys that are short
	Tokens     Tokens
	Proxy      Proxy
}

// Options of a Guard. Those without another word are required.
type Options struct {
	// Operator tells whether a key is the local credential, and whose it is.
	Operator func(key string) (messages.Principal, bool)
	// OperatorName is taken.
	OperatorName string
	Store        *Store
	Now          func() time.Time
	// Wrong is told of each wrong key by the door where it was presented, and whether it was refused unseen; nil = nobody is.
	Wrong func(door string, slowed bool)
	Log   *slog.Logger // nil = none
}

// Guard finds the principals of requests. Its Authenticate is what the doors call.
type Guard struct {
	o      Options
	rules  atomic.Pointer[Rules]
	spoken atomic.Pointer[[]string]
	issuer atomic.Pointer[issuer]
	tried  *guesses
}

// New makes a guard that knows the operator and the keys of the store only, until Follow.
func New(o Options) *Guard {
	if o.Wrong == nil {
		o.Wrong = func(string, bool) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Guard{o: o, tried: newGuesses(o.Log, o.Wrong)}
	g.Follow(Rules{})
	return g
}

// Follow puts other rules in force, and returns the fingerprints of keys that are gone or may do something else now: their open connections must
// end. Requests that are already in keep what they were given.
func (g *Guard) Follow(r Rules) (ended []string) {
	if old := g.rules.Load(); old != nil {
		for sum, p := range old.Keys {
			if next, ok := r.Keys[sum]; !ok || !reflect.DeepEqual(next, p) {
				ended = append(ended, p.Fingerprint)
			}
		}
	}
	if old := g.issuer.Load(); old == nil || !old.accepts(r.Tokens) {
		g.issuer.Store(newIssuer(r.Tokens))
	}
	spoken := r.Proxy.headers()
	g.spoken.Store(&spoken)
	g.rules.Store(&r)
	return ended
}

// Authenticate implements messages.Authenticate.
func (g *Guard) Authenticate(ctx context.Context, c messages.Credentials) (messages.Principal, error) {
	rules := g.rules.Load()
	if c.Key == "" {
		if behind := rules.Proxy.covers(c.Peer); behind {
			return rules.Proxy.principal(c, rules.Class)
		}
		return rules.anonymous(c.Peer, "this host requires a key")
	}
	if p, ok := g.o.Operator(c.Key); ok {
		return p, nil
	}
	sum := Sum(sha256.Sum256([]byte(c.Key)))
	if p, ok := rules.Keys[sum]; ok {
		if rules.Guessable[sum] {
			if err := g.tried.familiar(c, sum, g.o.Now()); err != nil {
				return messages.Principal{}, err
			}
		}
		return p, g.lives(p.Until)
	}
	if p, known, err := g.o.Store.find(sum); known {
		if p.Class == "" {
			p.Class = rules.Class
		}
		return p, err
	}
	if i := g.issuer.Load(); i != nil && isToken(c.Key) {
		p, err := i.principal(ctx, c.Key, rules.Class, g.o.Now())
		if messages.CodeOf(err) == messages.Unauthenticated {
			err = g.tried.wrong(c, sum, g.o.Now(), err)
		}
		return p, err
	}
	if rules.asksNobody() && g.o.Store.empty() && !rules.Proxy.covers(c.Peer) { // clients of OpenAI's API always send some key
		return rules.anonymous(c.Peer, "the key is not one that this host knows")
	}
	return messages.Principal{}, g.tried.wrong(c, sum, g.o.Now(), refused("the key is not one that this host knows"))
}

// KnowsAnyone tells whether any request from another machine could be let in.
func (g *Guard) KnowsAnyone() bool {
	rules := g.rules.Load()
	return !rules.asksNobody() || !g.o.Store.empty() || rules.Everywhere
}

// ProxyHeaders are the headers in which a proxy names callers, in their canonical form. They are meant for this host alone.
func (g *Guard) ProxyHeaders() []string { return *g.spoken.Load() }

// lives refuses a key whose time is over.
func (g *Guard) lives(until time.Time) error {
	if until.IsZero() || g.o.Now().Before(until) {
		return nil
	}
	return refused("the key has expired").WithHint("ask the operator for a new one")
}

// asksNobody tells whether the configuration names no caller in any way.
func (r *Rules) asksNobody() bool {
	return len(r.Keys) == 0 && r.Tokens.Issuer == "" && len(r.Proxy.From) == 0
}

// anonymous is the principal of a request whose sender isn't known.
func (r *Rules) anonymous(peer netip.Addr, otherwise string) (messages.Principal, error) {
	local := peer.IsValid() && peer.IsLoopback()
	if r.Anonymous == messages.Role_ROLE_UNKNOWN || !local && !r.Everywhere {
		return messages.Principal{}, refused(otherwise)
	}
	return messages.Principal{Class: r.Class, Role: r.Anonymous}, nil
}

func refused(why string) *messages.Error {
	return messages.NewError(messages.Unauthenticated, "API key", why).
		WithHint("send Authorization: Bearer KEY, or x-api-key: KEY; modelops keys add makes one, and data_dir/operator.key is the operator's")
}
