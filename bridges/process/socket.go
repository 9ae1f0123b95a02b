package process

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Socket is a listening TCP socket of this network namespace.
type Socket struct {
	Addr  netip.AddrPort
	Inode string
	User  int64 // who opened it
}

// Listeners reads the kernel's tables of listening TCP sockets. The error tells that they could not be read; a kernel without IPv6 has one
// table less.
func Listeners() ([]Socket, error) {
	var out []Socket
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && path != "/proc/net/tcp" {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(b) {
			if l, ok := parseListener(string(line)); ok {
				out = append(out, l)
			}
		}
	}
	return out, nil
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
	user, err := strconv.ParseInt(f[7], 10, 64)
	return Socket{Addr: netip.AddrPortFrom(ip.Unmap(), uint16(n)), Inode: f[9], User: user}, ok && err == nil
}

// MayHold tells whether a socket may be that of a process whose descriptors are hidden from us: one of the process's users opened it. It is no
// proof, and only of use where no other process is seen to hold the socket.
func MayHold(pid int64, l Socket) bool {
	_, err := os.Readlink(procPath(pid, "fd/0"))
	if err == nil || whenMissing(err) == Gone {
		return false
	}
	users := []int64{int64(os.Getuid())}
	status, _ := os.ReadFile(procPath(pid, "status"))
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			users = nil
			for _, id := range strings.Fields(ids) {
				n, _ := strconv.ParseInt(id, 10, 64)
				users = append(users, n)
			}
		}
	}
	return slices.Contains(users, l.User)
}

// Sockets are the inodes of the sockets of one process, as far as we may look. The error tells that means are lacking to look.
func Sockets(pid int64) (map[string]bool, error) {
	out := map[string]bool{}
	folder, err := os.Open(procPath(pid, "fd"))
	if err != nil {
		return out, onlyStarved(err)
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	for _, n := range names {
		target, unread := os.Readlink(procPath(pid, "fd/"+n))
		if unread != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			out[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return out, onlyStarved(err)
}

// onlyStarved leaves out the errors that more means would not mend.
func onlyStarved(err error) error {
	if Starved(err) {
		return err
	}
	return nil
}

// TreeSockets are the inodes of the sockets of a process and of all that it started. The error tells that there may be more.
func (s *Supervisor) TreeSockets(h Handle) (map[string]bool, error) {
	t := s.treeOf(h)
	if t.leader != nil {
		defer t.leader.Close()
	}
	out, err := Sockets(h.Pid)
	members, unseen := t.members()
	err = cmp.Or(err, unseen)
	for _, m := range members {
		more, unread := Sockets(m.pid)
		maps.Copy(out, more)
		err = cmp.Or(err, unread)
	}
	return out, err
}

// SocketOwner looks for a process that holds a socket, and its name; pid 0 when none can be seen. The error tells that not every process could
// be looked at.
func SocketOwner(inode string) (pid int64, name string, err error) {
	all, err := processes()
	for _, st := range all {
		has, unread := Sockets(st.pid)
		if has[inode] {
			b, _ := os.ReadFile(procPath(st.pid, "comm"))
			return st.pid, strings.TrimSpace(string(b)), nil
		}
		err = cmp.Or(err, unread)
	}
	return 0, "", err
}
