package runtime

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"modelops/messages"
)

// listener is a listening TCP socket of this network namespace.
type listener struct {
	addr  netip.AddrPort
	inode string
}

// listeners reads the kernel's tables of TCP sockets.
func listeners() []listener {
	var out []listener
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
func parseListener(line string) (listener, bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" {
		return listener{}, false
	}
	addr, port, ok := strings.Cut(f[1], ":")
	raw, err := hex.DecodeString(addr)
	if !ok || err != nil || len(raw)%4 != 0 {
		return listener{}, false
	}
	for word := range slices.Chunk(raw, 4) { // each word is in the machine's order
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return listener{}, false
	}
	return listener{addr: netip.AddrPortFrom(ip.Unmap(), uint16(n)), inode: f[9]}, true
}

// answering picks the sockets that get a connection to host: those of the very address, else those of all addresses.
func answering(all []listener, host string, port uint16) []listener {
	var exact, any []listener
	for _, l := range all {
		switch ip := l.addr.Addr(); {
		case l.addr.Port() != port:
		case ip.IsUnspecified():
			any = append(any, l)
		case ip.String() == host, host == "localhost" && ip.IsLoopback():
			exact = append(exact, l)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return any
}

// forwarders are the programs by which container engines hold a port in the name of a worker inside.
var forwarders = []string{"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2", "passt", "conmon", "gvproxy"}

// strangerAt tells who else answers on the worker's port; "" when it is the worker itself, or one of its own, or when
// the worker's address is on another machine. checked is false when nobody listens there at this moment.
func (r *Runtime) strangerAt(k kind, spec *messages.ModelSpec, w *messages.Worker) (stranger string, checked bool) {
	u, err := url.Parse(w.Url)
	if err != nil || w.Port == 0 {
		return "", true
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return "", true
	}
	found := answering(listeners(), host, uint16(w.Port))
	if len(found) == 0 {
		return "", false
	}
	mine := socketsOf(w.Pid)
	if !slices.ContainsFunc(found, func(l listener) bool { return !mine[l.inode] }) {
		return "", true
	}
	for _, s := range r.members(w) {
		for inode := range socketsOf(s.pid) {
			mine[inode] = true
		}
	}
	for _, l := range found {
		if mine[l.inode] {
			continue
		}
		pid, name := ownerOf(l.inode)
		switch {
		case k.forwarders && slices.Contains(forwarders, name):
		case k.forwarders && pid == 0 && spec.Url != "" && spec.Url != defaultURL:
			// Its owner is hidden from us, as a container engine's of another user is, and the operator named the address.
		case pid == 0:
			return "a process of another user", true
		default:
			return fmt.Sprintf("pid %d (%s)", pid, name), true
		}
	}
	return "", true
}

// socketsOf is the set of inodes of a process's sockets, as far as we may look.
func socketsOf(pid int64) map[string]bool {
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

// ownerOf looks for the process that holds a socket; pid 0 when it can't be seen.
func ownerOf(inode string) (pid int64, name string) {
	for _, s := range processes() {
		if socketsOf(s.pid)[inode] {
			b, _ := os.ReadFile(procPath(s.pid, "comm"))
			return s.pid, strings.TrimSpace(string(b))
		}
	}
	return 0, ""
}
