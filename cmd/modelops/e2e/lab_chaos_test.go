//go:build e2e

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// longest is how long a partition may last: a minute in `make chaos`.
func longest(t *testing.T) time.Duration {
	t.Helper()
	if d, err := time.ParseDuration(os.Getenv("PARTITION_TIME")); err == nil {
		return d
	}
	return 4 * time.Second
}

// partition harms the network between two hosts in one of the ways in which networks fail, until it is ended.
func (l *lab) partition(chance *rand.Rand, a, b string) (what string, end func()) {
	if chance.IntN(2) == 0 {
		a, b = b, a
	}
	switch chance.IntN(5) {
	case 0:
		l.cut(a, b)
		what = "cut"
	case 1:
		l.cutOneWay(a, b)
		what = "cut one way"
	case 2:
		l.lossy(a, b, 0.1+0.6*chance.Float64())
		what = "lossy"
	case 3:
		return "flapping", l.flap(a, b, time.Duration(100+chance.IntN(2000))*time.Millisecond)
	default:
		l.slow(a, b, time.Duration(50+chance.IntN(1500))*time.Millisecond)
		what = "slow"
	}
	return what, l.heal
}

// TestChaosPartitions separates two hosts (PARTITIONS times) in random ways under requests, loads, evictions and leases. Both work meanwhile, they agree
// again afterwards, and no memory is granted twice, no replica has two workers, nothing is orphaned.
func TestChaosPartitions(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(l.crowd)
	seed := seeded(t)
	chance := rand.New(rand.NewPCG(seed, 1))
	shortest := min(5*time.Second, longest(t)/2)
	for i := range often("PARTITIONS", 3) {
		p := l.press(seed+uint64(i), hosts...)
		p.works("before", hosts...)
		what, end := l.partition(chance, hosts[0].name(), hosts[1].name())
		lasts := shortest + time.Duration(chance.Int64N(int64(longest(t)-shortest)+1))
		where := fmt.Sprintf("partition %d, %s for %s, CHAOS_SEED=%d", i+1, what, lasts.Round(time.Millisecond), seed)
		until := time.Now().Add(lasts)
		p.works(where, hosts...)
		due(until)
		p.works(where, hosts...)
		end()
		l.agree(hosts...)
		p.works(where+", healed", hosts...)
		p.stop(where)
		l.settle(where, hosts...)
		t.Logf("%s:\n%s", where, p)
	}
	l.ends(hosts...)
}

// TestChaosHostKills kills either of two hosts (HOST_KILLS times), its daemon or the whole machine, under the same pressure.
func TestChaosHostKills(t *testing.T) {
	if !laboratory(t) {
		return
	}
	l := newLab(t, "main_pc", "pc2")
	hosts := l.cluster(l.crowd)
	seed := seeded(t)
	chance := rand.New(rand.NewPCG(seed, 2))
	p := l.press(seed, hosts...)
	kills := often("HOST_KILLS", 4)
	for i := range kills {
		dies := hosts[chance.IntN(2)]
		lives := l.other(dies)
		where := fmt.Sprintf("kill %d, %s, CHAOS_SEED=%d", i+1, dies.name(), seed)
		p.works(where, hosts...)
		due(time.Now().Add(time.Duration(chance.IntN(300)) * time.Millisecond))
		if chance.IntN(2) == 0 {
			dies.kill()
		} else {
			dies.lose()
		}
		if chance.IntN(3) > 0 {
			p.works(where, lives)
		}
		dies.launch()
		l.agree(hosts...)
		if (i+1)%4 == 0 || i+1 == kills {
			p.stop(where)
			l.settle(where, hosts...)
			t.Logf("%s:\n%s", where, p)
			if i+1 < kills {
				p = l.press(seed+uint64(i), hosts...)
			}
		}
	}
	l.ends(hosts...)
}

// ends: all of it was under grants, loads and evictions, and no host panicked.
func (l *lab) ends(hosts ...*labHost) {
	l.t.Helper()
	l.t.Logf("by the journals: %s", &l.books)
	if len(l.books.promised) == 0 || len(l.books.granted) == 0 || len(l.books.nonces) == 0 || l.books.evicted == 0 {
		l.t.Errorf("there were %d leases of callers, and %s: the test shows little", len(l.books.promised), &l.books)
	}
	for _, h := range hosts {
		if strings.Contains(h.log.String(), "panic") {
			l.t.Errorf("%s panicked:\n%s", h.name(), h.log.tail(100))
		}
	}
}
