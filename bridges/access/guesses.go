package access

import (
	"container/list"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"modelops/messages"
)

const (
	// Each place may present so many wrong keys at once, and then one in so long. A word list takes years at that rate, and a person who mistypes notices
	// nothing.
	wrongBurst, wrongEvery = 10, 5 * time.Second
	// places bounds how many are remembered. Who has more addresses than that can have fresh ones anyway.
	places = 4096
	// Each place is logged at most once in so long, and all of them together in bursts of so many.
	wrongLogEvery, wrongLogBurst, wrongLogRefill = time.Minute, 20, 3 * time.Second
	// familiars bounds the keys that are remembered for a place.
	familiars = 8
)

// bucket is a number of permits that fills again with time.
type bucket struct {
	left  float64
	since time.Time
}

// take takes a permit if there is one, and else says how long until there is.
func (b *bucket) take(now time.Time, burst float64, every time.Duration) (wait time.Duration) {
	if b.since.IsZero() {
		b.left = burst
	} else {
		b.left = min(burst, b.left+max(0, now.Sub(b.since).Seconds())/every.Seconds())
	}
	b.since = now
	if b.left < 1 {
		return time.Duration((1 - b.left) * float64(every))
	}
	b.left--
	return 0
}

// place is where wrong keys come from.
type place struct {
	at       netip.Prefix
	by       string
	permits  bucket
	familiar []Sum // short keys that were presented here when they could have been guessed no faster than permits allow
	logged   time.Time
	unlogged int
}

// where names a place: an address, and of IPv6 the network that one subscriber has. All of loopback is one. by is a caller whose address isn't known.
type where struct {
	at netip.Prefix
	by string
}

func whereOf(c messages.Credentials) where {
	a := c.Peer.Unmap().WithZone("")
	switch {
	case c.By != "":
		return where{by: c.By}
	case !a.IsValid():
		return where{}
	case a.IsLoopback():
		return where{at: netip.PrefixFrom(netip.IPv6Loopback(), 128)}
	case a.Is4():
		return where{at: netip.PrefixFrom(a, 32)}
	}
	return where{at: netip.PrefixFrom(a, 64).Masked()}
}

// guesses slows down who tries keys. It is asked about wrong keys and about those that are short enough to be guessed; every other known key passes it by, so
// that no program's wrong key, behind the same NAT say, keeps another one's good key out.
type guesses struct {
	log  *slog.Logger
	told func(door string, slowed bool)

	mu     sync.Mutex
	places map[where]*list.Element // of *place
	order  *list.List              // the latest first
	lines  bucket
}

func newGuesses(log *slog.Logger, told func(door string, slowed bool)) *guesses {
	return &guesses{log: log, told: told, places: map[where]*list.Element{}, order: list.New()}
}

// place finds or makes the place of credentials, and forgets the one that was quiet for longest.
func (g *guesses) place(c messages.Credentials) *place {
	w := whereOf(c)
	if e, ok := g.places[w]; ok {
		g.order.MoveToFront(e)
		return e.Value.(*place)
	}
	p := &place{at: w.at, by: w.by}
	g.places[w] = g.order.PushFront(p)
	if g.order.Len() > places {
		last := g.order.Remove(g.order.Back()).(*place)
		delete(g.places, where{last.at, last.by})
	}
	return p
}

// familiar tells whether a short key that is known may pass now. A place that tries wrong keys isn't told that one of them is right, unless the key was used
// there before: its owner isn't kept out.
func (g *guesses) familiar(c messages.Credentials, sum Sum, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.place(c)
	if slices.Contains(p.familiar, sum) {
		return nil
	}
	if wait := p.permits.take(now, wrongBurst, wrongEvery); wait > 0 {
		g.told(door(c), true)
		return slowed(wait)
	}
	p.permits.left++ // a good key costs nothing
	if len(p.familiar) >= familiars {
		p.familiar = p.familiar[1:]
	}
	p.familiar = append(p.familiar, sum)
	return nil
}

// wrong is the answer to a key that isn't known, or to a token that isn't good: why, as long as the place has permits left.
func (g *guesses) wrong(c messages.Credentials, sum Sum, now time.Time, why error) error {
	g.mu.Lock()
	p := g.place(c)
	wait := p.permits.take(now, wrongBurst, wrongEvery)
	p.unlogged++
	say, count := false, p.unlogged
	if now.Sub(p.logged) >= wrongLogEvery || p.logged.IsZero() {
		if say = g.lines.take(now, wrongLogBurst, wrongLogRefill) == 0; say {
			p.logged, p.unlogged = now, 0
		}
	}
	g.mu.Unlock()
	g.told(door(c), wait > 0)
	if say {
		g.log.Warn("a wrong key was presented", "door", door(c), "address", c.Peer.String(), "caller", c.By, "fingerprint", hex.EncodeToString(sum[:2]),
			"since the last line", count, "refused unseen", wait > 0)
	}
	if wait > 0 {
		return slowed(wait)
	}
	return why
}

func door(c messages.Credentials) string {
	if c.Door == "" {
		return "http"
	}
	return c.Door
}

func slowed(wait time.Duration) error {
	return messages.NewError(messages.BulkheadRejection, "API key", "too many wrong keys came from this address, so this one isn't looked at").WithRetry(wait).
		WithHint("wait, and send a key that this host knows; modelops keys add makes one that is never kept waiting")
}
