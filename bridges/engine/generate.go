package engine

import (
	"context"
	"math"
	"strings"
	"sync/atomic"
	"time"
)

// Why a generation ended, in llama-server's words.
const (
	stopEOS   = "eos"
	stopWord  = "word"
	stopLimit = "limit"
)

// job is one request for text.
type job struct {
	prompt   []int32
	limit    int // tokens to generate at most; -1: until the context is full
	sampling Sampling
	stops    []string
	probs    int // how many alternatives to report with each token; -1: no log-probabilities at all
	noCache  bool
	prefix   string // put before the output: the beginning of an answer that the request brought along
	special  bool   // show the names of control tokens
}

// chunk is a piece of output that is certain, with the tokens that came since the last one. The last one has no text when
// the text ended with a token that shows none, such as EOS.
type chunk struct {
	text   string
	tokens []int32
	probs  []tokenProb
	made   int // tokens generated so far
	slot   int
}

// outcome is a finished generation.
type outcome struct {
	text       string
	tokens     []int32
	probs      []tokenProb
	stop, word string
	full       bool // the context was full
	prompt     int  // prompt tokens
	cached     int  // of these, not evaluated again
	slot       int
	held       int // tokens in the slot's cache afterwards
	promptTime time.Duration
	tokenTime  time.Duration
}

// counters are the totals behind /metrics.
type counters struct {
	promptTokens, tokens atomic.Int64
	promptNanos, nanos   atomic.Int64
	decodes, busySlots   atomic.Int64
	longest              atomic.Int64
}

// runner executes jobs: it joins a model, its slots and the right to compute.
type runner struct {
	model    *Model
	pool     *pool
	compute  chan struct{} // as many entries as slots may compute at the same instant
	counters counters

	tokenDelay time.Duration // test knob: pause before each token
	hangAfter  int           // test knob: after so many tokens wait for the end of the request; 0: never
}

func newRunner(m *Model, o Options) *runner {
	seqs := make([]*sequence, o.Slots)
	for i := range seqs {
		seqs[i] = newSequence(m)
	}
	return &runner{model: m, pool: newPool(seqs, o.MaxQueue), compute: make(chan struct{}, o.Threads),
		tokenDelay: o.TokenDelay, hangAfter: o.HangAfter}
}

// run generates text. emit, when not nil, gets every certain piece at once; its error, like the end of ctx, ends the
// generation before the next token, and the slot is free again.
func (r *runner) run(ctx context.Context, j job, emit func(chunk) error) (outcome, error) {
	s, err := r.pool.acquire(ctx, j.prompt)
	if err != nil {
		return outcome{}, err
	}
	defer r.pool.release(s)
	out := outcome{prompt: len(j.prompt), slot: s.id}
	start := time.Now()
	if out.cached, err = r.prefill(ctx, s.seq, j); err != nil {
		return out, err
	}
	out.promptTime = time.Since(start)
	r.counters.promptTokens.Add(int64(out.prompt - out.cached))
	r.counters.promptNanos.Add(int64(out.promptTime))

	start = time.Now()
	err = r.decode(ctx, s.seq, j, &out, emit)
	out.tokenTime = time.Since(start)
	out.held = len(s.seq.tokens)
	r.counters.tokens.Add(int64(len(out.tokens)))
	r.counters.nanos.Add(int64(out.tokenTime))
	storeMax(&r.counters.longest, int64(out.held))
	return out, err
}

func storeMax(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// prefill brings the prompt into the cache and predicts what follows it. At least its last token is evaluated.
func (r *runner) prefill(ctx context.Context, s *sequence, j job) (cached int, err error) {
	if !j.noCache {
		cached = min(s.keep(j.prompt), len(j.prompt)-1)
	}
	s.tokens = s.tokens[:cached]
	for at := cached; at < len(j.prompt); {
		n := min(batch, len(j.prompt)-at)
		err := r.computing(ctx, func() {
			r.model.eval(s, j.prompt[at:at+n])
			if at+n == len(j.prompt) {
				r.model.predict(s, n-1)
			}
		})
		if err != nil {
			return cached, err
		}
		at += n
	}
	return cached, nil
}

// computing runs f while holding one of the threads.
func (r *runner) computing(ctx context.Context, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case r.compute <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.compute }()
	_, busy, _ := r.pool.view()
	r.counters.decodes.Add(1)
	r.counters.busySlots.Add(int64(busy))
	f()
	return nil
}

// outlet collects the certain text of one generation and passes it on.
type outlet struct {
	out  *outcome
	emit func(chunk) error
	text strings.Builder
	sent int // tokens that an earlier chunk carried
}

// send passes on text, with the tokens since the last time; at the end also tokens that show no text.
func (o *outlet) send(show string, last bool) error {
	o.text.WriteString(show)
	if o.emit == nil || show == "" && !(last && o.sent < len(o.out.tokens)) {
		return nil
	}
	c := chunk{text: show, tokens: o.out.tokens[o.sent:], made: len(o.out.tokens), slot: o.out.slot}
	if len(o.out.probs) > 0 {
		c.probs = o.out.probs[o.sent:]
	}
	o.sent = len(o.out.tokens)
	return o.emit(c)
}

// decode generates from the prediction that prefill left, until something ends it.
func (r *runner) decode(ctx context.Context, s *sequence, j job, out *outcome, emit func(chunk) error) error {
	pick := newSampler(j.sampling, j.prompt, r.model.Tokens.ends)
	gate := &textGate{stops: j.stops}
	to := &outlet{out: out, emit: emit}
	defer func() { out.text = to.text.String() }()
	if err := to.send(j.prefix, false); err != nil {
		return err
	}
	for {
		if j.limit >= 0 && len(out.tokens) >= j.limit {
			out.stop = stopLimit
			break
		}
		if err := r.pause(ctx, len(out.tokens)); err != nil {
			return err
		}
		show := r.step(pick, s, gate, j, out)
		if err := to.send(show, false); err != nil {
			return err
		}
		if out.stop != "" {
			break
		}
		if len(out.tokens) == j.limit {
			continue // the next token is not needed, so neither is its prediction
		}
		if len(s.tokens) >= r.model.Context {
			out.stop, out.full = stopLimit, true
			break
		}
		last := out.tokens[len(out.tokens)-1:]
		if err := r.computing(ctx, func() { r.model.eval(s, last); r.model.predict(s, 0) }); err != nil {
			return err
		}
	}
	if out.stop == stopWord {
		return nil // what is held back belongs to the stop string
	}
	return to.send(gate.flush(), true)
}

// step chooses one token from the prediction and returns the text that has become certain.
func (r *runner) step(pick *sampler, s *sequence, gate *textGate, j job, out *outcome) string {
	id := pick.next(s.logits)
	out.tokens = append(out.tokens, id)
	if j.probs >= 0 {
		out.probs = append(out.probs, logprobs(s.logits, id, j.probs))
	}
	show, word := gate.push(r.model.Tokens.Piece(id, j.special))
	switch {
	case word != "":
		out.stop, out.word = stopWord, word
	case r.model.Tokens.ends[id]:
		out.stop = stopEOS
	}
	return show
}

// pause obeys the test knobs, and the end of the request.
func (r *runner) pause(ctx context.Context, made int) error {
	if r.hangAfter > 0 && made >= r.hangAfter {
		<-ctx.Done()
		return ctx.Err()
	}
	if r.tokenDelay <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(r.tokenDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// embed returns the mean of the final hidden states of all tokens, scaled to length one. Every token is evaluated again:
// states are not cached, keys and values are.
func (r *runner) embed(ctx context.Context, tokens []int32) ([]float32, error) {
	s, err := r.pool.acquire(ctx, tokens)
	if err != nil {
		return nil, err
	}
	defer r.pool.release(s)
	start := time.Now()
	s.seq.tokens = s.seq.tokens[:0]
	sum := make([]float64, r.model.Width)
	for at := 0; at < len(tokens); at += batch {
		part := tokens[at:min(at+batch, len(tokens))]
		err := r.computing(ctx, func() { r.model.eval(s.seq, part) })
		if err != nil {
			return nil, err
		}
		for i := range len(part) * r.model.Width {
			sum[i%r.model.Width] += float64(s.seq.h[i])
		}
	}
	r.counters.promptTokens.Add(int64(len(tokens)))
	r.counters.promptNanos.Add(int64(time.Since(start)))
	var square float64
	for _, v := range sum {
		square += v * v
	}
	out := make([]float32, len(sum))
	for i, v := range sum {
		out[i] = float32(v / max(math.Sqrt(square), 1e-12))
	}
	return out, nil
}
