package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"modelops/messages"
)

// Start starts a process and returns at once. It is idempotent by nonce: a living process that carries the nonce is
// returned instead, and started is false. So a caller that was killed before it recorded the first one may ask again.
//
// ctx bounds the call, not the process, which outlives it. A ctx that ended before the fork starts nothing: either Start
// returns its error, or a Find that begins later sees the process.
//
// InvalidArgument and FailedPrecondition tell what is wrong with the spec or its program. Unavailable tells that nothing was started, because
// a process with the nonce may live, or because means are lacking (descriptors, memory): the caller asks again later.
func (s *Supervisor) Start(ctx context.Context, spec Spec) (h Handle, started bool, err error) {
	if err := spec.check(); err != nil {
		return Handle{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Handle{}, false, err
	}
	if s.closed {
		return Handle{}, false, messages.NewError(messages.Unavailable, spec.Nonce, "nothing is started any more: this program is stopping")
	}
	switch h, live, why := s.living(spec.Nonce, spec.LogPath); live {
	case Alive:
		return h, false, nil
	case Unknown:
		return Handle{}, false, cantKnow(spec.Nonce, why)
	}
	h, err = s.spawn(ctx, spec)
	return h, err == nil, err
}

// spawn starts the process. The caller holds s.mu.
func (s *Supervisor) spawn(ctx context.Context, spec Spec) (Handle, error) {
	boot, err := s.bootID()
	if err != nil {
		return Handle{}, lacking(spec, err)
	}
	out, err := openLog(spec.LogPath)
	if Starved(err) {
		return Handle{}, lacking(spec, err)
	}
	if err != nil {
		return Handle{}, messages.Errorf(messages.FailedPrecondition, spec.Nonce, "the log can't be written: %w", err).
			WithHint("check the log folder's rights and free space").WithRetry(Passes(err))
	}
	defer out.Close()
	h := Handle{BootID: boot, Nonce: spec.Nonce, Fingerprint: spec.fingerprint(), LogPath: spec.LogPath}
	cmd := exec.Command(spec.Argv[0], spec.Argv[1:]...)
	cmd.Dir = spec.Dir
	cmd.Env = append(spec.Env[:len(spec.Env):len(spec.Env)],
		nonceVar+"="+h.Nonce, logVar+"="+h.LogPath, fingerprintVar+"="+h.Fingerprint)
	if s.owner != "" {
		cmd.Env = append(cmd.Env, ownerVar+"="+s.owner)
	}
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own keeps our terminal's signals away from it. There is no Pdeathsig, because it outlives us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// ctx is checked last under the lock that Find takes: after a cancellation, a Find that finds nothing is reliable.
	if err := ctx.Err(); err != nil {
		return Handle{}, err
	}
	if err := cmd.Start(); err != nil {
		return Handle{}, startFailure(spec, err)
	}
	h.Pid = int64(cmd.Process.Pid)
	st, err := readStat(h.Pid) // a child that is not reaped keeps its entry, even when it has ended already
	c := &child{handle: h, cmd: cmd, done: make(chan struct{})}
	if err != nil {
		return Handle{}, s.unseen(ctx, c, spec, err)
	}
	h.StartTicks = st.startTicks
	c.handle = h
	awaitEnviron(h.Pid)
	s.keep(c)
	go c.reap()
	return h, nil
}

// unseen ends a process that was started and whose start time can't be read. One that can't be ended either, because its program runs as another
// user, stays among the children: its nonce starts nothing more while it lives.
func (s *Supervisor) unseen(ctx context.Context, c *child, spec Spec, why error) error {
	_ = c.cmd.Process.Kill()
	s.keep(c)
	go c.reap()
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.killTime)
	defer cancel()
	switch {
	case c.await(ended) != nil:
		return cantKnow(spec.Nonce, hidden{spec.LogPath})
	case Starved(why):
		return lacking(spec, why)
	}
	return messages.Errorf(messages.FailedPrecondition, spec.Nonce, "the start time of pid %d can't be read: %w", c.handle.Pid, why).
		WithHint("modelops needs a /proc that shows it the processes that it starts: this one is hidden (hidepid)").WithRetry(retryStart)
}

// awaitEnviron waits until a new program's environment can be read. The kernel lets cmd.Start return a moment before that,
// and until then Find does not recognise the process.
func awaitEnviron(pid int64) {
	for range 20 {
		if b, err := os.ReadFile(procPath(pid, "environ")); err != nil || len(b) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// lacking is the error for a process that was not started for lack of means.
func lacking(spec Spec, err error) error {
	return messages.Errorf(messages.Unavailable, spec.Nonce, "%s can't be started now: %w", spec.Argv[0], err).WithRetry(unknownPause).
		WithHint("this program lacks descriptors, processes or memory: see its limits (ulimit -a) and those of its unit or container")
}

func startFailure(spec Spec, err error) error {
	if Starved(err) || errors.Is(err, syscall.EAGAIN) { // EAGAIN: no more processes
		return lacking(spec, err)
	}
	if _, noDir := os.Stat(spec.Dir); spec.Dir != "" && noDir != nil {
		return messages.Errorf(messages.FailedPrecondition, spec.Nonce, "the working directory can't be used: %w", noDir)
	}
	e := messages.Errorf(messages.FailedPrecondition, spec.Nonce, "%s can't be started: %w", spec.Argv[0], err).WithRetry(Passes(err))
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return e.WithHint("install it, put it on PATH or write its whole path in the configuration")
	}
	return e.WithHint("check that modelops may execute it")
}

// retryStart is when a start that failed for want of something that passes should be tried again.
const retryStart = time.Second

// Passes is when to try again after an error that says that memory, descriptors, processes or space are short, or the program is being written; 0 = trying again
// gives the same error.
func Passes(err error) time.Duration {
	for _, short := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.ENOSPC, syscall.EDQUOT, syscall.ETXTBSY, syscall.EIO} {
		if errors.Is(err, short) {
			return retryStart
		}
	}
	return 0
}
