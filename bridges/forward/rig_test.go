package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelops/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hangLimit = 2 * time.Minute

// gate admits everything to one worker, and notes what it was asked.
type gate struct {
	messages.Gateway
	url    string
	refuse error

	mu       sync.Mutex
	caller   messages.Caller
	peer     string
	model    string
	until    time.Time
	outcomes chan messages.Outcome
	ended    context.Context // of the grants; nil = they last
	queued   time.Duration   // how long they waited, at place 2
}

func (g *gate) Admit(ctx context.Context, model string) (*messages.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.caller, g.peer, g.model = messages.CallerFrom(ctx), messages.PeerFrom(ctx), model
	g.until, _ = ctx.Deadline()
	if g.refuse != nil {
		return nil, g.refuse
	}
	ended := g.ended
	if ended == nil {
		ended = context.Background()
	}
	grant := &messages.Grant{Model: model, URL: g.url, Ended: ended, Began: time.Now(), Release: func(o messages.Outcome) { g.outcomes <- o }}
	if g.queued > 0 {
		grant.Queued, grant.Position, grant.Expected = g.queued, 2, 3*g.queued
	}
	return grant, nil
}

// rig is a host that asks, one that is asked, and its worker.
type rig struct {
	*testing.T
	gate   *gate
	client *Client
	server *Server

	mu    sync.Mutex
	conns []net.Conn // the other host's ends
	down  bool
}

func newRig(t *testing.T, worker http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{T: t}
	w := httptest.NewServer(worker)
	r.gate = &gate{url: w.URL, outcomes: make(chan messages.Outcome, 100)}
	transport := &http.Transport{DisableCompression: true}
	r.server = NewServer(Options{Host: "pc2", Gateway: r.gate, Workers: transport})
	r.server.Start()
	r.client = NewClient(r.dial)
	t.Cleanup(func() {
		r.client.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.server.Stop(ctx)
		transport.CloseIdleConnections()
		w.CloseClientConnections()
		w.Close()
	})
	return r
}

func (r *rig) dial(ctx context.Context, host string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, messages.NewError(messages.Unavailable, "host "+host, "it is down")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, err
	}
	r.conns = append(r.conns, far)
	r.server.Serve(far, "main_pc")
	return near, nil
}

// die closes the other host's ends of all connections, as the kernel does for a process that is killed.
func (r *rig) die() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for _, c := range r.conns {
		_ = c.Close()
	}
}

func (r *rig) request(ctx context.Context, body io.Reader) *http.Request {
	r.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, messages.PeerURL("pc2", "tiny~2")+"/v1/chat/completions?a=b", body)
	if err != nil {
		r.Fatal(err)
	}
	return req
}

func (r *rig) outcome() messages.Outcome {
	r.Helper()
	select {
	case o := <-r.gate.outcomes:
		return o
	case <-time.After(hangLimit):
		r.Fatal("the place didn't come back")
		return messages.Outcome{}
	}
}

// within fails the test when f takes too long.
func (r *rig) within(what string, done <-chan struct{}) {
	r.Helper()
	select {
	case <-done:
	case <-time.After(hangLimit):
		r.Fatal(what)
	}
}

func text(s string) io.Reader { return strings.NewReader(s) }
