//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/journal"
	"modelops/messages"
)

const kills = 100

// acknowledged is a decision whose caller has heard that it is remembered.
type acknowledged struct {
	actor    messages.ActorID
	sequence uint64
	event    proto.Message // what the first event must say; its time is left out
}

// memory is what the callers of all cycles were promised.
type memory struct {
	mu       sync.Mutex
	all      []acknowledged
	held     map[string]bool // leases: true = granted, false = released; absent = no answer came
	revision map[string]int  // of the models, to count on
	next     int
}

func (m *memory) note(a acknowledged) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, a)
}

// told is how many decisions were acknowledged.
func (m *memory) told() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	return m.next
}

// TestKillNineLosesNothing kills the binary again and again while several callers make it decide. What was acknowledged is in the
// journal, once, whole and in its chain, and the actors agree with it.
func TestKillNineLosesNothing(t *testing.T) {
	t.Parallel() // it waits more than it works
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"remote"}]}`)
	}))
	defer remote.Close()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	d := prepare(t, base+"log: {level: warn}\nmodels:\n  declare:\n    remote: {runtime: openai, url: \""+remote.URL+"\"}\n")
	m := &memory{held: map[string]bool{}, revision: map[string]int{}}
	checked := uint64(0)
	for cycle := range kills {
		d.launch()
		nc := d.nats()
		checked = m.verify(t, nc, checked)
		ctx, cancel := context.WithCancel(t.Context())
		before := m.told()
		work := m.drive(ctx, nc)
		if cycle%2 == 1 { // on a busy machine the first decisions take long
			d.until(waitLimit, "a decision is acknowledged", func() bool { return m.told() > before })
		}
		select {
		case <-time.After(time.Duration(chance.IntN(120_000)) * time.Microsecond): // the moment of the kill
		case <-d.exited:
			t.Fatalf("cycle %d: the daemon ended by itself", cycle)
		}
		d.kill()
		cancel()
		work.Wait()
		nc.Close()
		m.inspect(t, filepath.Join(d.state(), "journal"))
		if t.Failed() {
			t.Fatalf("in cycle %d", cycle)
		}
	}
	d.launch()
	nc := d.nats()
	m.verify(t, nc, 0)
	m.agree(t, nc)
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: exit code %d, %s", got.code, got)
	}
	if n := len(m.all); n < kills/2 {
		t.Errorf("only %d acknowledged decisions in %d cycles: the test shows little", n, kills)
	}
	t.Logf("%d kills, %d acknowledged decisions", kills, len(m.all))
	nc.Close()
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := d.cli("journal", "verify"); got.code != 0 {
		t.Errorf("journal verify: exit code %d, %s", got.code, got)
	}
}

// drive lets callers decide until ctx ends: declarations, leases, and a model that comes and goes.
func (m *memory) drive(ctx context.Context, nc *nats.Conn) *sync.WaitGroup {
	var work sync.WaitGroup
	loop := func(step func(n int)) {
		work.Go(func() {
			for ctx.Err() == nil {
				step(m.count())
			}
		})
	}
	for i := range 2 {
		name := fmt.Sprintf("m%d", i)
		loop(func(n int) {
			spec := &messages.ModelSpec{Name: name, Runtime: "command", Cmd: "true", Revision: fmt.Sprint(n)}
			m.tell(ctx, nc, modelID(name), &messages.DeclareModel{Spec: spec}, &messages.ModelDeclared{Spec: spec})
		})
	}
	gpu := messages.GPUActor("main_pc", "cpu")
	for range 2 {
		loop(func(n int) {
			lease := fmt.Sprintf("lease-%d", n)
			r := &messages.ReserveVram{Lease: lease, Holder: "client/e2e", Bytes: 1 << 20, TtlSeconds: 3600}
			if !m.tell(ctx, nc, gpu, r, &messages.VramReserved{Lease: lease, Holder: r.Holder, Bytes: r.Bytes, TtlSeconds: r.TtlSeconds}) {
				return
			}
			m.hold(lease, true)
			if n%16 == 0 {
				return // is kept through all kills
			}
			m.doubt(lease)
			if m.tell(ctx, nc, gpu, &messages.ReleaseVram{Lease: lease, Reason: "e2e"}, &messages.VramReleased{Lease: lease, Reason: "e2e"}) {
				m.hold(lease, false)
			}
		})
	}
	loop(func(int) {
		m.tell(ctx, nc, modelID("remote"), &messages.EnsureModel{Reason: "e2e"}, nil)
		m.tell(ctx, nc, modelID("remote"), &messages.UnloadModel{Reason: "e2e", Force: true}, nil)
	})
	return &work
}

func (m *memory) hold(lease string, granted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[lease] = granted
}

// doubt: from now on a kill leaves open whether the lease is there.
func (m *memory) doubt(lease string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, lease)
}

// tell sends a command and remembers its decision when it was acknowledged.
func (m *memory) tell(ctx context.Context, nc *nats.Conn, actor messages.ActorID, c, event proto.Message) bool {
	s, err := commandWithin(ctx, nc, actor, c)
	if err != nil {
		return false
	}
	if len(s.Events) > 0 {
		m.note(acknowledged{actor, s.Sequence, event})
	}
	return true
}

// inspect looks at the store that a kill left: half a last record may lie there, nothing else may be wrong.
func (m *memory) inspect(t *testing.T, dir string) {
	t.Helper()
	report, err := journal.Verify(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	for _, a := range m.all {
		if a.sequence > report.Last {
			t.Errorf("%s was told %d, the journal ends at %d", a.actor, a.sequence, report.Last)
		}
	}
}

// verify reads the journal behind a sequence and compares it with what was promised; it returns how far it read.
func (m *memory) verify(t *testing.T, nc *nats.Conn, after uint64) uint64 {
	t.Helper()
	r := journalOver(nc)
	there := map[uint64]messages.Recorded{}
	last := after
	err := r.Replay(t.Context(), journal.Query{After: after}, func(rec messages.Recorded) error {
		if rec.Sequence != last+1 {
			t.Errorf("sequence %d follows %d", rec.Sequence, last)
		}
		there[rec.Sequence], last = rec, rec.Sequence
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range m.all {
		if a.sequence <= after {
			continue
		}
		rec, ok := there[a.sequence]
		if !ok || rec.Actor != a.actor {
			t.Errorf("sequence %d of %s is lost; there is %v", a.sequence, a.actor, rec)
			continue
		}
		if a.event != nil && !tells(rec.Events[0], a.event) {
			t.Errorf("sequence %d of %s is %v, want %v", a.sequence, a.actor, rec.Events[0], a.event)
		}
	}
	return last
}

// tells compares events without their times and owners.
func tells(got, want proto.Message) bool {
	got = proto.Clone(got)
	m := got.ProtoReflect()
	for _, name := range []protoreflect.Name{"at", "owner"} { // when, and by whose key
		if f := m.Descriptor().Fields().ByName(name); f != nil {
			m.Clear(f)
		}
	}
	return proto.Equal(got, want)
}

// agree asks the actors: the ledger holds the leases that were granted and not those that were given back, and each model has the last
// declaration that the journal knows.
func (m *memory) agree(t *testing.T, nc *nats.Conn) {
	t.Helper()
	v, err := view(nc, messages.GPUActor("main_pc", "cpu"))
	if err != nil {
		t.Fatal(err)
	}
	for lease, granted := range m.held {
		if there := strings.Contains(v.StateJson, `"`+lease+`"`); there != granted {
			t.Errorf("%s: granted %t, in the ledger %t", lease, granted, there)
		}
	}
	newest := map[messages.ActorID]acknowledged{}
	for _, a := range m.all {
		if _, ok := a.event.(*messages.ModelDeclared); ok && a.sequence > newest[a.actor].sequence {
			newest[a.actor] = a
		}
	}
	for id, a := range newest {
		v, err := view(nc, id)
		if err != nil {
			t.Fatal(err)
		}
		if v.Sequence < a.sequence {
			t.Errorf("%s is at %d, it was told %d", id, v.Sequence, a.sequence)
		}
	}
}

// commandWithin is command for a connection that may die: the library lets a request wait though its connection is closed.
func commandWithin(ctx context.Context, nc *nats.Conn, actor messages.ActorID, m proto.Message) (sent, error) {
	raw, err := sendBody(actor, m)
	if err != nil {
		return sent{}, err
	}
	reply, err := nc.RequestWithContext(ctx, "modelops.v1.send", raw)
	if err != nil {
		return sent{}, err
	}
	if failed := reply.Header.Get("Nats-Service-Error"); failed != "" {
		return sent{}, fmt.Errorf("%s: %s", failed, reply.Data)
	}
	var out sent
	return out, json.Unmarshal(reply.Data, &out)
}
