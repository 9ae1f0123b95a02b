package process

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of a Supervisor. Zero values mean the defaults in brackets.
type Options struct {
	Log      *slog.Logger // [discard]
	LogLimit int64        // bytes a log may grow to before its older part is dropped [32 MiB]
	// Owner is the identity of the program that starts the processes, beyond its own life. Each process carries it, so that a later start
	// finds processes that no record names any more. [none: such processes are not found]
	Owner string
	// Logs is where the processes' logs lie. A process that hides its environment is found by the log that it writes to. [none: only by a log
	// that the caller names]
	Logs Logs
}

// Supervisor starts, finds, watches and stops processes. Several may work on the same processes, in one program or one
// after the other. It restarts nothing. Its methods may be called at the same time.
type Supervisor struct {
	log      *slog.Logger
	logLimit int64
	owner    string
	logs     Logs
	killTime time.Duration
	kernel   atomic.Pointer[string] // the boot id, once it could be read

	mu       sync.Mutex // held while a nonce is looked for and started, so that it starts once, and Find sees each start whole
	children map[string]*child
	closed   bool // nothing is started any more
}

// New makes a Supervisor. It touches no process until it is asked to.
func New(o Options) *Supervisor {
	s := &Supervisor{
		log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), logLimit: cmp.Or(o.LogLimit, 32<<20),
		owner: o.Owner, logs: o.Logs, killTime: KillTime, children: map[string]*child{},
	}
	_, _ = s.bootID()
	return s
}

// bootID is the kernel's boot id. It is read again while it could not be read: without it nothing can be proven.
func (s *Supervisor) bootID() (string, error) {
	if id := s.kernel.Load(); id != nil {
		return *id, nil
	}
	id, err := kernelBootID()
	if err == nil {
		s.kernel.Store(&id)
	}
	return id, err
}

// child is a process that this Supervisor started. Only the parent can reap it, and it always learns the exit status.
type child struct {
	handle Handle
	cmd    *exec.Cmd
	done   chan struct{} // closed once reaped; state is readable then
	state  *os.ProcessState
}

// await returns nil once the child is reaped, and ctx's error when that comes first.
func (c *child) await(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal reaches the child, or none: os.Process sends nothing after Wait, and until then the pid is the child's.
func (c *child) signal(sig syscall.Signal) error {
	return c.cmd.Process.Signal(sig)
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// childOf is the child with this handle, nil when another program started it.
func (s *Supervisor) childOf(h Handle) *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.children[h.Nonce]
	if c == nil || c.handle.Pid != h.Pid || c.handle.StartTicks != h.StartTicks {
		return nil
	}
	return c
}

// keptChildren bounds how many ended children are remembered for callers that still ask how they ended.
const keptChildren = 256

// keep remembers a child. The caller holds s.mu.
func (s *Supervisor) keep(c *child) {
	if len(s.children) >= keptChildren {
		maps.DeleteFunc(s.children, func(_ string, c *child) bool { return c.ended() })
	}
	s.children[c.handle.Nonce] = c
}

// reap takes the child's exit status. It waits on a pidfd first: Wait alone would hold a thread for as long as the child
// lives.
func (c *child) reap() {
	if p, err := openPidfd(c.handle.Pid); err == nil {
		_ = p.Wait(context.Background())
		p.Close()
	}
	_ = c.cmd.Wait()
	c.state = c.cmd.ProcessState
	close(c.done)
}

// Sleep waits for d, or until ctx ends, and then gives ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
