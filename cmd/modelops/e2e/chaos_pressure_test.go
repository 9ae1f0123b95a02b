//go:build e2e

package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// pressureWait is the queue_timeout of the daemons under pressure: within it, a request ends in every phase.
const pressureWait = 10 * time.Second

// pressured are the models that callers ask: they don't have room together, so that each is loaded and evicted all the time.
var pressured = []string{"light", "a", "b", "big"}

// pressure is callers of all models at each door, an operator who loads and unloads, and programs with leases, until it ends.
type pressure struct {
	c      *chaos
	at     addresses
	key    string
	leases memory
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	ended map[string]int    // how requests ended, by door and code
	said  map[string]string // the last words of each
	begun map[int]time.Time
	next  int
}

// pressable is prepareChaos with ports that stay, for callers that outlive a start, and a short queue_timeout.
func pressable(t *testing.T, more string) *chaos {
	t.Helper()
	c := prepareChaos(t, fmt.Sprintf("resilience: {bulkhead: {queue_timeout: %s}}\n%s", pressureWait, more))
	config := c.configuration()
	for _, port := range []string{"grpc_port", "nats_port"} {
		config = strings.Replace(config, port+": 0", fmt.Sprintf("%s: %d", port, freePort(t)), 1)
	}
	c.write("cluster.yaml", strings.Replace(config, "level: warn", "level: error", 1))
	return c
}

func (d *daemon) configuration() string {
	d.t.Helper()
	raw, err := os.ReadFile(filepath.Join(d.dir, "cluster.yaml"))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(raw)
}

// press begins the pressure on a daemon that is up.
func (c *chaos) press() *pressure {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	p := &pressure{c: c, at: c.at, key: c.operatorKey(), leases: memory{held: map[string]bool{}}, cancel: cancel, ended: map[string]int{}, said: map[string]string{}, begun: map[int]time.Time{}}
	c.t.Cleanup(func() { cancel(); p.work.Wait() })
	conn, infer, err := dialModelOps(p.at.GRPC, grpc.WithPerRPCCredentials(bearer(p.key)))
	if err != nil {
		c.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	overNATS := &redialled{p: p}
	for i := range 8 {
		p.loop(ctx, rand.New(rand.NewPCG(c.seed, uint64(i))), func(chance *rand.Rand) {
			model := pressured[chance.IntN(len(pressured))]
			switch chance.IntN(4) {
			case 0:
				p.track("grpc", func() (string, string) { return overGRPC(ctx, infer, model) })
			case 1:
				p.track("nats", func() (string, string) { return overNATS.infer(ctx, model) })
			default:
				p.track("http", func() (string, string) { return overHTTP(ctx, p.at.HTTP, model) })
			}
		})
	}
	p.loop(ctx, rand.New(rand.NewPCG(c.seed, 100)), p.operate(ctx))
	for range 2 {
		p.loop(ctx, nil, p.lease(ctx))
	}
	return p
}

// loop does a step again and again until the pressure ends.
func (p *pressure) loop(ctx context.Context, chance *rand.Rand, step func(*rand.Rand)) {
	p.work.Go(func() {
		for ctx.Err() == nil {
			step(chance)
			pause(p.c.t)
		}
	})
}

// track counts how a request ended, and knows meanwhile that it is under way.
func (p *pressure) track(door string, ask func() (how, words string)) {
	p.mu.Lock()
	p.next++
	n := p.next
	p.begun[n] = time.Now()
	p.mu.Unlock()
	how, words := ask()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.begun, n)
	p.ended[door+" "+how]++
	p.said[door+" "+how] = words
}

// count is how many requests have ended so.
func (p *pressure) count(how ...string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for end, times := range p.ended {
		if slices.ContainsFunc(how, func(h string) bool { return strings.HasSuffix(end, " "+h) }) {
			n += times
		}
	}
	return n
}

// until is the daemon's until; not to see it come true tells how requests have ended.
func (p *pressure) until(what string, condition func() bool) {
	p.c.t.Helper()
	defer func() {
		if p.c.t.Failed() {
			p.c.t.Logf("requests ended so:\n%s", p.fates())
		}
	}()
	p.c.until(waitLimit, what, condition)
}

// allEnded waits until every request that was under way has ended by itself.
func (p *pressure) allEnded(where string) {
	p.c.t.Helper()
	mark := time.Now()
	p.until(where+": the requests that were there have ended", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, began := range p.begun {
			if began.Before(mark) {
				return false
			}
		}
		return true
	})
}

func overHTTP(ctx context.Context, url, model string) (how, words string) {
	body, err := json.Marshal(question(model, "hello"))
	if err != nil {
		return "", err.Error()
	}
	r, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err.Error()
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "no answer", err.Error()
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "half an answer", err.Error()
	case resp.StatusCode == http.StatusOK:
		return "OK", ""
	}
	return cmp.Or(resp.Header.Get("X-Modelops-Code"), resp.Status), string(raw)
}

func overGRPC(ctx context.Context, client messages.ModelOpsClient, model string) (how, words string) {
	if _, err := client.Infer(ctx, &messages.InferenceRequest{ModelName: model, Prompt: "hello"}); err != nil {
		return status.Code(err).String(), err.Error()
	}
	return "OK", ""
}

// redialled is the operator's connection to NATS; it is made again when it was lost.
type redialled struct {
	p    *pressure
	mu   sync.Mutex
	conn *nats.Conn
	life context.Context // of the connection: the library lets a request wait though its connection is closed
}

func (r *redialled) get(ctx context.Context) (*nats.Conn, context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil && r.conn.IsConnected() {
		return r.conn, r.life
	}
	if r.conn != nil {
		r.conn.Close()
	}
	life, end := context.WithCancel(ctx)
	conn, err := nats.Connect(r.p.at.NATS, nats.NoReconnect(), nats.Timeout(waitLimit), nats.Token(r.p.key), nats.ClosedHandler(func(*nats.Conn) { end() }))
	if err != nil {
		end()
		r.conn = nil
		return nil, nil
	}
	r.conn, r.life = conn, life
	context.AfterFunc(ctx, conn.Close)
	return conn, life
}

func (r *redialled) infer(ctx context.Context, model string) (how, words string) {
	nc, life := r.get(ctx)
	if nc == nil {
		return "no connection", ""
	}
	raw, _ := json.Marshal(object{"model_name": model, "prompt": "hello"})
	m, err := nc.RequestWithContext(life, "modelops.v1.infer", raw)
	switch {
	case err != nil:
		return "no answer", err.Error()
	case m.Header.Get("Nats-Service-Error") == "":
		return "OK", ""
	}
	var said struct{ Code string }
	_ = json.Unmarshal(m.Data, &said)
	return said.Code, string(m.Data)
}

// operate loads and unloads at random.
func (p *pressure) operate(ctx context.Context) func(*rand.Rand) {
	r := &redialled{p: p}
	return func(chance *rand.Rand) {
		nc, _ := r.get(ctx)
		if nc == nil {
			return
		}
		model := pressured[1+chance.IntN(len(pressured)-1)]
		if chance.IntN(2) == 0 {
			tell(nc, model, &messages.EnsureModel{Reason: "chaos"})
		} else {
			tell(nc, model, unloading(chance.IntN(3) == 0))
		}
		due(time.Now().Add(time.Duration(chance.IntN(200)) * time.Millisecond))
	}
}

func unloading(force bool) proto.Message { return &messages.UnloadModel{Reason: "chaos", Force: force} }

// lease takes a little memory and gives it back; the memory of it says what must be true afterwards.
func (p *pressure) lease(ctx context.Context) func(*rand.Rand) {
	r, gpu := &redialled{p: p}, messages.GPUActor("main_pc", "gpu0")
	return func(*rand.Rand) {
		nc, limited := r.get(ctx)
		if nc == nil {
			return
		}
		lease := fmt.Sprintf("lease-%d", p.leases.count())
		c := &messages.ReserveVram{Lease: lease, Holder: "client/e2e", Bytes: 1 << 20, TtlSeconds: 3 * 3600}
		if !p.leases.tell(limited, nc, gpu, c, &messages.VramReserved{Lease: lease, Holder: c.Holder, Bytes: c.Bytes, TtlSeconds: c.TtlSeconds}) {
			return
		}
		p.leases.hold(lease, true)
		if len(lease) == len("lease-nn") && strings.HasSuffix(lease, "0") {
			return // is kept
		}
		p.leases.doubt(lease)
		if p.leases.tell(limited, nc, gpu, &messages.ReleaseVram{Lease: lease, Reason: "e2e"}, &messages.VramReleased{Lease: lease, Reason: "e2e"}) {
			p.leases.hold(lease, false)
		}
	}
}

// endsWell ends the pressure. Then every model answers at every door, health is good, ledger, processes and journal agree, and what was
// acknowledged is in the journal, once.
func (p *pressure) endsWell(where string) {
	c := p.c
	c.t.Helper()
	ok := p.count("OK")
	p.until(where+": requests are answered again", func() bool { return p.count("OK") > ok+2*len(pressured) })
	p.cancel()
	p.work.Wait()
	c.until(waitLimit, where+": health is good", func() bool { return strings.Contains(string(c.get("/health").body), `"ok"`) })
	c.servesAtEachDoor(where)
	c.observer().settles(where)
	p.kept(where)
	if n := p.count("INTERNAL", "Internal"); n > 0 || strings.Contains(c.log.String(), "panic") {
		c.t.Errorf("%s: %d internal errors, or it panicked:\n%s", where, n, c.log.tail(100))
	}
	c.t.Logf("%s: %d decisions about leases were acknowledged, and requests ended so:\n%s", where, p.leases.told(), p.fates())
}

func (p *pressure) fates() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, how := range slices.Sorted(maps.Keys(p.ended)) {
		out = append(out, fmt.Sprintf("%s %d %.300s", how, p.ended[how], p.said[how]))
	}
	return strings.Join(out, "\n")
}

// servesAtEachDoor asks each model over HTTP, gRPC and NATS until it answers.
func (c *chaos) servesAtEachDoor(where string) {
	c.t.Helper()
	nc := c.dial()
	defer nc.Close()
	infer := c.grpc()
	for _, model := range pressured {
		for door, try := range map[string]func() (string, string){
			"http": func() (string, string) { return overHTTP(c.t.Context(), c.at.HTTP, model) },
			"grpc": func() (string, string) { return overGRPC(c.t.Context(), infer, model) },
			"nats": func() (string, string) {
				_, err := ask(nc, "infer", object{"model_name": model, "prompt": "hello"})
				if err != nil {
					return messages.CodeOf(err).String(), err.Error()
				}
				return "OK", ""
			},
		} {
			end := time.Now().Add(waitLimit)
			for {
				how, words := try()
				if how == "OK" {
					break
				}
				if time.Now().After(end) {
					c.t.Fatalf("%s: %s isn't served over %s: %s", where, model, door, words)
				}
				pause(c.t)
			}
		}
	}
}

// kept: what was acknowledged about leases is in the journal, each grant once, and the ledger agrees.
func (p *pressure) kept(where string) {
	t := p.c.t
	t.Helper()
	nc := p.c.dial()
	defer nc.Close()
	p.leases.verify(t, nc, 0)
	gpu := messages.GPUActor("main_pc", "gpu0")
	granted := map[string]int{}
	err := journalOver(nc).Replay(t.Context(), journal.Query{Actor: gpu}, func(r messages.Recorded) error {
		for _, e := range r.Events {
			if v, ok := e.(*messages.VramReserved); ok {
				granted[v.Lease]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for lease, n := range granted {
		if n > 1 {
			t.Errorf("%s: lease %s was granted %d times", where, lease, n)
		}
	}
	v, err := view(nc, gpu)
	if err != nil {
		t.Fatal(err)
	}
	for lease, held := range p.leases.held {
		if there := strings.Contains(v.StateJson, `"`+lease+`"`); there != held {
			t.Errorf("%s: %s: granted %t, in the ledger %t", where, lease, held, there)
		}
	}
	if p.leases.told() == 0 {
		t.Errorf("%s: no decision about a lease was acknowledged: the test shows little", where)
	}
}
