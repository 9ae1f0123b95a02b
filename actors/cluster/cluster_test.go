package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// wire joins clusters of one test. A heartbeat takes a millisecond.
type wire struct {
	mu    sync.Mutex
	hosts map[string]*Cluster
	cut   map[string]bool // hosts that reach none and that none reaches
	heard []*messages.Heartbeat
}

type end struct {
	*wire
	host string
}

func (e end) Beat(h *messages.Heartbeat) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, h)
	if e.cut[e.host] {
		return
	}
	for host, c := range e.hosts {
		if host == e.host || e.cut[host] {
			continue
		}
		time.AfterFunc(time.Millisecond, func() { c.Hear(proto.CloneOf(h)) })
	}
}

// scribe is an arbiter that writes down what it is told.
type scribe struct {
	mu    sync.Mutex
	wire  *wire
	host  string
	epoch uint64
	said  []string
	fails int
}

func (s *scribe) TakeOver(_ context.Context, above uint64, members []string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails--; s.fails >= 0 {
		return 0, errors.New("the journal is away")
	}
	s.epoch = above + 1
	s.said = append(s.said, "takes over")
	return s.epoch, nil
}

func (s *scribe) StandDown(context.Context, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, "stands down")
}

func (s *scribe) saying() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

func (s *scribe) at() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

func (s *scribe) failing(times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = times
}

type hostOf struct {
	*Cluster
	arbiter *scribe
	kill    func()
}

func (w *wire) start(t *testing.T, host, boot string, peers ...string) *hostOf {
	h := &hostOf{arbiter: &scribe{wire: w, host: host}}
	o := Options{Host: host, BootID: boot, Beats: end{w, host}, Arbiter: h.arbiter, Facts: func() Facts { return Facts{Version: "1", Address: host + ":7422"} }}
	for _, p := range peers {
		o.Peers = append(o.Peers, Peer{Host: p})
	}
	h.Cluster = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	w.mu.Lock()
	w.hosts[host] = h.Cluster
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.Run(ctx)
		close(done)
	}()
	h.kill = func() { cancel(); <-done }
	t.Cleanup(h.kill)
	return h
}

// first and second of two hosts, in the order of the seat.
func inOrder(a, b string) (string, string) {
	if score(a) > score(b) {
		return a, b
	}
	return b, a
}

func TestSeatFollowsWhoIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{hosts: map[string]*Cluster{}, cut: map[string]bool{}}
		holder, other := inOrder("main_pc", "pc2")
		b := w.start(t, other, "b1", holder)
		time.Sleep(2 * time.Second)
		if seat := b.Seat(t.Context()); seat != other || !slices.Equal(b.arbiter.saying(), []string{"takes over"}) {
			t.Fatalf("alone: the seat is at %s, the arbiter %v", seat, b.arbiter.saying())
		}
		a := w.start(t, holder, "a1", other)
		time.Sleep(time.Second)
		if a.Seat(t.Context()) != holder || b.Seat(t.Context()) != holder || a.arbiter.at() != 2 || !slices.Equal(b.arbiter.saying(), []string{"takes over", "stands down"}) {
			t.Fatalf("together: seats %s and %s, epoch %d, the other arbiter %v", a.Seat(t.Context()), b.Seat(t.Context()), a.arbiter.at(), b.arbiter.saying())
		}

		w.mu.Lock()
		w.cut[holder] = true
		w.mu.Unlock()
		began := time.Now()
		for b.Seat(t.Context()) != other || b.arbiter.at() < 3 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > Limit+2*look+10*time.Millisecond {
			t.Errorf("the other host's arbiter took over after %v", took)
		}
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		w.cut[holder] = false
		w.mu.Unlock()
		began = time.Now()
		for a.Seat(t.Context()) != holder || b.Seat(t.Context()) != holder || a.arbiter.at() <= b.arbiter.at() {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("the split healed after %v", took)
		}
		time.Sleep(5 * time.Second)
		if a.arbiter.at() != 4 || b.arbiter.at() != 3 {
			t.Errorf("epochs %d and %d after one cut: take-overs that nobody needed", a.arbiter.at(), b.arbiter.at())
		}
		if g := b.View().Members[0]; g.Host != holder && b.View().Members[1].Generation != 2 {
			t.Errorf("the member came back without a new generation: %v", b.View())
		}
	})
}

func TestLeavingIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{hosts: map[string]*Cluster{}, cut: map[string]bool{}}
		holder, other := inOrder("main_pc", "pc2")
		a, b := w.start(t, holder, "a1", other), w.start(t, other, "b1", holder)
		time.Sleep(2 * time.Second)
		a.kill()
		time.Sleep(look)
		if s, why := b.State(holder); s != messages.MemberView_gone || why != "it said that it leaves" || b.Seat(t.Context()) != other {
			t.Errorf("%s (%s), seat %s", s, why, b.Seat(t.Context()))
		}
	})
}

func TestTakeOverIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{hosts: map[string]*Cluster{}, cut: map[string]bool{}}
		a := w.start(t, "main_pc", "a1")
		a.arbiter.failing(5)
		time.Sleep(Limit + 2*look)
		began := time.Now()
		if seat := a.Seat(t.Context()); seat != "main_pc" {
			t.Fatal(seat)
		}
		if took := time.Since(began); took < tries || took > time.Second {
			t.Errorf("a question waited %v for the take-over", took)
		}
		if !slices.Equal(a.arbiter.saying(), []string{"takes over"}) {
			t.Error(a.arbiter.saying())
		}
	})
}

func TestQuietClusterSendsFiveHeartbeatsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{hosts: map[string]*Cluster{}, cut: map[string]bool{}}
		w.start(t, "main_pc", "a1", "pc2")
		w.start(t, "pc2", "b1", "main_pc")
		time.Sleep(5 * time.Second)
		w.mu.Lock()
		before := len(w.heard)
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.heard) - before; n < 95 || n > 105 {
			t.Errorf("two hosts sent %d heartbeats in 10 s", n)
		}
	})
}

func TestQuestionsWaitForTheSeatToMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{hosts: map[string]*Cluster{}, cut: map[string]bool{}}
		holder, other := inOrder("main_pc", "pc2")
		w.start(t, holder, "a1", other)
		b := w.start(t, other, "b1", holder)
		time.Sleep(2 * time.Second)
		here := func() (string, error) { return other, nil }
		hangs := false
		there := func(ctx context.Context, host string) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.cut[host] && hangs {
				w.mu.Unlock()
				<-ctx.Done()
				w.mu.Lock()
				return "", ctx.Err()
			}
			if w.cut[host] {
				return "", messages.NewError(messages.Unavailable, "host "+host, "it can't be reached").WithRetry(time.Second)
			}
			return host, nil
		}
		ask := func() (string, time.Duration, error) {
			began := time.Now()
			who, err := Ask(t.Context(), b.Cluster, here, there)
			return who, time.Since(began), err
		}
		if who, took, err := ask(); who != holder || took != 0 || err != nil {
			t.Errorf("%s answered after %v, %v", who, took, err)
		}
		w.mu.Lock()
		w.cut[holder] = true
		w.mu.Unlock()
		if who, took, err := ask(); who != other || took > patience || err != nil {
			t.Errorf("%s answered after %v, %v", who, took, err)
		}
		w.mu.Lock()
		w.cut[holder] = false
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		w.cut[holder], hangs = true, true
		w.mu.Unlock()
		if who, took, err := ask(); who != other || took > patience || err != nil {
			t.Errorf("of a host that hangs: %s answered after %v, %v", who, took, err)
		}
		hangs = false
		b.arbiter.failing(1000)
		w.mu.Lock()
		w.cut[holder] = false
		w.mu.Unlock()
		time.Sleep(time.Second)
		w.mu.Lock()
		w.cut[holder] = true
		w.mu.Unlock()
		if who, took, err := ask(); who != other || took > 2*patience || err != nil {
			t.Errorf("with an arbiter that can't take over: %s answered after %v, %v", who, took, err)
		}
	})
}
