//go:build e2e

package e2e_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/bridges/certs"
)

// TestAWrongInvitationIsRefused: each wrong way to join says why, leaves nothing half joined and spends no token; the right way works after it.
func TestAWrongInvitationIsRefused(t *testing.T) {
	main, pc2, pc3 := hostOf(t, "main_pc", ""), hostOf(t, "pc2", ""), hostOf(t, "pc3", "")
	foreign := hostOf(t, "main_pc", "")
	for _, d := range []*daemon{main, foreign} {
		d.typed("cluster", "init")
		d.launch()
	}
	foreigner := foreign.invites()
	foreign.stop()
	used := main.invites()
	pc2.joins(used)
	meet(main, pc2)

	good, ofPc2, short := main.invites(), pc2.invites(), main.invites("--host", "pc9", "--ttl", "1s")
	over := time.Now().Add(time.Second) // meant to pass: by then short has expired
	at := func(r invitation, address string) invitation { r.Address = address; return r }
	pc3.isRefused(used, "used already, by pc2", "modelops cluster invite")
	pc3.isRefused(at(foreigner, good.Address), "its CA is another one", "wasn't sent")
	pc3.isRefused(at(ofPc2, good.Address), "isn't host pc2, which made the token", "main_pc")
	pc3.isRefused(main.invites("--host", "pc4"), "for host pc4, and this is pc3")
	hostOf(t, "pc2", "").isRefused(good, "a host named pc2 is a member of this cluster already", "another name")
	hostOf(t, "main_pc", "").isRefused(good, "can't join itself", "another name")
	late, last := false, output{}
	main.unless(func() string {
		if late {
			return "after its end it is refused only with: " + last.err
		}
		return ""
	}, "the token expires", func() bool {
		late = time.Now().After(over)
		last = pc3.wontServe("--join", short.Address, "--token", short.Token)
		return strings.Contains(last.err, "the token expired at ")
	})
	old := invitation{Token: short.Token, Address: good.Address}
	main.kill()
	gone := pc3.wontServe("--join", good.Address, "--token", foreigner.Token) // neither of its two addresses has a listener
	if gone.code == 0 || !strings.Contains(gone.err, "can't be reached at "+good.Address) || !strings.Contains(gone.err, "does modelops serve run there") {
		t.Error(gone)
	}
	main.launch()
	pc3.isRefused(old, "the token expired at ")
	pc3.isRefused(used, "used already, by pc2")
	pc3.joins(good)
	meet(main, pc2, pc3)
}

// TestVersionsTooFarApartDontJoin: a host whose protocol is two steps away is told both versions before its token is spent.
func TestVersionsTooFarApartDontJoin(t *testing.T) {
	main, pc2 := hostOf(t, "main_pc", ""), hostOf(t, "pc2", "")
	main.typed("cluster", "init")
	main.launch()
	r := main.invites()
	says := func(lines ...string) (last string) {
		c, err := tls.Dial("tcp", r.Address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(waitLimit))
		in := bufio.NewReader(c)
		for _, line := range lines {
			if _, err := io.WriteString(c, line+"\n"); err != nil {
				t.Fatal(err)
			}
			if last, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	if got := says("MODELOPS/2 join pc2"); !strings.Contains(got, "speaks MODELOPS/1, and not MODELOPS/2") {
		t.Error(got)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	for protocol, fits := range map[int]bool{2: true, 3: false} {
		request, err := json.Marshal(object{"host": "pc2", "request": csr, "version": "9.9", "protocol": protocol, "oldest": protocol - 1})
		if err != nil {
			t.Fatal(err)
		}
		got := says("MODELOPS/1 join pc2", string(request))
		both := strings.Contains(got, "pc2 runs modelops 9.9 with protocol 3, and main_pc runs ") && strings.Contains(got, "upgrade the older one")
		if unknown := strings.Contains(got, "isn't one of this host"); both == fits || unknown != fits {
			t.Errorf("protocol %d: %s", protocol, got)
		}
	}
	pc2.joins(r)
	meet(main, pc2)
}

// TestACertificateThatDoesntFit: certificates of one's own, of which a wrong one is refused with its reason at its host's start or by the other host, until
// the right one is put there.
func TestACertificateThatDoesntFit(t *testing.T) {
	ports := map[string]int{"main_pc": freePort(t), "pc2": freePort(t)}
	dir, year := t.TempDir(), 365*24*time.Hour
	ca := authorityOf(t, filepath.Join(dir, "ca"), time.Now().Add(-2*year))
	foreign := authorityOf(t, filepath.Join(dir, "foreign"), time.Now())
	of := func(host, other string) *daemon {
		d := prepare(t, strings.Replace(base, "host: main_pc", "host: "+host, 1)+fmt.Sprintf(
			"cluster: {port: %d, actors_port: 0, advertise: 127.0.0.1, ca: ca.crt, cert: host.crt, key: host.key, peers: [{host: %s, address: '127.0.0.1:%d'}]}\n", ports[host], other, ports[other]))
		d.write("ca.crt", mustRead(t, certs.CAFile(filepath.Join(dir, "ca"))))
		return d
	}
	main, pc2 := of("main_pc", "pc2"), of("pc2", "main_pc")
	main.issued(ca, "main_pc", time.Now())
	main.launch()
	sees := func(word string) {
		t.Helper()
		main.unless(func() string { return main.linked("pc2") }, "main_pc says of pc2: "+word, func() bool { return strings.Contains(main.cli("cluster").out, word) })
	}
	for name, c := range map[string]struct {
		ca    *certs.Authority
		host  string
		since time.Time
		says  string
	}{
		"another host's": {ca, "pc9", time.Now(), "the certificate is that of pc9, and this host is pc2"},
		"expired":        {ca, "pc2", time.Now().Add(-2 * year), "the certificate expired on "},
	} {
		pc2.issued(c.ca, c.host, c.since)
		if o := pc2.wontServe(); o.code == 0 || !strings.Contains(o.err, c.says) {
			t.Errorf("%s: %s", name, o)
		}
	}
	pc2.issued(foreign, "pc2", time.Now())
	pc2.launch()
	sees("its certificate isn't that of this member of the cluster: x509: certificate signed by unknown authority")
	pc2.issued(ca, "pc2", time.Now().Add(-2*year)) // while it runs
	sees("its certificate has expired or isn't valid yet")
	pc2.issued(ca, "pc9", time.Now())
	sees("certificate is valid for pc9, not pc2")
	if o := main.cli("models"); o.code != 0 {
		t.Errorf("a host with a wrong peer doesn't serve: %s", o)
	}
	pc2.issued(ca, "pc2", time.Now())
	meet(main, pc2)
}

// TestACopyOfAHostIsRefused: a second host with the certificate and the name of a member isn't linked while the first one is there.
func TestACopyOfAHostIsRefused(t *testing.T) {
	main, pc2, twin := hostOf(t, "main_pc", ""), hostOf(t, "pc2", ""), hostOf(t, "pc2", "")
	main.typed("cluster", "init")
	main.launch()
	pc2.joins(main.invites())
	meet(main, pc2)
	if err := os.CopyFS(filepath.Join(twin.state(), "cluster"), os.DirFS(filepath.Join(pc2.state(), "cluster"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(twin.state(), "cluster", "host.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	twin.launch()
	twin.unless(func() string { return twin.linked("main_pc") }, "the second pc2 is told", func() bool { return strings.Contains(twin.cli("cluster").out, "two hosts are named pc2") })
	meet(main, pc2)
	twin.stop()
	meet(main, pc2)
}

// TestTheInviterDiesWhileAHostJoins: kill -9 of the inviting host at each turn of the conversation. The guest has joined nothing or all, and the same
// command works when the inviter is back.
func TestTheInviterDiesWhileAHostJoins(t *testing.T) {
	main := hostOf(t, "main_pc", "")
	main.typed("cluster", "init")
	main.launch()
	for turn := 0; turn <= hangsUp; turn++ {
		guest := hostOf(t, fmt.Sprint("guest", turn), "")
		r := main.invites()
		p := &turns{target: r.Address, at: turn, reached: main.kill}
		r.Address = p.listen(t)
		guest.args = []string{"--join", r.Address, "--token", r.Token}
		guest.spawn()
		p.await(t)
		if turn < hangsUp { // it isn't told, and ends
			guest.awaitExit(waitLimit)
			if code := guest.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(guest.log.String(), "host main_pc can't be reached at ") {
				t.Errorf("turn %d: exit code %d: %s", turn, code, guest.log)
			}
			if _, err := os.Stat(filepath.Join(guest.state(), "cluster")); err == nil {
				t.Errorf("turn %d: half joined", turn)
			}
		}
		main.launch()
		if turn < hangsUp {
			guest.launch()
		} else {
			guest.until(startLimit, "the guest is up", guest.announced)
		}
		meet(main, guest)
		guest.stop()
	}
}

// turns is a way to an inviter that counts who speaks: turn 0 is the connection, and from then on each change of the side that speaks. When a turn is
// reached its words aren't passed on, and its connection ends. Later ones pass.
type turns struct {
	target  string
	at      int
	reached func()

	mu   sync.Mutex
	turn int
	last int // who spoke last: 1 is the guest
	once sync.Once
	over chan struct{}
}

// hangsUp is the turn after the answer that makes the guest a member: guest and inviter speak three times each, and then the guest hangs up.
const hangsUp = 7

// listen returns the address of the way.
func (p *turns) listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p.over = make(chan struct{})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(in)
		}
	}()
	return l.Addr().String()
}

func (p *turns) await(t *testing.T) {
	t.Helper()
	select {
	case <-p.over:
	case <-time.After(waitLimit):
		t.Fatalf("turn %d wasn't reached: the conversation is at %d", p.at, p.turn)
	}
}

func (p *turns) pass(in net.Conn) {
	defer in.Close()
	if p.at == 0 && !p.speaks(0) {
		return
	}
	p.mu.Lock()
	first := p.turn < p.at
	p.mu.Unlock()
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer out.Close()
	var both sync.WaitGroup
	copies := func(to, from net.Conn, side int) {
		for buf := make([]byte, 64<<10); ; {
			n, err := from.Read(buf)
			if n > 0 && first && !p.speaks(side) {
				_ = in.Close()
				_ = out.Close()
				return
			}
			if _, bad := to.Write(buf[:n]); bad != nil || err != nil {
				_ = to.(*net.TCPConn).CloseWrite()
				return
			}
		}
	}
	both.Go(func() { copies(out, in, 1) })
	both.Go(func() { copies(in, out, 2) })
	both.Wait()
}

// speaks notes who speaks, and tells whether it is passed on.
func (p *turns) speaks(side int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if side != p.last {
		p.turn, p.last = p.turn+1, side
	}
	if p.turn < p.at {
		return true
	}
	over := true
	p.once.Do(func() {
		over = false
		p.reached()
		close(p.over)
	})
	return over && side == 0
}

// authorityOf makes a CA.
func authorityOf(t *testing.T, dir string, since time.Time) *certs.Authority {
	t.Helper()
	a, _, err := certs.Init(dir, "e2e", since)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issued puts a certificate for a host, and its key, beside the configuration.
func (d *daemon) issued(ca *certs.Authority, host string, since time.Time) {
	d.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		d.t.Fatal(err)
	}
	cert, err := ca.IssueMember(host, key.Public(), since)
	if err != nil {
		d.t.Fatal(err)
	}
	d.write("host.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	d.write("host.crt", string(cert))
}

// TestARemovedHostIsInvitedAgain: of three hosts one is removed, is cut off by both others, is invited again by one of them and stays a member of all,
// also after starts. It has moved to another port meanwhile, and is found there.
func TestARemovedHostIsInvitedAgain(t *testing.T) {
	one := func(name string) string {
		return "models: {declare: {" + name + ": {cmd: 'true ${PORT}', vram_mb: 100}}}\n"
	}
	main, pc2, pc3 := hostOf(t, "main_pc", one("both")), hostOf(t, "pc2", one("both")), hostOf(t, "pc3", one("alone"))
	main.typed("cluster", "init")
	main.launch()
	for _, d := range []*daemon{pc2, pc3} {
		d.joins(main.invites())
	}
	meet(main, pc2, pc3)
	main.until(waitLimit, "pc3's models are known", func() bool { return strings.Contains(main.cli("models").out, "alone") })
	main.prints("cluster remove pc3", "pc3 is no member any more", "pc3 alone declares alone: requests for it are refused here from now on", "works alone")
	for _, d := range []*daemon{main, pc2} {
		d.until(waitLimit, "pc3 is gone", func() bool { return !strings.Contains(d.cli("cluster").out, "pc3") })
	}
	pc3.until(waitLimit, "pc3 is told", func() bool {
		return strings.Contains(pc3.cli("cluster").out, "pc3 is no member of the cluster of main_pc (if it was removed, let it join again")
	})
	pc3.stop()
	config := mustRead(t, filepath.Join(pc3.dir, "cluster.yaml"))
	port := config[strings.Index(config, "{port: "):strings.Index(config, ", actors_port")]
	pc3.write("cluster.yaml", strings.Replace(config, port, fmt.Sprint("{port: ", freePort(t)), 1))
	pc3.joins(main.invites())
	meet(main, pc2, pc3)
	for _, d := range []*daemon{pc2, main, pc3} {
		d.stop()
		d.launch()
		meet(main, pc2, pc3)
	}
	pc3.stop()
	pc3.write("cluster.yaml", config) // back at its former port, without joining
	pc3.launch()
	meet(main, pc2, pc3)
	main.stop()
	main.launch() // it has written the address down
	meet(main, pc2, pc3)
	for _, d := range []*daemon{main, pc2, pc3} {
		if out := d.typed("cluster"); strings.Contains(out, "was removed") || strings.Count(out, "alive") != 3 {
			t.Error(out)
		}
	}
}
