package forward

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"modelops/messages"
)

const (
	// perHost connections share the work of one host: one is written and read by one goroutine each. More of them put fewer frames into one write.
	perHost = 2
	// window is how much of one body is under way at most, each way.
	window = 1 << 20
	// piece is how much of a body travels in one frame at most.
	piece = 64 << 10
	// frameLimit leaves room for the headers.
	frameLimit = 4 << 20
	buffer     = 32 << 10

	// A connection on which nothing was heard is asked for a word, and is over when none comes.
	alive, aliveTimeout = 10 * time.Second, 3 * time.Second
)

// Dial opens a connection to a host on which frames are spoken.
type Dial func(ctx context.Context, host string) (net.Conn, error)

// Client passes requests on to workers of other hosts. It is an http.RoundTripper for addresses that messages.PeerURL made.
type Client struct {
	dial Dial

	mu    sync.Mutex
	hosts map[string]*host // for good: members are few
	over  bool
}

// host is another host with its connections.
type host struct {
	name  string
	lines [perHost]*line
	next  atomic.Uint32

	mu    sync.Mutex
	away  bool
	early map[*passage]bool // passages without an answer
}

// NewClient makes a Client. It opens nothing until it is asked.
func NewClient(dial Dial) *Client { return &Client{dial: dial, hosts: map[string]*host{}} }

// Close ends what is under way, and all connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, h := range c.hosts {
		for _, l := range h.lines {
			l.close()
		}
	}
}

// Reach takes whether a host is reached. When it isn't any more, requests without an answer end, so that they can go elsewhere; answers go on
// as long as their connection does.
func (c *Client) Reach(name string, up bool) {
	c.mu.Lock()
	h := c.hosts[name]
	c.mu.Unlock()
	if h == nil {
		return
	}
	if up {
		for _, l := range h.lines {
			l.hurry()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away = !up; up {
		return
	}
	for p := range h.early {
		p.end(unreachable(name, nil))
	}
}

func unreachable(host string, err error) *messages.Error {
	why := messages.NewError(messages.Unavailable, "host "+host, "host "+host+" can't be reached").WithRetry(time.Second)
	if err != nil {
		why = why.WithCause(err)
	}
	return why
}

// at finds or makes what is known of a host.
func (c *Client) at(name string) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[name]; h != nil {
		return h, nil
	}
	if c.over {
		return nil, net.ErrClosed
	}
	h := &host{name: name, early: map[*passage]bool{}}
	for i := range h.lines {
		h.lines[i] = newLine(func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, name) })
	}
	c.hosts[name] = h
	return h, nil
}

// RoundTrip passes a request on and waits for the head of its answer. An error without one is messages.Unanswered, but for the end of the request's
// context.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	h, err := c.at(r.URL.Host)
	if err != nil {
		closeBody(r)
		return nil, messages.NotRun(unreachable(r.URL.Host, err), false)
	}
	p := &passage{host: h, request: r}
	p.ctx, p.end = context.WithCancelCause(r.Context())
	resp, err := p.run()
	if err == nil {
		return resp, nil
	}
	p.over(nil)
	if r.Context().Err() != nil {
		return nil, context.Cause(r.Context())
	}
	return nil, p.why(err)
}

// why is the error of a passage without an answer. A host that is lost ended no worker: the request may go elsewhere.
func (p *passage) why(err error) error {
	if known := (*messages.Unanswered)(nil); errors.As(err, &known) {
		return known
	}
	if cause := context.Cause(p.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	typed := (*messages.Error)(nil)
	if !errors.As(err, &typed) {
		typed = unreachable(p.host.name, err)
	}
	return messages.NotRun(typed, false)
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// stream begins a stream on the next of the host's connections.
func (h *host) stream(ctx context.Context) (*stream, error) {
	return h.lines[h.next.Add(1)%perHost].stream(ctx)
}

// enter notes a passage without an answer; false when the host is away.
func (h *host) enter(p *passage) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return false
	}
	h.early[p] = true
	return true
}

func (h *host) leave(p *passage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.early, p)
}
