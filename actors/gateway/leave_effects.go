package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// restartTime is when a request that a stop of the host refused may be sent again: a start takes about so long.
const restartTime = 2 * time.Second

// Leave refuses the requests that wait, and from now on each that would have to. Those that run go on.
func (g *Gateway) Leave() { g.left.Do(func() { close(g.leave) }) }

func (g *Gateway) leaving() bool {
	select {
	case <-g.leave:
		return true
	default:
		return false
	}
}

// stopped is what requests are told that the stop of the host ends.
func (g *Gateway) stopped() *messages.Error {
	return messages.NewError(messages.Unavailable, g.o.Host, "the host is stopping").WithHint("send the request again when it is back").WithRetry(restartTime)
}

// EndRunning ends the requests that still run, with an answer where none has begun.
func (g *Gateway) EndRunning() {
	for _, l := range g.all() {
		l.mu.Lock()
		ends := make([]context.CancelCauseFunc, 0, len(l.running))
		for _, h := range l.running {
			ends = append(ends, h.end)
		}
		l.mu.Unlock()
		for _, end := range ends {
			end(g.stopped())
		}
	}
}
