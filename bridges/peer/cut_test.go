package peer

import (
	"net"
	"sync"
	"testing"
	"time"

	"modelops/messages"
)

// wire is a proxy on the way to a cluster port, as a network that fails.
type wire struct {
	net.Listener
	to string

	mu    sync.Mutex
	held  chan struct{} // not nil while nothing passes; closed when it passes again
	conns []net.Conn
	work  sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to}
	w.work.Go(w.accept)
	t.Cleanup(func() { _ = l.Close(); w.plug(); w.breaks(); w.work.Wait() })
	return w
}

func (w *wire) accept() {
	for {
		in, err := w.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, in, out)
		w.mu.Unlock()
		w.work.Go(func() { w.copy(in, out) })
		w.work.Go(func() { w.copy(out, in) })
	}
}

func (w *wire) copy(to, from net.Conn) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		held := w.held
		w.mu.Unlock()
		if held != nil {
			<-held
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// pull stops all bytes and closes nothing, as a pulled cable does.
func (w *wire) pull() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = make(chan struct{})
}

func (w *wire) plug() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil {
		close(w.held)
		w.held = nil
	}
}

// breaks closes all connections, as a router that restarts does.
func (w *wire) breaks() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// wired is a pair whose link from main_pc to pc2 goes over a wire.
func wired(t *testing.T) (a, b *side, w *wire) {
	t.Helper()
	a, b = linked(t, nil)
	w = newWire(t, b.Address())
	a.trust.set(func(m map[string]string) { m["pc2"] = w.Addr().String() })
	b.closeConns("main_pc")
	await(t, "the link goes over the wire", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.conns) > 0 && a.up("pc2") && b.up("main_pc")
	})
	return a, b, w
}

func linkUp(s *side, host string) func() bool {
	return func() bool { l, _ := s.Link(host); return l.To }
}

func TestAPulledCableIsNoticed(t *testing.T) {
	a, b, w := wired(t)
	_ = b
	w.pull()
	began := time.Now()
	await(t, "the cable is missed", func() bool { return !linkUp(a, "pc2")() })
	missed := time.Since(began)
	if _, err := query(t.Context(), a, "pc2", messages.HostActor("pc2")); messages.CodeOf(err) != messages.Unavailable {
		t.Error(err)
	}
	w.plug()
	began = time.Now()
	await(t, "the link is back", linkUp(a, "pc2"))
	t.Logf("missed after %v, back after %v", missed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if linkUp(b, "main_pc")() != true {
		t.Error("the other direction suffered")
	}
}

func TestALinkThatFlapsComesBackEachTime(t *testing.T) {
	a, _, w := wired(t)
	for range 5 {
		w.breaks()
		await(t, "the link is missed", func() bool { return !linkUp(a, "pc2")() })
		began := time.Now()
		await(t, "the link is back", linkUp(a, "pc2"))
		t.Logf("back after %v", time.Since(began).Round(time.Millisecond))
		if _, err := query(t.Context(), a, "pc2", messages.HostActor("pc2")); err != nil {
			t.Error(err)
		}
	}
}

// A host that reads nothing gets the newest heartbeat only, and holds up nobody.
func TestAHostThatReadsNothingHoldsUpNobody(t *testing.T) {
	ca := newAuthority(t)
	a, b := linkedBy(t, ca)
	c := startSide(t, ca, ca.issue(t, "pc3", time.Now().Add(time.Hour)), Options{Host: "pc3"})
	w := newWire(t, c.Address())
	a.knows("pc3", w.Addr().String())
	c.knows("main_pc", a.Address())
	await(t, "pc3 is linked", func() bool { return a.up("pc3") })
	w.pull()
	big := &messages.Heartbeat{Host: "main_pc", Version: string(make([]byte, 100_000))}
	for i := range 300 { // 30 MB, more than any buffer on the way
		big.Sequence = uint64(i + 1)
		a.Beat(big)
	}
	for h := range b.beats {
		if h.Sequence == 300 {
			break
		}
	}
	w.plug()
}
