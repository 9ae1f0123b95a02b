package openai

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Batching says how requests to a model may share an upstream request.
type Batching struct {
	// Window is how long a request waits for others while another of its kind is under way; 0 = nothing is shared.
	Window time.Duration
	// MaxSize is the most inputs of one upstream request; less than 2 = nothing is shared.
	MaxSize int
	// Completions tells that the engine takes a list of prompts at /v1/completions and answers each.
	Completions bool
}

// member is a request that may share an upstream request with others of the same key.
type member struct {
	x      *exchange
	shape  *shape
	key    string
	window time.Duration
	most   int
	// items are its inputs as they lie in its body; weights are their lengths, for dividing what the engine counts only in sum.
	items   [][]byte
	weights []int
	// rest are the other parts of the body, sorted by name; all members of a batch have the same.
	rest []part
	// top is the number of results of a rerank that it asks for; 0 = all.
	top int
	// turn gets exactly one value, unless the member leaves before.
	turn  chan turn
	batch *batch // that it is sent with; the batches' lock guards it, and gone
	gone  bool
}

func (m *member) bytes() int { return len(m.x.q.body) }

// turn is a member's result: it is sent alone, it is refused, or it has its part of the answer.
type turn struct {
	alone  bool
	bad    *refusal
	status int
	header http.Header
	body   []byte
	// model is the name that the grant resolved; cause is for the log.
	model string
	cause error
}

// batch is an upstream request of several members. It has a context of its own, which ends when the last of them has left.
type batch struct {
	members []*member
	left    int // of them, those whose callers left; the batches' lock guards it
	ctx     context.Context
	cancel  context.CancelFunc
}

// batches are all requests that could share an upstream request, by key. A key is kept while one of its requests is under way.
type batches struct {
	fly   func(*batch) []turn // sends a batch to the engine and gives each member's turn
	mu    sync.Mutex
	byKey map[string]*group
}

// group is the state of one key.
type group struct {
	gathering
	timer *time.Timer
}

func newBatches(fly func(*batch) []turn) *batches {
	return &batches{fly: fly, byKey: map[string]*group{}}
}

// enter takes a member in. The answer comes on its turn; it must call leave once, whatever the answer is.
func (bs *batches) enter(m *member) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	g := bs.byKey[m.key]
	if g == nil {
		g = &group{}
		bs.byKey[m.key] = g
	}
	before := g.round
	for _, list := range g.arrive(m, m.most) {
		bs.send(g, list)
	}
	if g.round != before && len(g.waiting) > 0 {
		round := g.round
		g.timer = time.AfterFunc(m.window, func() { bs.over(g, round) })
	}
}

func (bs *batches) over(g *group, round uint64) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.send(g, g.gathering.over(round))
}

// send sends a list. A list of one is sent alone, byte for byte as it came. The lock is held.
func (bs *batches) send(g *group, list []*member) {
	switch len(list) {
	case 0:
	case 1:
		list[0].turn <- turn{alone: true}
	default:
		b := &batch{members: list}
		b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(list[0].x.ctx))
		for _, m := range list {
			m.batch = b
		}
		go bs.bring(g, b)
	}
}

func (bs *batches) bring(g *group, b *batch) {
	defer b.cancel()
	turns := bs.fly(b)
	bs.mu.Lock()
	defer bs.mu.Unlock()
	for i, m := range b.members {
		if m.gone {
			continue
		}
		if turns[i].alone {
			g.flights++
		}
		m.turn <- turns[i]
	}
	bs.landed(b.members[0].key, g)
}

// landed ends one upstream request; members that waited only for it are sent. The lock is held.
func (bs *batches) landed(key string, g *group) {
	bs.send(g, g.gathering.landed())
	if g.timer != nil && len(g.waiting) == 0 {
		g.timer.Stop()
		g.timer = nil
	}
	if g.flights == 0 {
		delete(bs.byKey, key)
	}
}

// leave ends a member's part: it was sent alone and has its answer (flew), it has its part of a batch's, or its caller
// left. A batch whose callers have all left is cancelled.
func (bs *batches) leave(m *member, flew bool) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	select {
	case last := <-m.turn: // the turn came in the same instant
		flew = flew || last.alone
	default:
	}
	g := bs.byKey[m.key]
	switch {
	case flew:
		bs.landed(m.key, g)
	case g != nil && g.leave(m):
		if len(g.waiting) == 0 {
			g.timer.Stop()
			g.timer = nil
		}
	case m.batch != nil && !m.gone:
		m.gone = true
		if m.batch.left++; m.batch.left == len(m.batch.members) {
			m.batch.cancel()
		}
	}
}

// together answers a request that may share an upstream request. Caller, deadline and id stay the request's own.
func (x *exchange) together(m *member) {
	all, flew := x.api.batches, false
	all.enter(m)
	defer func() { all.leave(m, flew) }()
	select {
	case t := <-m.turn:
		flew = t.alone
		x.take(m, t)
	case <-x.ctx.Done():
		x.refuse(refusalOf(x.ctx.Err()))
	}
}

func (x *exchange) take(m *member, t turn) {
	if t.model != "" {
		x.model = t.model
	}
	switch {
	case t.alone:
		x.forward()
		if m.batch == nil {
			x.observe.ObserveBatch(x.model, x.rt.path, 1)
		}
	case t.bad != nil:
		x.refuse(t.bad)
	default:
		x.answer(t)
	}
}

// answer writes a member's part of an answer, bounded as any other.
func (x *exchange) answer(t turn) {
	x.status, x.cause = t.status, t.cause
	x.observe.ObserveFirstByte(x.model, time.Since(x.began))
	h := x.w.Header()
	for name, values := range t.header {
		h[name] = values
	}
	h["Content-Length"] = []string{strconv.Itoa(len(t.body))}
	x.w.WriteHeader(t.status)
	to := &pieces{w: x.w, conn: http.NewResponseController(x.w), left: int64(len(t.body)), stall: x.api.stall}
	defer to.reset()
	if err := to.put(t.body); err != nil {
		x.status, x.abort = statusClientGone, true
	}
}
