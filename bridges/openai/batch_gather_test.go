package openai

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// memberOf is a member with a number of inputs, named by its id.
func memberOf(id string, inputs int) *member {
	x := &exchange{id: id, ctx: context.WithValue(context.Background(), struct{}{}, id), q: &question{body: make([]byte, 10*inputs)}, r: httptest.NewRequest("POST", "/", nil)}
	return &member{x: x, items: make([][]byte, inputs), key: "k", window: time.Second, most: 4, turn: make(chan turn, 1)}
}

// named lists what is sent: members of one upstream request joined by +.
func named(lists ...[]*member) string {
	var out []string
	for _, list := range lists {
		var ids []string
		for _, m := range list {
			ids = append(ids, m.x.id)
		}
		if len(ids) > 0 {
			out = append(out, strings.Join(ids, "+"))
		}
	}
	return strings.Join(out, " ")
}

// Each step is "id inputs" for an arrival, or another step; after it, what is sent. At most four inputs are sent together.
func TestWhenMembersAreSent(t *testing.T) {
	type step struct{ do, goes string }
	for name, steps := range map[string][]step{
		"a lone one goes at once, again and again": {{"a 1", "a"}, {"landed", ""}, {"b 1", "b"}, {"landed", ""}},
		"later ones wait for the window":           {{"a 1", "a"}, {"b 1", ""}, {"c 2", ""}, {"over", "b+c"}},
		"a full batch doesn't wait":                {{"a 1", "a"}, {"b 1", ""}, {"c 3", "b+c"}, {"over", ""}},
		"what doesn't fit begins the next":         {{"a 1", "a"}, {"b 3", ""}, {"c 2", "b"}, {"d 2", "c+d"}},
		"a member as large as a batch is alone":    {{"a 1", "a"}, {"b 1", ""}, {"c 9", "c"}, {"over", "b"}},
		"a batch's worth goes alone too":           {{"a 1", "a"}, {"b 4", "b"}, {"over", ""}},
		"no member waits for nothing":              {{"a 1", "a"}, {"b 1", ""}, {"c 1", ""}, {"landed", "b+c"}},
		"two flights, then one":                    {{"a 1", "a"}, {"b 4", "b"}, {"c 1", ""}, {"landed", ""}, {"landed", "c"}},
		"an old window ends nothing new":           {{"a 1", "a"}, {"b 1", ""}, {"c 3", "b+c"}, {"d 1", ""}, {"over before", ""}, {"over", "d"}},
		"a member that left isn't sent":            {{"a 1", "a"}, {"b 1", ""}, {"c 1", ""}, {"leave b", ""}, {"over", "c"}},
		"a member that left gives room":            {{"a 1", "a"}, {"b 3", ""}, {"leave b", ""}, {"c 3", ""}, {"d 1", "c+d"}},
		"all left":                                 {{"a 1", "a"}, {"b 3", ""}, {"leave b", ""}, {"landed", ""}, {"c 1", "c"}},
	} {
		var g gathering
		here := map[string]*member{}
		for i, s := range steps {
			var got string
			var id string
			var inputs int
			switch {
			case s.do == "over":
				got = named(g.over(g.round))
			case s.do == "over before":
				got = named(g.over(g.round - 1))
			case s.do == "landed":
				got = named(g.landed())
			case strings.HasPrefix(s.do, "leave "):
				g.leave(here[s.do[len("leave "):]])
			default:
				if _, err := fmt.Sscanf(s.do, "%s %d", &id, &inputs); err != nil {
					t.Fatal(err)
				}
				here[id] = memberOf(id, inputs)
				got = named(g.arrive(here[id], 4)...)
			}
			if got != s.goes {
				t.Errorf("%s: step %d, %s: %q goes, want %q", name, i, s.do, got, s.goes)
			}
		}
	}
}

func TestABatchIsBoundedInBytes(t *testing.T) {
	var g gathering
	g.arrive(memberOf("a", 1), 1000)
	large := func(id string) *member {
		m := memberOf(id, 1)
		m.x.q.body = make([]byte, batchBytes/2+1)
		return m
	}
	if got := named(g.arrive(large("b"), 1000)...) + named(g.arrive(large("c"), 1000)...); got != "b" {
		t.Errorf("%q goes", got)
	}
}

// sky keeps the batches that fly until they are told to land.
type sky struct {
	flying chan *batch
	land   chan turn
}

func newSky() (*sky, *batches) {
	s := &sky{flying: make(chan *batch, 10), land: make(chan turn)}
	return s, newBatches(func(b *batch) []turn {
		s.flying <- b
		select {
		case t := <-s.land:
			return b.everyone(t)
		case <-b.ctx.Done():
			return b.everyone(turn{alone: true})
		}
	})
}

func TestTheWindowInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bs := newSky()
		began := time.Now()
		a, b, c := memberOf("a", 1), memberOf("b", 1), memberOf("c", 1)
		bs.enter(a)
		if got := <-a.turn; !got.alone || time.Since(began) != 0 {
			t.Errorf("a lone one hears %+v after %s", got, time.Since(began))
		}
		bs.enter(b)
		time.Sleep(300 * time.Millisecond)
		bs.enter(c)
		flying := <-s.flying
		if named(flying.members) != "b+c" || time.Since(began) != time.Second {
			t.Errorf("%s fly after %s", named(flying.members), time.Since(began))
		}
		if flying.ctx.Value(struct{}{}) != "b" {
			t.Error("the batch doesn't carry what its leader's context does")
		}
		s.land <- turn{status: 200}
		if (<-b.turn).status != 200 || (<-c.turn).status != 200 {
			t.Error("the answer didn't reach both")
		}
		bs.leave(b, false)
		bs.leave(c, false)
		d := memberOf("d", 1)
		bs.enter(d) // a is still under way
		bs.leave(a, true)
		if got := <-d.turn; !got.alone || time.Since(began) != time.Second {
			t.Errorf("the end of the last flight ends the waiting, but %+v after %s", got, time.Since(began))
		}
		bs.leave(d, true)
		if len(bs.byKey) != 0 {
			t.Errorf("what is over is remembered: %v", bs.byKey)
		}
	})
}

func TestOnlyTheLastToLeaveEndsABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bs := newSky()
		a, b, c := memberOf("a", 1), memberOf("b", 1), memberOf("c", 1)
		for _, m := range []*member{a, b, c} {
			bs.enter(m)
		}
		<-a.turn
		flying := <-s.flying
		bs.leave(b, false) // the leader
		synctest.Wait()
		if flying.ctx.Err() != nil {
			t.Fatal("the leader's leaving ended the batch for the others")
		}
		bs.leave(c, false)
		synctest.Wait()
		if flying.ctx.Err() == nil {
			t.Fatal("a batch without callers goes on")
		}
		bs.leave(a, true)
		synctest.Wait()
		if len(b.turn)+len(c.turn) != 0 || len(bs.byKey) != 0 {
			t.Errorf("%d answers for members that left, %d keys left", len(b.turn)+len(c.turn), len(bs.byKey))
		}
	})
}

// Members that are sent alone after their batch was refused count as under way, and those that leave in that instant land too.
func TestAfterARefusedBatchNothingStaysBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, bs := newSky()
		a, b, c := memberOf("a", 1), memberOf("b", 1), memberOf("c", 1)
		for _, m := range []*member{a, b, c} {
			bs.enter(m)
		}
		<-a.turn
		<-s.flying
		bs.leave(a, true)
		s.land <- turn{alone: true}
		synctest.Wait()
		if got := <-b.turn; !got.alone || bs.byKey["k"].flights != 2 {
			t.Errorf("%+v, %d under way", got, bs.byKey["k"].flights)
		}
		bs.leave(c, false) // it left before it heard
		bs.leave(b, true)
		if len(bs.byKey) != 0 {
			t.Errorf("%d still under way", bs.byKey["k"].flights)
		}
	})
}
