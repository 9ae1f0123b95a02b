package system_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"modelops/actors/cluster"
	"modelops/actors/cluster/system"
	"modelops/messages"
)

// Two members in one process are a data race of the library, so that each is a process of its own: this test binary, with the variable below.
const memberVariable = "MODELOPS_TEST_MEMBER"

func TestMain(m *testing.M) {
	if host := os.Getenv(memberVariable); host != "" {
		member(host, strings.Split(os.Getenv(memberVariable+"_PEERS"), ","))
		return
	}
	goleak.VerifyTestMain(m)
}

// member is one host. It writes its heartbeats and what its arbiter is told to its output, and reads heartbeats and questions from its input.
func member(host string, peers []string) {
	say := &speaker{}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var c *cluster.Cluster
	so := system.Options{Host: host, BootID: fmt.Sprint(os.Getpid()), Listen: "127.0.0.1", Log: log}
	if certs := (certificates{os.Getenv(memberVariable + "_CERTS")}); certs.dir != "" {
		so.Server, so.Client = certs.server(host), func(address string) *tls.Config {
			if to := c.WhoseActors(address); to != "" {
				return certs.client(host, to)
			}
			return nil
		}
	}
	s, err := system.New(so)
	if err != nil {
		panic(err)
	}
	o := cluster.Options{Host: host, BootID: fmt.Sprint(os.Getpid()), Beats: say, Arbiter: say, Actors: s.Address, Settle: s.Settle, Log: log}
	for _, p := range peers {
		o.Peers = append(o.Peers, cluster.Peer{Host: p})
	}
	c = cluster.New(o)
	s.Start(c.Hold, c.SeatActors)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		what, rest, _ := strings.Cut(in.Text(), " ")
		switch what {
		case "beat":
			b, _ := base64.StdEncoding.DecodeString(rest)
			h := new(messages.Heartbeat)
			if proto.Unmarshal(b, h) == nil {
				c.Hear(h)
			}
		case "ask":
			seat, err := s.Ask(ctx)
			say.line("answer", seat.GetHost(), err)
		}
	}
	cancel()
	running.Wait()
	s.Stop()
}

type speaker struct{ mu sync.Mutex }

func (s *speaker) line(words ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Println(words...)
}

func (s *speaker) Beat(h *messages.Heartbeat) {
	b, _ := proto.Marshal(h)
	s.line("beat", base64.StdEncoding.EncodeToString(b))
}

func (s *speaker) TakeOver(_ context.Context, above uint64, _ []string) (uint64, error) {
	s.line("takes", above+1)
	return above + 1, nil
}

func (s *speaker) StandDown(context.Context, string) { s.line("stands down") }

// lab runs members and carries their heartbeats.
type lab struct {
	t     *testing.T
	mu    sync.Mutex
	hosts map[string]*process
	cut   bool
	said  chan said
	certs string // where certificates are; empty = there are none
}

type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	mu  sync.Mutex
}

type said struct{ host, line string }

func (l *lab) start(host string, peers ...string) *process {
	l.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memberVariable+"="+host, memberVariable+"_PEERS="+strings.Join(peers, ","), memberVariable+"_CERTS="+l.certs)
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	p := &process{cmd: cmd, in: in}
	l.mu.Lock()
	l.hosts[host] = p
	l.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			l.carry(host, lines.Text())
		}
	}()
	l.t.Cleanup(func() {
		_ = in.Close()
		<-done
		_ = cmd.Wait()
	})
	return p
}

func (l *lab) carry(host, line string) {
	if !strings.HasPrefix(line, "beat ") {
		l.said <- said{host, line}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, p := range l.hosts {
		if other != host && !l.cut {
			p.tell(line)
		}
	}
}

func (p *process) tell(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.in, line)
}

func (l *lab) cuts(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// await reads what the members say until one says that line.
func (l *lab) await(host, line string) {
	l.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case s := <-l.said:
			if s.host == host && strings.HasPrefix(s.line, line) {
				return
			}
		case <-limit:
			l.t.Fatalf("%s never said %q", host, line)
		}
	}
}

// answers asks a member until the seat's actor answers from the host.
func (l *lab) answers(p *process, host, seat string) {
	l.t.Helper()
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		p.tell("ask")
		s := <-l.said
		for s.host != host || !strings.HasPrefix(s.line, "answer") {
			s = <-l.said
		}
		if s.line == "answer "+seat+" <nil>" {
			return
		}
	}
	l.t.Fatalf("%s got no answer from the seat at %s", host, seat)
}

func TestSeatMovesBetweenProcesses(t *testing.T) {
	for _, with := range []string{"plain", "TLS"} {
		t.Run(with, func(t *testing.T) {
			l := &lab{t: t, hosts: map[string]*process{}, said: make(chan said, 1000)}
			if with == "TLS" {
				l.certs = newCertificates(t, "main_pc", "pc2").dir
			}
			l.moves()
		})
	}
}

// moves tells the story of a seat: a cut, a heal, a death.
func (l *lab) moves() {
	t := l.t
	holder, other := "pc2", "main_pc" // in the order of the seat, which their names give
	a, b := l.start(holder, other), l.start(other, holder)
	l.await(holder, "takes")
	l.answers(b, other, holder)
	l.answers(a, holder, holder)

	l.cuts(true)
	began := time.Now()
	l.await(other, "takes")
	t.Logf("cut: the other side has its own arbiter after %v", time.Since(began).Round(time.Millisecond))
	l.answers(b, other, other)
	l.cuts(false)
	began = time.Now()
	l.await(other, "stands down")
	t.Logf("healed: one arbiter after %v", time.Since(began).Round(time.Millisecond))
	l.answers(b, other, holder)
	t.Logf("healed: the seat's actor answers the other host after %v", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	_ = a.cmd.Process.Kill()
	l.await(other, "takes")
	t.Logf("kill -9: the other host's arbiter has taken over after %v", time.Since(began).Round(time.Millisecond))
	l.answers(b, other, other)
	t.Logf("kill -9: the seat's actor answers after %v", time.Since(began).Round(time.Millisecond))
}
