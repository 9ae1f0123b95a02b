package pool

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
)

// Aging: however many requests of the first class come, one of the last class runs before any that comes after it has waited for maxWait.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := rapid.IntRange(1, 5).Draw(t, "classes")
		o := order{maxWait: time.Duration(rapid.IntRange(1, 100).Draw(t, "max wait")) * time.Second}
		last := Request{Ticket: 1, Class: classes - 1, Since: entitytest.Epoch}
		rank := o.rank(last, last.Since)
		for after := time.Duration(0); after <= o.maxWait; after += o.maxWait / 16 {
			now := last.Since.Add(after)
			if r := o.rank(last, now); r > rank {
				t.Fatalf("falls from %d to %d with time", rank, r)
			} else {
				rank = r
			}
		}
		late := Request{Ticket: 2, Class: rapid.IntRange(0, classes-1).Draw(t, "class"), Since: last.Since.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "later")) * time.Second)}
		now := late.Since.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "after")) * time.Second)
		if now.Sub(last.Since) >= o.maxWait && !o.before(last, late, now) {
			t.Fatalf("%+v goes before %+v, which has waited for %s of at most %s", late, last, now.Sub(last.Since), o.maxWait)
		}
	})
}
