package process

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseStat(t *testing.T) {
	tail := " S 1 77 78 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0" + strings.Repeat(" 0", 27) + " 1792 "
	s, err := parseStat(7, []byte("7 (a) b (c))"+tail))
	want := stat{pid: 7, parent: 1, group: 77, session: 78, state: 'S', startTicks: 4242}
	s.exitStatus = 0
	if err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"", "7 (x", "7 (x) S 1", "7 (x) S a b c" + strings.Repeat(" 0", 30)} {
		if _, err := parseStat(7, []byte(bad)); err == nil {
			t.Errorf("%q is believed", bad)
		}
	}
}

// The name of a process may hold anything, also what looks like the fields after it.
func TestParseStatWithAnyName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		ticks := rapid.Uint64().Draw(t, "ticks")
		line := "7 (" + name + ") S 1 2 3" + strings.Repeat(" 0", 15) + " " + strconv.FormatUint(ticks, 10) + " 0\n"
		st, err := parseStat(7, []byte(line))
		if err != nil || st.startTicks != ticks || st.parent != 1 || st.group != 2 || st.session != 3 {
			t.Fatalf("%q: %+v %v", line, st, err)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) S 1 2 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 4242"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if st, err := parseStat(7, b); err == nil && st.pid != 7 {
			t.Error("another pid")
		}
	})
}

// A torn reading of /proc may hold a loop.
func TestDescendants(t *testing.T) {
	all := []stat{{pid: 2, parent: 1}, {pid: 4, parent: 3}, {pid: 3, parent: 2}, {pid: 5, parent: 9}, {pid: 6, parent: 7}, {pid: 7, parent: 6}}
	for pid, want := range map[int64]int{1: 3, 2: 2, 3: 1, 4: 0, 6: 1, 9: 1} {
		if got := descendants(pid, all); len(got) != want {
			t.Errorf("%d: %+v", pid, got)
		}
	}
}

func TestVariable(t *testing.T) {
	env := []byte("A=1\x00AB=2\x00EMPTY=\x00C=x=y\x00A=second\x00no pair\x00")
	for name, want := range map[string]string{"A": "1", "AB": "2", "EMPTY": "", "C": "x=y", "B": "", "no pair": ""} {
		if got := variable(env, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestMemoryOfATree(t *testing.T) {
	h := start(t, New(Options{}), shell(t, hoarder))
	becomesSleep(t, h)
	becomesSleep(t, Handle{Pid: childrenOf(h)[0]}) // exec starts both figures from zero
	alone, err := resident(h.Pid)
	if err != nil {
		t.Fatal(err)
	}
	now, err := ResidentBytes(h.Pid)
	if err != nil || now <= alone {
		t.Errorf("%d bytes with its child, %d alone: %v", now, alone, err)
	}
	peak, err := PeakBytes(h.Pid)
	if err != nil || peak <= alone {
		t.Errorf("the peak is %d bytes with its child, %d are resident without: %v", peak, alone, err)
	}
	if ReadBytes(int64(os.Getpid())) == 0 {
		t.Error("this process has read nothing")
	}
	if _, err := ResidentBytes(1 << 22); err == nil {
		t.Error("no process holds memory")
	}
	if ReadBytes(1<<22) != 0 {
		t.Error("no process reads")
	}
}

func TestParseListener(t *testing.T) {
	tests := map[string]string{
		"  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x": "127.0.0.1:8080 4711",
		"  1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 x":   "0.0.0.0:80 12",
		"  2: 00000000000000000000000001000000:0051 0:0 0A 0:0 00:0 0 0 0 13 1":                              "[::1]:81 13",
		"  3: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 5 1 x":    "",
		"  sl  local_address rem_address   st tx_queue":                                                      "",
		"": "",
	}
	for line, want := range tests {
		l, ok := parseListener(line)
		got := ""
		if ok {
			got = l.Addr.String() + " " + l.Inode
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestSocketsOfAProcess(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self := int64(os.Getpid())
	all, err := Listeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Addr.String() != l.Addr().String() {
			continue
		}
		if pid, name, err := SocketOwner(s.Inode); pid != self || name == "" || err != nil {
			t.Errorf("it belongs to %d (%s), %v", pid, name, err)
		}
		if mine, err := Sockets(self); !mine[s.Inode] || err != nil {
			t.Error("it is not among this process's sockets")
		}
		h := start(t, New(Options{}), shell(t, parent))
		if got, err := New(Options{}).TreeSockets(h); got[s.Inode] || err != nil {
			t.Errorf("a child holds it: %v, %v", got, err)
		}
		return
	}
	t.Error("the listener is not in the kernel's table")
}

func TestNoOwnerOfNoSocket(t *testing.T) {
	if pid, name, err := SocketOwner("none"); pid != 0 || name != "" || err != nil {
		t.Error(pid, name, err)
	}
}
