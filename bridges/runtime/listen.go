package runtime

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// answering picks the sockets that get a connection to host: those of the very address, else those of all addresses, else
// those of the other family, which is tried then.
func answering(all []process.Socket, host string, port uint16) []process.Socket {
	var exact, any, other []process.Socket
	for _, l := range all {
		switch ip := l.Addr.Addr(); {
		case l.Addr.Port() != port:
		case ip.IsUnspecified():
			any = append(any, l)
		case ip.String() == host, host == "localhost" && ip.IsLoopback():
			exact = append(exact, l)
		case host == loopback4 && ip.String() == loopback6:
			other = append(other, l)
		}
	}
	switch {
	case len(exact) > 0:
		return exact
	case len(any) > 0:
		return any
	}
	return other
}

// forwarders are the programs with which container engines hold a port for a worker in a container.
var forwarders = []string{"docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "pasta.avx2", "passt", "conmon", "gvproxy"}

// strangerAt names the process that answers on the worker's port in its place; "" when it is the worker itself, one of its
// children, or when the worker's address is on another machine. checked is false when no process listens there yet, and when it can't be told
// which one does.
func (r *Runtime) strangerAt(k kind, spec *messages.ModelSpec, w *messages.Worker) (stranger string, checked bool) {
	u, err := url.Parse(w.Url)
	if err != nil || w.Port == 0 {
		return "", true
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return "", true
	}
	all, err := process.Listeners()
	found := answering(all, host, uint16(w.Port))
	if err != nil || len(found) == 0 {
		return "", false
	}
	mine, err := process.Sockets(w.Pid)
	if err == nil && !slices.ContainsFunc(found, func(l process.Socket) bool { return !mine[l.Inode] }) {
		return "", true
	}
	mine, unseen := r.processes.TreeSockets(handleOf(w))
	for _, l := range found {
		if mine[l.Inode] {
			continue
		}
		pid, name, unread := process.SocketOwner(l.Inode)
		switch {
		case unseen != nil || pid == 0 && unread != nil:
			return "", false // looked at again
		case k.forwarders && slices.Contains(forwarders, name):
		case pid == 0 && process.MayHold(w.Pid, l):
			// The worker hides its descriptors from us.
		case pid == 0 && declaresAddress(k, spec):
			// Its owner is hidden from us, as a container engine's of another user is, and the operator named the address.
		case pid == 0:
			return "a process of another user", true
		default:
			return fmt.Sprintf("pid %d (%s)", pid, name), true
		}
	}
	return "", true
}

// declaresAddress tells whether the operator named the very address at which the command's engine answers, as for one in a container: it may
// be in no process that we started.
func declaresAddress(k kind, spec *messages.ModelSpec) bool {
	return k.forwarders && spec.Url != "" && !strings.Contains(spec.Url, "${PORT}")
}
