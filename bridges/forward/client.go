package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"modelops/messages"
)

const (
	// perHost connections share the work of one host: one is written and read by one goroutine each. More of them put fewer frames into one write.
	perHost = 2
	// window is how much of one body is under way at most, each way.
	window     = 1 << 20
	connWindow = 16 << 20
	// piece is how much of a body travels in one frame at most.
	piece = 64 << 10
	// frameLimit leaves room for the headers.
	frameLimit = 4 << 20
	buffer     = 64 << 10

	alive, aliveTimeout = 10 * time.Second, 3 * time.Second // grpc allows no less
)

// Dial opens a connection to a host on which gRPC is spoken.
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
	conns [perHost]*grpc.ClientConn
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
		for _, conn := range h.conns {
			_ = conn.Close()
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
		for _, conn := range h.conns {
			conn.ResetConnectBackoff()
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
	for i := range h.conns {
		conn, err := grpc.NewClient("passthrough:///"+name,
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.dial(ctx, name) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()), // what dial opens is secured
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(connWindow), grpc.WithReadBufferSize(buffer), grpc.WithWriteBufferSize(buffer),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(frameLimit), grpc.MaxCallSendMsgSize(frameLimit)),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: 2 * time.Second}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: alive, Timeout: aliveTimeout}),
			grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0))
		if err != nil {
			return nil, err
		}
		h.conns[i] = conn
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
	p.end(nil)
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

// conn is the next of the host's connections.
func (h *host) conn() *grpc.ClientConn { return h.conns[h.next.Add(1)%perHost] }

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

// eof tells the regular end of a stream.
func eof(err error) bool { return errors.Is(err, io.EOF) }
