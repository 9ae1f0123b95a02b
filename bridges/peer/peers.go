package peer

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Options are what the links stand on. Host, BootID, Listener, Trust and Accounts are required; a port that is nil refuses what is for it.
type Options struct {
	Host, BootID, Version string
	// Protocol and Oldest are those of messages, but for tests.
	Protocol, Oldest uint32
	Listener         net.Listener
	Trust            Trust
	Accounts         Accounts
	// Hub is a connection whose subjects reach hosts that can't be reached directly, and stays the caller's; nil = there is none.
	Hub *nats.Conn

	Door       messages.Door       // commands of peers for this host's actors, and for the arbiter
	Operations messages.Operations // calls of peers, for the callers that they have admitted
	Reporter   Reporter
	Pager      Pager
	// Heard is told of each heartbeat; it must not wait.
	Heard func(h *messages.Heartbeat, from string)
	// Moved is told that a host was reached at another address than Trust's; nil = nobody asks.
	Moved func(host, address string)

	Now func() time.Time // the wall clock; nil = time.Now
	Log *slog.Logger
}

// Accounts are the peers' accounts at the embedded NATS server.
type Accounts interface {
	AdmitPeer(host string) (secret string, err error)
	DropPeer(host string)
	InProcessConn() (net.Conn, error)
}

// Reporter says what this host knows of its own actors.
type Reporter interface {
	Report(ctx context.Context, r *messages.ReportRequest) (*messages.Report, error)
}

// Pager reads this host's journal, and the copies that it keeps.
type Pager interface {
	Page(ctx context.Context, r *messages.PageRequest) (*messages.PageReply, error)
}

// Peers are the other hosts of the cluster. It implements messages.Peers.
type Peers struct {
	o Options

	life context.Context
	end  context.CancelCauseFunc
	work sync.WaitGroup

	pending pending
	hub     *hub // nil = there is none

	mu       sync.Mutex
	links    map[string]*link
	accounts map[string]*account
	handlers map[string]Handler
	conns    map[greeting]map[*Conn]bool
	learned  map[string]string // addresses that members told, by host
}

var _ messages.Peers = (*Peers)(nil)

// New makes the other hosts known. Nothing is reached before Start.
func New(o Options) *Peers {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Protocol == 0 {
		o.Protocol, o.Oldest = messages.PeerProtocol, messages.OldestPeerProtocol
	}
	if o.Heard == nil {
		o.Heard = func(*messages.Heartbeat, string) {}
	}
	p := &Peers{o: o, links: map[string]*link{}, accounts: map[string]*account{}, handlers: map[string]Handler{}, conns: map[greeting]map[*Conn]bool{}, learned: map[string]string{}}
	p.life, p.end = context.WithCancelCause(context.Background())
	if o.Hub != nil {
		p.hub = &hub{nc: o.Hub, host: o.Host, accept: p.enter, conns: map[hubKey]*hubConn{}}
	}
	p.Handle(natsProtocol, Handler{Greet: o.Accounts.AdmitPeer, Serve: p.serveNATS})
	return p
}

// Start listens, and links this host to every member, until Close. The accounts must be served by Peers already.
func (p *Peers) Start() {
	p.work.Go(p.accept)
	p.work.Go(p.follow)
	if p.hub == nil {
		return
	}
	if err := p.hub.listen(); err != nil {
		p.o.Log.Error("this host can't be reached over the hub", "error", err)
	}
	p.work.Go(func() { p.hub.run(p.life) })
}

// Close ends the links and the listener. Requests under way end as Unavailable.
func (p *Peers) Close() {
	p.lastWords()
	p.end(messages.NewError(messages.Unavailable, "host "+p.o.Host, "this host is stopping").WithRetry(time.Second))
	_ = p.o.Listener.Close()
	p.pending.closeAll()
	p.closeConns("")
	for _, l := range p.allLinks() {
		l.close()
	}
	p.work.Wait()
}

// lastWords gives heartbeats that were not sent yet, such as the one that says that this host leaves, a moment.
func (p *Peers) lastWords() {
	var all sync.WaitGroup
	for _, l := range p.allLinks() {
		all.Go(l.flush)
	}
	all.Wait()
}

// follow keeps a link to each member, and nothing of one that was removed.
func (p *Peers) follow() {
	for {
		changed := p.o.Trust.Changed()
		p.reconcile()
		select {
		case <-p.life.Done():
			return
		case <-changed:
		}
	}
}

func (p *Peers) reconcile() {
	members := map[string]bool{}
	for _, m := range p.o.Trust.Members() {
		members[m.Host] = m.Host != p.o.Host
	}
	for host, other := range members {
		if other && p.linkTo(host) == nil {
			p.open(host)
		}
	}
	for _, host := range p.known() {
		if !members[host] {
			p.forget(host)
		}
	}
}

// known are the hosts of which there is a link, a connection or an account.
func (p *Peers) known() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	hosts := map[string]bool{}
	for host := range p.links {
		hosts[host] = true
	}
	for host := range p.accounts {
		hosts[host] = true
	}
	for key := range p.conns {
		if key.host != "" {
			hosts[key.host] = true
		}
	}
	return slices.Collect(maps.Keys(hosts))
}

func (p *Peers) open(host string) {
	l, err := p.newLink(host)
	if err != nil {
		p.o.Log.Error("a host can't be linked", "host", host, "error", err)
		return
	}
	p.mu.Lock()
	p.links[host] = l
	p.mu.Unlock()
	p.work.Go(l.run)
	p.work.Go(l.beating)
}

// forget ends all that there is of a host that is no member any more.
func (p *Peers) forget(host string) {
	p.mu.Lock()
	l := p.links[host]
	delete(p.links, host)
	delete(p.learned, host)
	p.mu.Unlock()
	if l != nil {
		l.close()
	}
	p.closeConns(host)
	p.o.Accounts.DropPeer(host)
}

func (p *Peers) linkTo(host string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[host]
}

func (p *Peers) allLinks() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.links))
}

// Learn notes where a member says that it is reached. That is tried when it can't be reached where Trust says.
func (p *Peers) Learn(host, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[host] != nil && address != "" {
		p.learned[host] = address
	}
}

// addressesOf are where a host may be reached, the likeliest first.
func (p *Peers) addressesOf(host string) (out []string) {
	for _, m := range p.o.Trust.Members() {
		if m.Host == host && m.Address != "" {
			out = append(out, m.Address)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if told := p.learned[host]; told != "" && !slices.Contains(out, told) {
		out = append(out, told)
	}
	return out
}

func (p *Peers) addressOf(host string) string {
	if all := p.addressesOf(host); len(all) > 0 {
		return all[0]
	}
	return ""
}

// Address is where the cluster port listens.
func (p *Peers) Address() string { return p.o.Listener.Addr().String() }

// Links says how the connections to and from each member are, by name.
func (p *Peers) Links() []messages.Link {
	var out []messages.Link
	for _, l := range p.allLinks() {
		out = append(out, l.facts())
	}
	slices.SortFunc(out, func(a, b messages.Link) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// Link is that of one host; ok is false when it is no member.
func (p *Peers) Link(host string) (_ messages.Link, ok bool) {
	l := p.linkTo(host)
	if l == nil {
		return messages.Link{Host: host}, false
	}
	return l.facts(), true
}

// Beat implements messages.Peers. A host that reads slowly gets the newest heartbeat only, and holds up no other one.
func (p *Peers) Beat(h *messages.Heartbeat) {
	body, err := proto.Marshal(h)
	if err != nil {
		p.o.Log.Error("a heartbeat can't be written", "error", err)
		return
	}
	for _, l := range p.allLinks() {
		l.beat(body)
	}
}
