// Package wake wakes machines that sleep, by Wake-on-LAN. It decides only when a packet is sent again; who needs a machine says how long it has waited.
package wake

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"modelops/messages"
)

// Machine is a host that can be woken.
type Machine struct {
	MAC string // of its network card
	// After is how long a request waits before the machine is woken for it.
	After time.Duration
	// Address is where the packet is sent: HOST:PORT, a broadcast address as a rule.
	Address string
}

// again is the pause between two packets: one may be lost, and a machine takes some seconds to start.
const again = 5 * time.Second

// Waker wakes machines. Its methods may be called from many goroutines.
type Waker struct {
	machines func(host string) (Machine, bool)
	log      *slog.Logger

	mu   sync.Mutex
	sent map[string]time.Time // the last packet, by host
}

// New makes a waker of the machines that a function knows, as the configuration is at the call.
func New(machines func(host string) (Machine, bool), log *slog.Logger) *Waker {
	return &Waker{machines: machines, log: log, sent: map[string]time.Time{}}
}

// Wakes tells whether a host can be woken.
func (w *Waker) Wakes(host string) bool {
	_, ok := w.machines(host)
	return ok
}

// Wake is told that a request has waited for a host that sleeps. It returns whether the host can be woken, and sends packets when the request has waited
// long enough.
func (w *Waker) Wake(ctx context.Context, host string, waited time.Duration) bool {
	m, ok := w.machines(host)
	if !ok || waited < m.After || !w.due(host, time.Now()) {
		return ok
	}
	if err := send(ctx, m); err != nil {
		w.log.Warn("a host can't be woken", "host", host, "error", err)
		return ok
	}
	w.log.Info("a packet was sent to wake a host", "host", host, "mac", m.MAC, "waited", waited.Round(time.Millisecond))
	return ok
}

// due tells whether the next packet may be sent, and notes it.
func (w *Waker) due(host string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.sent[host]; ok && now.Sub(last) < again {
		return false
	}
	w.sent[host] = now
	return true
}

// packet is AMD's magic packet: six bytes of ones, and the address sixteen times.
func packet(mac net.HardwareAddr) []byte {
	return slices.Concat(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac, 16))
}

func send(ctx context.Context, m Machine) error {
	mac, err := net.ParseMAC(m.MAC)
	if err != nil || len(mac) != 6 {
		return messages.Errorf(messages.InvalidArgument, "cluster.peers", "%q is no address of a network card", m.MAC).WithHint("write it as 01:23:45:67:89:ab")
	}
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (failed error) {
		err := raw.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 1) })
		if failed == nil {
			failed = err
		}
		return failed
	}}
	c, err := d.DialContext(ctx, "udp4", m.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(packet(mac))
	return err
}
