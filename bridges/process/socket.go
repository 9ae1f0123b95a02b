package process

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Socket is a listening TCP socket of this network namespace.
type Socket struct {
	Addr  netip.AddrPort
	Inode string
}

// Listeners reads the kernel's tables of listening TCP sockets.
func Listeners() []Socket {
	var out []Socket
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			if l, ok := parseListener(string(line)); ok {
				out = append(out, l)
			}
		}
	}
	return out
}

// parseListener reads one line of /proc/net/tcp or tcp6; false for sockets that don't listen.
func parseListener(line string) (Socket, bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" {
		return Socket{}, false
	}
	addr, port, ok := strings.Cut(f[1], ":")
	raw, err := hex.DecodeString(addr)
	if !ok || err != nil || len(raw)%4 != 0 {
		return Socket{}, false
	}
	for word := range slices.Chunk(raw, 4) { // each word is in the machine's order
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return Socket{}, false
	}
	return Socket{Addr: netip.AddrPortFrom(ip.Unmap(), uint16(n)), Inode: f[9]}, true
}

// Sockets are the inodes of the sockets of one process, as far as we may look.
func Sockets(pid int64) map[string]bool {
	out := map[string]bool{}
	names, _ := filepath.Glob(procPath(pid, "fd/*"))
	for _, n := range names {
		target, err := os.Readlink(n)
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			out[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return out
}

// TreeSockets are the inodes of the sockets of a process and of all that it started.
func (s *Supervisor) TreeSockets(h Handle) map[string]bool {
	t := s.treeOf(h)
	if t.leader != nil {
		defer t.leader.Close()
	}
	out := Sockets(h.Pid)
	for _, m := range t.members() {
		for inode := range Sockets(m.pid) {
			out[inode] = true
		}
	}
	return out
}

// SocketOwner looks for a process that holds a socket, and its name; pid 0 when none can be seen.
func SocketOwner(inode string) (pid int64, name string) {
	all, _ := processes()
	for _, st := range all {
		if Sockets(st.pid)[inode] {
			b, _ := os.ReadFile(procPath(st.pid, "comm"))
			return st.pid, strings.TrimSpace(string(b))
		}
	}
	return 0, ""
}
