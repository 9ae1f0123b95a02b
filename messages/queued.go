package messages

import (
	"strconv"
	"time"
)

// Headers that say how a request waited for its place: in the answer to its caller, and in the head of an answer of another host's worker.
const (
	QueueMsHeader         = "X-Modelops-Queue-Ms"
	QueuePositionHeader   = "X-Modelops-Queue-Position"
	QueueExpectedMsHeader = "X-Modelops-Queue-Expected-Ms"
)

// QueuedThere adds to the grant how its request waited at the host of a far worker, as the head of the answer says; true when it did wait there. A worker of this host
// has nothing to say of that.
func (g *Grant) QueuedThere(head map[string][]string) bool {
	position, waited := headNumber(head, QueuePositionHeader), time.Duration(headNumber(head, QueueMsHeader))*time.Millisecond
	if g.Host == "" || position <= 0 {
		return false
	}
	g.Queued += waited
	if g.Position == 0 {
		g.Position, g.Expected = int(position), time.Duration(headNumber(head, QueueExpectedMsHeader))*time.Millisecond
	}
	return true
}

func headNumber(head map[string][]string, name string) int64 {
	if v := head[name]; len(v) > 0 {
		n, _ := strconv.ParseInt(v[0], 10, 64)
		return n
	}
	return 0
}
