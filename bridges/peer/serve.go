package peer

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	mostAsks  = 256 // of one host at once
	mostPolls = 32
	// mostWaiting messages and bytes of one host wait until they are looked at.
	mostWaiting, mostWaitingBytes = 8192, 32 << 20

	longestServe = 10 * time.Minute
	quiet        = 2500 * time.Millisecond // hellos come each second
)

// account is the serving side of a host: what it asks of us.
type account struct {
	p    *Peers
	host string
	nc   *nats.Conn
	life context.Context

	asks, polls chan struct{}

	mu    sync.Mutex
	boot  string    // of the host's start that said hello here; empty = none has
	heard time.Time // it last sent anything
}

// EnterPeer serves what a host asks over its account.
func (p *Peers) EnterPeer(host string, nc *nats.Conn) (leave func(), err error) {
	a := &account{p: p, host: host, nc: nc, asks: make(chan struct{}, mostAsks), polls: make(chan struct{}, mostPolls)}
	life, end := context.WithCancelCause(p.life)
	a.life = life
	sub, err := nc.Subscribe(subjects+"*", a.take)
	if err == nil {
		err = sub.SetPendingLimits(mostWaiting, mostWaitingBytes)
	}
	if err == nil {
		err = nc.FlushTimeout(askTime)
	}
	if err != nil {
		end(err)
		return nil, messages.Errorf(messages.Unavailable, "host "+host, "it can't be served: %w", err)
	}
	p.mu.Lock()
	p.accounts[host] = a
	p.mu.Unlock()
	return func() {
		_ = sub.Unsubscribe()
		end(messages.NewError(messages.Unavailable, "host "+p.o.Host, "it doesn't serve "+host+" any more"))
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.accounts[host] == a {
			delete(p.accounts, host)
		}
	}, nil
}

// heardFrom tells whether a host's link to us works: it says hello each second.
func (p *Peers) heardFrom(host string) bool {
	p.mu.Lock()
	a := p.accounts[host]
	p.mu.Unlock()
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boot != "" && time.Since(a.heard) < quiet
}

// take gets every message of the host, one after another. Only what never waits is done here.
func (a *account) take(m *nats.Msg) {
	what := strings.TrimPrefix(m.Subject, subjects)
	switch what {
	case "beat":
		a.takeBeat(m)
		return
	case "hello":
		a.answer(m, a.hello(m.Data))
		return
	}
	if !a.greeted() {
		a.answer(m, failed(messages.Errorf(messages.FailedPrecondition, "host "+a.host, "%s hasn't said hello", a.host)))
		return
	}
	room := a.asks
	if what == "report" || what == "page" {
		room = a.polls
	}
	select {
	case room <- struct{}{}:
	default:
		a.answer(m, failed(messages.Errorf(messages.BulkheadRejection, "host "+a.p.o.Host, "%d requests of %s are running", cap(room), a.host).WithRetry(100*time.Millisecond)))
		return
	}
	a.p.work.Go(func() {
		defer func() { <-room }()
		a.answer(m, a.serve(what, m.Data))
	})
}

func (a *account) takeBeat(m *nats.Msg) {
	h := new(messages.Heartbeat)
	if !a.greeted() || proto.Unmarshal(m.Data, h) != nil || h.Host != a.host {
		return
	}
	onlyHosts(h)
	a.p.o.Heard(h, a.host)
}

// mostChanges is how often a host can have joined and been removed. A count near the end of its type would be the last one: nobody could remove the host, or invite it.
const mostChanges = 1 << 32

// onlyHosts takes out of a heartbeat what can't be said of a host: it is written down, and goes on to all others.
func onlyHosts(h *messages.Heartbeat) {
	h.Heard = slices.DeleteFunc(h.Heard, func(x *messages.Heard) bool { return !messages.PlainName.MatchString(x.GetHost()) })
	maps.DeleteFunc(h.Membership, func(host string, changes uint64) bool {
		return !messages.PlainName.MatchString(host) || changes > mostChanges
	})
}

func (a *account) greeted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = time.Now()
	return a.boot != ""
}

// hello answers with who we are, or why the other host is refused. Of two starts under one name, the one that is linked first stays.
func (a *account) hello(body []byte) *messages.PeerAnswer {
	said := new(messages.PeerHello)
	if err := proto.Unmarshal(body, said); err != nil {
		return failed(messages.Errorf(messages.InvalidArgument, "hello", "it can't be read: %w", err))
	}
	err := a.p.agree(a.host, said)
	if err == nil && said.BootId == "" {
		err = messages.NewError(messages.InvalidArgument, "hello", "it names no start")
	}
	if l := a.p.linkTo(a.host); err == nil && l != nil && l.isAnother(said.BootId) {
		err = twoOfOneName(a.host)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		if a.boot == said.BootId {
			a.boot = ""
		}
		return failed(err)
	}
	a.boot, a.heard = said.BootId, time.Now()
	return answerOf(a.p.ownHello(), nil)
}

// isAnother tells whether our link leads to another start of the host than the one that says hello. A host that was started again is let in
// as soon as our link has found its new start.
func (l *link) isAnother(boot string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up != nil && l.boot != boot
}

// answer sends an answer to the host's own inbox, and nowhere else.
func (a *account) answer(m *nats.Msg, answer *messages.PeerAnswer) {
	if !strings.HasPrefix(m.Reply, inboxOf+a.host+".") {
		return
	}
	body, err := proto.Marshal(answer)
	if err == nil {
		err = a.nc.Publish(m.Reply, body)
	}
	if err == nil {
		return
	}
	a.p.o.Log.Warn("an answer to a host can't be sent", "host", a.host, "subject", m.Subject, "error", err)
	if body, err = proto.Marshal(failed(messages.Errorf(messages.PayloadTooLarge, m.Subject, "the answer can't be sent: %w", err))); err == nil {
		_ = a.nc.Publish(m.Reply, body)
	}
}

// serve runs one request. A panic in it ends the request only.
func (a *account) serve(what string, body []byte) (answer *messages.PeerAnswer) {
	defer func() {
		if e := recover(); e != nil {
			a.p.o.Log.Error("a host's request panicked", "host", a.host, "request", what, "panic", e, "stack", string(debug.Stack()))
			answer = failed(messages.NewError(messages.Internal, what, "the request panicked").WithHint("the stack is in the server's log"))
		}
	}()
	switch what {
	case "ask":
		return a.ask(body)
	case "call":
		return a.call(body)
	case "report":
		return polled(a, body, new(messages.ReportRequest), func(ctx context.Context, r *messages.ReportRequest) (proto.Message, error) {
			if a.p.o.Reporter == nil {
				return nil, unserved(a.p.o.Host, "reports")
			}
			m, err := a.p.o.Reporter.Report(ctx, r)
			return m, err
		})
	case "page":
		return polled(a, body, new(messages.PageRequest), func(ctx context.Context, r *messages.PageRequest) (proto.Message, error) {
			if a.p.o.Pager == nil {
				return nil, unserved(a.p.o.Host, "pages")
			}
			m, err := a.p.o.Pager.Page(ctx, r)
			return m, err
		})
	}
	return failed(messages.Errorf(messages.Unsupported, what, "%s doesn't know the request", a.p.o.Host).WithHint("the hosts run different versions of modelops"))
}

func (a *account) ask(body []byte) *messages.PeerAnswer {
	r := new(messages.PeerAsk)
	if err := proto.Unmarshal(body, r); err != nil {
		return failed(messages.Errorf(messages.InvalidArgument, "ask", "it can't be read: %w", err))
	}
	to, info, err := a.p.commandOf(r)
	if err != nil {
		return failed(err)
	}
	command := info.New()
	if err := proto.Unmarshal(r.Body, command); err != nil {
		return failed(messages.Errorf(messages.InvalidArgument, r.Command, "it can't be read: %w", err))
	}
	if a.p.o.Door == nil {
		return failed(unserved(a.p.o.Host, "commands"))
	}
	ctx, cancel := a.context(r.Meta)
	defer cancel()
	if r.Tell {
		a.p.o.Door.Tell(ctx, to, command)
		return answerOf(nil, nil)
	}
	reply, err := a.p.o.Door.Ask(ctx, to, command)
	if err != nil {
		return failed(err)
	}
	return answerReply(reply)
}

func (a *account) call(body []byte) *messages.PeerAnswer {
	r := new(messages.PeerCall)
	if err := proto.Unmarshal(body, r); err != nil {
		return failed(messages.Errorf(messages.InvalidArgument, "call", "it can't be read: %w", err))
	}
	o, ok := messages.OperationNamed(r.Operation)
	if !ok || o.Call == nil || a.p.o.Operations == nil {
		return failed(messages.Errorf(messages.Unsupported, r.Operation, "%s doesn't run it for other hosts", a.p.o.Host))
	}
	request := o.Request()
	if err := proto.Unmarshal(r.Request, request); err != nil {
		return failed(messages.Errorf(messages.InvalidArgument, r.Operation, "it can't be read: %w", err))
	}
	ctx, cancel := a.context(r.Meta)
	defer cancel()
	if err := messages.CallerFrom(ctx).Allows(o, messages.Model{}); err != nil {
		return failed(err)
	}
	m, err := o.Call(ctx, a.p.o.Operations, request)
	return answerOf(m, err)
}

// context is the life of a host's request: its deadline, whose request it follows, and the caller whom the host has admitted. A host that asks
// for itself may read.
func (a *account) context(m *messages.PeerMeta) (context.Context, context.CancelFunc) {
	left := askTime
	if ms := m.GetTimeoutMs(); ms > 0 {
		left = min(time.Duration(ms)*time.Millisecond, longestServe)
	}
	caller := messages.Principal{Name: "host " + a.host, Role: messages.Role_READ}
	if m.GetPrincipal() != nil {
		caller = m.Principal.Principal()
	}
	ctx, cancel := context.WithTimeout(messages.WithPeer(a.life, a.host), left)
	ctx = messages.WithCaller(ctx, messages.Caller{Principal: caller, RequestID: m.GetCorrelation()})
	return messages.WithMeta(ctx, messages.Meta{ID: m.GetId(), Correlation: m.GetCorrelation(), Causation: m.GetCausation(), Caller: m.GetCaller()}), cancel
}

// polled serves a request that may wait.
func polled[R interface {
	proto.Message
	GetWaitMs() uint32
}](a *account, body []byte, r R, serve func(context.Context, R) (proto.Message, error)) *messages.PeerAnswer {
	if err := proto.Unmarshal(body, r); err != nil {
		return failed(messages.Errorf(messages.InvalidArgument, nameOf(r), "it can't be read: %w", err))
	}
	wait := min(time.Duration(r.GetWaitMs())*time.Millisecond, longestServe)
	ctx, cancel := context.WithTimeout(messages.WithPeer(a.life, a.host), wait+askTime)
	defer cancel()
	m, err := serve(ctx, r)
	return answerOf(m, err)
}

func unserved(host, what string) *messages.Error {
	return messages.Errorf(messages.Unsupported, "host "+host, "%s gives no %s to other hosts", host, what)
}

func failed(err error) *messages.PeerAnswer {
	return &messages.PeerAnswer{Error: messages.AsError(err).Body()}
}

func answerOf(m proto.Message, err error) *messages.PeerAnswer {
	if err != nil {
		return failed(err)
	}
	return answerReply(messages.Reply{Answer: m})
}

func answerReply(r messages.Reply) *messages.PeerAnswer {
	a := &messages.PeerAnswer{Answer: nameOf(r.Answer), Sequence: r.Sequence}
	var err error
	if r.Answer != nil {
		if a.Body, err = proto.Marshal(r.Answer); err != nil {
			return failed(err)
		}
	}
	for _, e := range r.Events {
		body, err := proto.Marshal(e)
		if err != nil {
			return failed(err)
		}
		a.Events = append(a.Events, &messages.PeerEvent{Name: nameOf(e), Body: body})
	}
	return a
}
