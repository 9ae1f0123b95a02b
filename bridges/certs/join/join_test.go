package join

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

// member is a host that invites, on a listener that speaks TLS and the preamble as the cluster port does.
type member struct {
	*Host
	t       *testing.T
	dataDir string
	address string
	now     time.Time
	starts  sync.Mutex // held while it starts again
	members *certs.Membership
}

func newMember(t *testing.T, name string) *member {
	t.Helper()
	m := &member{t: t, dataDir: t.TempDir(), now: time.Now()}
	if made, err := Init(m.dataDir, name, m.now); err != nil || !made {
		t.Fatal(made, err)
	}
	m.open(name)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.receive(c)
		}
	}()
	return m
}

// open reads the files, as a start does.
func (m *member) open(name string) {
	m.t.Helper()
	m.starts.Lock()
	defer m.starts.Unlock()
	dir := certs.ClusterDir(m.dataDir)
	var err error
	if m.members, err = certs.OpenMembership(certs.MembershipOptions{Dir: dir, Host: name}, m.now); err != nil {
		m.t.Fatal(err)
	}
	m.Host, err = Open(HostOptions{Dir: dir, Host: name, Members: m.members, Admitted: func(string, string) {}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return m.now }})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) receive(raw net.Conn) {
	m.starts.Lock()
	host, c := m.Host, tls.Server(raw, m.members.Server())
	m.starts.Unlock()
	line := make([]byte, 0, 64)
	for one := make([]byte, 1); ; line = append(line, one[0]) {
		if _, err := c.Read(one); err != nil {
			_ = c.Close()
			return
		}
		if one[0] == '\n' {
			break
		}
	}
	_, _ = c.Write([]byte("OK\n"))
	host.Serve(c, strings.Fields(string(line))[2])
}

func (m *member) invite(host string) string {
	m.t.Helper()
	token, _, err := m.Invite(host, 0, m.address)
	if err != nil {
		m.t.Fatal(err)
	}
	return token.String()
}

func (m *member) join(dataDir, host, token string) (bool, error) {
	return Join(context.Background(), GuestOptions{DataDir: dataDir, Host: host, Join: m.address, Token: token, Port: 7500})
}

func TestAHostJoins(t *testing.T) {
	m, dir := newMember(t, "main_pc"), t.TempDir()
	token := m.invite("")
	if joined, err := m.join(dir, "pc2", token); err != nil || !joined {
		t.Fatal(joined, err)
	}
	pc2, err := certs.OpenMembership(certs.MembershipOptions{Dir: certs.ClusterDir(dir), Host: "pc2"}, time.Now())
	if err != nil || pc2.Hosts()["main_pc"] != m.address {
		t.Fatal(pc2, err)
	}
	if at := m.members.Hosts()["pc2"]; at != "127.0.0.1:7500" {
		t.Error(at)
	}
	for _, secret := range []string{certs.MemberCAKey, certs.MemberKey, joinedFile} {
		if info, err := os.Stat(filepath.Join(certs.ClusterDir(dir), secret)); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(secret, info, err)
		}
	}
	if joined, err := m.join(dir, "pc2", token); err != nil || joined {
		t.Error("started again with the same flags:", joined, err)
	}
	// The new member invites too, and its guests know both.
	second, err := Open(HostOptions{Dir: certs.ClusterDir(dir), Host: "pc2", Members: pc2, Admitted: func(string, string) {}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := second.Invite("pc3", time.Minute, "x:1"); err != nil {
		t.Error(err)
	}
}

// A guest that dies before its files are whole asks again with the same key; the inviter may have been started again meanwhile.
func TestAGuestThatDiedJoinsByTheSameToken(t *testing.T) {
	m, dir := newMember(t, "main_pc"), t.TempDir()
	token := m.invite("")
	if _, err := m.join(dir, "pc2", token); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(certs.ClusterDir(dir), joiningDir(dir)); err != nil { // as if it had died before the rename
		t.Fatal(err)
	}
	m.open("main_pc")
	if joined, err := m.join(dir, "pc2", token); err != nil || !joined {
		t.Fatal(joined, err)
	}
	if _, err := m.join(t.TempDir(), "pc2", token); messages.CodeOf(err) != messages.PermissionDenied || !strings.Contains(err.Error(), "used already, by pc2") {
		t.Error("another key of the same name:", err)
	}
	if err := m.members.Expel("pc2"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(certs.ClusterDir(dir), joinedFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.join(dir, "pc2", token); messages.CodeOf(err) != messages.PermissionDenied {
		t.Error("a removed host came back by its old token:", err)
	}
	if joined, err := m.join(dir, "pc2", m.invite("pc2")); err != nil || !joined || !m.members.IsMember("pc2") {
		t.Error("a removed host was invited again:", joined, err)
	}
}

// A key that can't be read is named and kept, in a member's folder as in that of a guest that died: its owner may have a backup, and the certificate beside it
// is for no other key.
func TestAKeyThatCannotBeReadIsKept(t *testing.T) {
	m, removed, fresh := newMember(t, "main_pc"), t.TempDir(), t.TempDir()
	if _, err := m.join(removed, "pc2", m.invite("")); err != nil {
		t.Fatal(err)
	}
	if err := m.members.Expel("pc2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(joiningDir(fresh), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ host, dataDir, dir string }{{"pc2", removed, certs.ClusterDir(removed)}, {"pc3", fresh, joiningDir(fresh)}} {
		path := filepath.Join(c.dir, certs.MemberKey)
		for _, text := range []string{"", "half a ke", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := m.join(c.dataDir, c.host, m.invite(c.host))
			if e := messages.AsError(err); e == nil || e.Code != messages.FailedPrecondition || e.Subject != path || e.Hint == "" {
				t.Errorf("%s with the key %q: %v", c.host, text, err)
			}
			if got, err := os.ReadFile(path); string(got) != text {
				t.Errorf("%s: the key %q was replaced by %q, %v", c.host, text, got, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil { // it is there, and can't be read, by root either
			t.Fatal(err)
		}
		if _, err := m.join(c.dataDir, c.host, m.invite(c.host)); messages.AsError(err) == nil || messages.AsError(err).Subject != path || !strings.Contains(err.Error(), "can't be read") {
			t.Errorf("%s with a folder for a key: %v", c.host, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if joined, err := m.join(c.dataDir, c.host, m.invite(c.host)); err != nil || !joined {
			t.Errorf("%s without a key: %v, %v", c.host, joined, err)
		}
	}
}

func TestWhoMayNotJoin(t *testing.T) {
	m, foreign := newMember(t, "main_pc"), newMember(t, "main_pc")
	used, member := m.invite(""), t.TempDir()
	if _, err := m.join(member, "pc2", used); err != nil {
		t.Fatal(err)
	}
	expired := m.invite("")
	m.now = m.now.Add(time.Hour)
	good := m.invite("")
	unknown, err := ParseToken(good)
	if err != nil {
		t.Fatal(err)
	}
	unknown.Secret[0]++
	otherName := unknown
	otherName.Host = "pc7"
	for _, c := range []struct {
		what, dir, host, token string
		code                   messages.Code
		says                   string
	}{
		{"malformed", "", "pc3", "join1-abc", messages.InvalidArgument, "no token"},
		{"a letter is missing", "", "pc3", good[:len(good)-1], messages.InvalidArgument, "a part of it is missing"},
		{"empty", "", "pc3", "", messages.InvalidArgument, "no token"},
		{"expired", "", "pc3", expired, messages.PermissionDenied, "expired"},
		{"replayed", "", "pc3", used, messages.PermissionDenied, "used already, by pc2"},
		{"unknown", "", "pc3", unknown.String(), messages.PermissionDenied, "isn't one of this host"},
		{"another CA", "", "pc3", foreign.invite(""), messages.PermissionDenied, "its CA is another one"},
		{"of another member", "", "pc3", otherName.String(), messages.PermissionDenied, "isn't host pc7"},
		{"for another host", "", "pc3", m.invite("pc4"), messages.PermissionDenied, "for host pc4"},
		{"a wrong name", "", "pc 3", good, messages.InvalidArgument, "can't be the name"},
		{"a member's name", "", "pc2", good, messages.Conflict, "a member of this cluster already"},
		{"itself", "", "main_pc", good, messages.Conflict, "can't join itself"},
		{"a member", member, "pc2", good, messages.Conflict, "that of a member of the cluster already"},
		{"a member of another cluster", foreign.dataDir, "pc3", good, messages.Conflict, "another cluster already"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := c.dir
			if dir == "" {
				dir = t.TempDir()
			}
			_, err := m.join(dir, c.host, c.token)
			if e := messages.AsError(err); err == nil || e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Hint == "" {
				t.Errorf("%+v", e)
			}
			if left, _ := os.ReadDir(dir); c.dir == "" && len(left) > 0 {
				t.Errorf("half joined: %v", left)
			}
		})
	}
	if joined, err := m.join(t.TempDir(), "pc3", good); err != nil || !joined {
		t.Error("the refused spent a good token:", err)
	}
}

// Clocks may be a day apart: the inviter's decides on its tokens. What is further apart is refused, and works once the clock is set.
func TestClocksThatDiffer(t *testing.T) {
	m := newMember(t, "main_pc")
	for host, off := range map[string]time.Duration{"behind": -25 * time.Hour, "ahead": 25 * time.Hour, "week": -7 * 24 * time.Hour} {
		now := time.Now().Add(off)
		o := GuestOptions{DataDir: t.TempDir(), Host: host, Join: m.address, Token: m.invite(""), Port: 7500, Now: func() time.Time { return now }}
		joined, err := Join(t.Context(), o)
		if host == "week" {
			if e := messages.AsError(err); e.Code != messages.PermissionDenied || !strings.Contains(e.Hint, "the clocks of both hosts") {
				t.Error(joined, err)
			}
			now = time.Now()
			joined, err = Join(t.Context(), o)
		}
		if err != nil || !joined {
			t.Error(host, joined, err)
		}
		if _, err := certs.OpenMembership(certs.MembershipOptions{Dir: certs.ClusterDir(o.DataDir), Host: host}, now); err != nil {
			t.Error(host, err)
		}
	}
}

// Nobody hears a secret who isn't the token's host: neither a port without TLS nor one that is silent.
func TestTheSecretIsSaidToTheTokensHostOnly(t *testing.T) {
	m := newMember(t, "main_pc")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		_, _ = c.Write([]byte("SSH-2.0-x\r\n"))
		heard <- n
		_ = c.Close()
	}()
	token, _, err := m.Invite("", 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err = Join(t.Context(), GuestOptions{DataDir: dir, Host: "pc2", Join: l.Addr().String(), Token: token.String()})
	if messages.CodeOf(err) != messages.Unavailable || !strings.Contains(err.Error(), "no cluster port") {
		t.Error(err)
	}
	<-heard
	if _, err := os.Stat(certs.ClusterDir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("half joined")
	}
}

func TestACertificateOfAMemberIsRenewed(t *testing.T) {
	m := newMember(t, "main_pc")
	dir := certs.ClusterDir(m.dataDir)
	read := func() string { text, _ := os.ReadFile(filepath.Join(dir, certs.MemberCert)); return string(text) }
	first := read()
	if err := certs.RenewMember(dir, "main_pc", m.now.Add(100*24*time.Hour)); err != nil || read() != first {
		t.Error("renewed too early", err)
	}
	later := m.now.Add(400 * 24 * time.Hour)
	if err := certs.RenewMember(dir, "main_pc", later); err != nil || read() == first {
		t.Error("not renewed", err)
	}
	if _, err := certs.OpenMembership(certs.MembershipOptions{Dir: dir, Host: "main_pc"}, later); err != nil {
		t.Error(err)
	}
}

// A host that has made many tokens can make another: those that have expired are forgotten, in the order in which nobody misses them, and those that are good stay so.
func TestManyInvitations(t *testing.T) {
	b, now := &book{path: filepath.Join(t.TempDir(), invitationsFile)}, time.Now()
	for i := range 3 * mostInvitations {
		lasts := time.Minute
		if i%4 == 0 {
			lasts = time.Hour
		}
		now = now.Add(2 * time.Second)
		if err := b.add(invitation{Secret: hashOf([]byte{byte(i), byte(i >> 8)}), Expires: now.Add(lasts)}, now); err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		if at, _, err := b.find(&request{Secret: []byte{0, 0}}, "", now); err != nil {
			t.Fatalf("after %d the first is %d, %v", i, at, err)
		}
	}
	for i := 0; ; i++ {
		err := b.add(invitation{Secret: hashOf([]byte("x")), Expires: now.Add(time.Minute)}, now)
		if err == nil && i < mostInvitations {
			continue
		}
		if messages.CodeOf(err) != messages.BulkheadRejection || len(b.list) != mostInvitations {
			t.Errorf("%d are good, and another one: %v", len(b.list), err)
		}
		return
	}
}
