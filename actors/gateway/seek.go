package gateway

import (
	"context"
	"math"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// pursue does what the pool wants done so that an endpoint becomes ready. It is called after each step that may change that. l is locked.
func (g *Gateway) pursue(l *lockedPool) {
	now := time.Now()
	for _, i := range l.pool.Intents(now) {
		ctx := messages.WithMeta(context.Background(), l.cause())
		switch i := i.(type) {
		case pool.Wake:
			go g.wake(ctx, l, i)
		case pool.Seek:
			ctx, l.endSeek = context.WithCancel(ctx)
			go g.seek(ctx, l, i)
		}
	}
	if pause, ok := l.pool.SeekAfter(now); ok && !l.pausing {
		l.pausing = true
		time.AfterFunc(pause, func() { g.seekAgain(l) })
	}
}

// wakeWithin bounds the wait for the answer to a Wake. It is repeated as long as requests wait.
const wakeWithin = 5 * time.Second

// wake asks an actor to wake its worker's engine. A refusal reaches the requests that wait.
func (g *Gateway) wake(ctx context.Context, l *lockedPool, w pool.Wake) {
	ctx, cancel := context.WithTimeoutCause(ctx, wakeWithin,
		messages.Errorf(messages.Unavailable, w.Actor.String(), "its actor gave no answer within %s", wakeWithin).WithRetry(time.Second))
	defer cancel()
	_, err := g.o.Door.Ask(ctx, w.Actor, &messages.EnsureModel{Reason: pool.Reason(w.ByHand), OnDemand: true})
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse(l.pool.WakeRefused(err, time.Now()))
}

// seek asks for a placement. ctx ends when the pool is no longer interested.
func (g *Gateway) seek(ctx context.Context, l *lockedPool, s pool.Seek) {
	answer, err := g.o.Placer.Place(ctx, s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		answer, err = pool.Unanswered, nil
	}
	l.endSeek()
	l.endSeek = nil
	refused, why := l.pool.Answered(answer, err, time.Now())
	l.refuse(refused, why)
	g.pursue(l)
}

func (g *Gateway) seekAgain(l *lockedPool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pausing = false
	g.pursue(l)
}

// cause is the request or want for which the pool seeks: the oldest. The decisions that follow are recorded as its consequences. l is locked.
func (l *lockedPool) cause() messages.Meta {
	var meta messages.Meta
	oldest := uint64(math.MaxUint64) // tickets are given in order of arrival
	for _, waiters := range []map[uint64]*waiter{l.waiters, l.wants} {
		for ticket, w := range waiters {
			if ticket < oldest {
				oldest, meta = ticket, w.meta
			}
		}
	}
	return meta
}

// lose ends the Seek that runs when the last request and want have gone. l is locked.
func (l *lockedPool) lose() {
	if l.endSeek != nil && !l.pool.Interested() {
		l.endSeek()
	}
}

// EndLoads ends the loads by hand that wait for a model, because somebody unloads it. Requests that wait still want the model.
func (g *Gateway) EndLoads(model string) {
	t, ok := g.routes.Load().byName[model]
	if !ok {
		return
	}
	l := t.to
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse(l.pool.EndWants(time.Now()), unloaded(l.id))
}

func unloaded(id messages.ActorID) error {
	return messages.NewError(messages.Unavailable, id.String(), "it was unloaded meanwhile")
}

// Ensure waits until an endpoint of the model is ready, without taking a place there: a load by hand. It returns the error with which waiting
// requests are refused when the model can't be loaded, or can't be placed for a queue timeout. The interest ends with ctx; until is when the caller stops
// waiting, zero when it doesn't say.
func (g *Gateway) Ensure(ctx context.Context, model string, until time.Time) error {
	t, err := g.lookup(ctx, model)
	if err != nil {
		return err
	}
	l, ticket := t.to, g.next.Add(1)
	w := &waiter{since: time.Now(), caller: messages.CallerFrom(ctx), meta: messages.MetaFrom(ctx), granted: make(chan admitted, 1)}
	l.mu.Lock()
	if l.pool.Ready() {
		l.mu.Unlock()
		return nil
	}
	if err := l.pool.RefusesLoad(w.since); err != nil {
		l.mu.Unlock()
		return err
	}
	if err := g.loadsNowhere(l); err != nil {
		l.mu.Unlock()
		return err
	}
	l.pool.Want(pool.Request{Ticket: ticket, Since: w.since, Patience: l.patienceOf(w.since, w.since, until)})
	l.wants[ticket] = w
	g.pursue(l)
	l.mu.Unlock()
	return g.awaitWant(ctx, l, ticket, w)
}

// awaitWant waits for the end of a load by hand. Its wait for a placement is bounded as that of a request; what follows has limits of its own.
func (g *Gateway) awaitWant(ctx context.Context, l *lockedPool, ticket uint64, w *waiter) error {
	patience := l.patience()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var why error
	for why == nil {
		select {
		case a := <-w.granted:
			return a.err
		case <-ctx.Done():
			why = messages.AsError(context.Cause(ctx))
		case <-timeout.C:
			if l.loads() {
				timeout.Reset(patience)
				continue
			}
			why = w.told(g.overdue(l, messages.Only{}, patience))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.pool.Unwant(ticket, time.Now()) { // it ended in this moment
		return (<-w.granted).err
	}
	delete(l.wants, ticket)
	l.lose()
	return why
}

func (l *lockedPool) loads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool.Loads()
}
