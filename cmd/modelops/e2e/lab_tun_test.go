//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// tuns is a network of network namespaces. Each host has one, and in it a TUN device whose packets this process carries to the others: cuts, loss,
// delay and rate hold for each direction by itself, also on a kernel without netem. Files are all that keeps namespaces and devices alive.
type tuns struct {
	hosts []*tunHost
	lines map[way]*line
	end   context.CancelFunc
	work  sync.WaitGroup
}

type tunHost struct {
	at     netip.Addr
	space  int // a file of its network namespace
	device *os.File
}

// openTUNs makes a network of so many hosts.
func openTUNs(hosts int) (*tuns, error) {
	ctx, end := context.WithCancel(context.Background())
	n := &tuns{lines: map[way]*line{}, end: end}
	for i := range hosts {
		h, err := openTUN(netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}))
		if err != nil {
			n.close()
			return nil, err
		}
		n.hosts = append(n.hosts, h)
	}
	for i := range hosts {
		for j := range hosts {
			if i != j {
				l := newLine(func(packet []byte) { _, _ = n.hosts[j].device.Write(packet) })
				n.lines[way{i + 1, j + 1}] = l
				n.work.Go(func() { l.carry(ctx) })
			}
		}
	}
	for i := range hosts {
		n.work.Go(func() { n.read(i + 1) })
	}
	return n, nil
}

// openTUN makes a namespace with a device that has the address.
func openTUN(at netip.Addr) (h *tunHost, err error) {
	h = &tunHost{at: at, space: -1}
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		if h.space, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		if err := raise("lo", netip.Addr{}); err != nil {
			return err
		}
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		r, err := unix.NewIfreq("lan0")
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			unix.Close(fd)
			return fmt.Errorf("TUNSETIFF: %w", err)
		}
		h.device = os.NewFile(uintptr(fd), "lan0 of "+at.String())
		return raise("lan0", at)
	})
	return h, err
}

// raise gives a device an address in 10.77.0.0/24, if any, and brings it up.
func raise(device string, at netip.Addr) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	if at.IsValid() {
		if err := errors.Join(r.SetInet4Addr(at.AsSlice()), unix.IoctlIfreq(s, unix.SIOCSIFADDR, r)); err != nil {
			return fmt.Errorf("the address of %s: %w", device, err)
		}
		if err := errors.Join(r.SetInet4Addr([]byte{255, 255, 255, 0}), unix.IoctlIfreq(s, unix.SIOCSIFNETMASK, r)); err != nil {
			return fmt.Errorf("the mask of %s: %w", device, err)
		}
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// elsewhere does something on a thread that has entered another network namespace, and comes back. A thread that can't come back is ended.
func elsewhere(enter, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(home)
			if err = enter(); err == nil {
				err = do()
			}
			if unix.Setns(home, unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
		}
		done <- err
	}()
	return <-done
}

// read takes the packets that a host sends.
func (n *tuns) read(host int) {
	buf := make([]byte, 65536)
	for {
		size, err := n.hosts[host-1].device.Read(buf)
		if err != nil {
			return
		}
		packet := buf[:size]
		if size < 20 || packet[0]>>4 != 4 || packet[16] != 10 || packet[17] != 77 {
			continue
		}
		if l := n.lines[way{host, int(packet[19])}]; l != nil {
			l.take(packet)
		}
	}
}

func (n *tuns) kind() string {
	return "network namespaces; this process carries the packets between their TUN devices"
}
func (n *tuns) address(host int) string { return n.hosts[host-1].at.String() }
func (n *tuns) link(w way, port int) (string, error) {
	return fmt.Sprintf("%s:%d", n.address(w.to), port), nil
}
func (n *tuns) set(w way, c condition) { n.lines[w].set(c) }

func (n *tuns) inside(host int, do func() error) error {
	return elsewhere(func() error { return unix.Setns(n.hosts[host-1].space, unix.CLONE_NEWNET) }, do)
}

func (n *tuns) dial(ctx context.Context, host int, address string) (conn net.Conn, err error) {
	err = n.inside(host, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", address)
		return err
	})
	return conn, err
}

func (n *tuns) close() {
	n.end()
	for _, h := range n.hosts {
		if h.device != nil {
			h.device.Close()
		}
		if h.space >= 0 {
			unix.Close(h.space)
		}
	}
	n.work.Wait()
}
