package runtime

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"modelops/messages"
)

// killTime is how long the kernel may take to end what was sent SIGKILL; a process that hangs in a driver takes longer.
const killTime = 5 * time.Second

// Stop ends a worker and all it started, also what left its group or session: cmdStop when there is one, SIGTERM, and
// SIGKILL for whoever is left after the options' StopGrace. Only processes that prove themselves are signalled. It is nil
// when nothing of the worker is left, ModelUnloadError when something can't be ended. When ctx ends it returns its error,
// and the rest is still to be done. Of an attached server nothing is ended: it unloads the model.
func (r *Runtime) Stop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
	return r.StopWithin(ctx, spec, w, r.o.StopGrace)
}

// StopWithin is Stop with a grace of its own; 0 means the options'.
func (r *Runtime) StopWithin(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, grace time.Duration) error {
	if w.Remote {
		return r.release(ctx, spec, w)
	}
	if w.KernelBootId != r.bootID {
		return nil
	}
	if grace <= 0 {
		grace = r.o.StopGrace
	}
	until := time.Now().Add(grace)
	f := r.family(w)
	if f.leader != nil {
		defer f.leader.Close()
		r.runCmdStop(ctx, spec, w, grace)
	}
	f.signal(syscall.SIGTERM)
	if err := f.await(ctx, until); err != nil {
		return err
	}
	for end := time.Now().Add(killTime); f.alive(); {
		f.signal(syscall.SIGKILL)
		if time.Now().After(end) {
			return messages.Errorf(messages.ModelUnloadError, subject(spec), "the worker (pid %d) is still there %s after SIGKILL", w.Pid, killTime).
				WithHint("it hangs in the kernel, most likely in a driver: see dmesg; its memory is not free").WithRetry(killTime)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	f.reap()
	return r.forget(ctx, w)
}

// forget drops what we hold of a child once it is reaped.
func (r *Runtime) forget(ctx context.Context, w *messages.Worker) error {
	c := r.childOf(w)
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// family is a worker with all that it started. It is looked up anew each time, and remembers whom it has seen: a process
// whose parent has died is no longer found by its parent.
type family struct {
	worker *messages.Worker
	leader *grip // nil when the worker itself is gone
	seen   map[int64]uint64
}

func (r *Runtime) family(w *messages.Worker) *family {
	f := &family{worker: w, seen: map[int64]uint64{}}
	f.leader, _ = r.prove(w)
	return f
}

// members finds the living processes of a worker without the worker itself.
func (r *Runtime) members(w *messages.Worker) []stat {
	f := r.family(w)
	if f.leader != nil {
		defer f.leader.Close()
	}
	return f.members()
}

// members are the descendants, those in the worker's group, and those that carry its nonce; each younger than the worker.
// Descent and group count only while the worker itself is proven, or when they were seen then.
func (f *family) members() []stat {
	all := processes()
	leading := f.leader != nil && !f.leader.ended()
	var below map[int64]bool
	if leading {
		below = map[int64]bool{}
		for _, s := range descendants(f.worker.Pid, all) {
			below[s.pid] = true
		}
	}
	var out []stat
	for _, s := range all {
		if s.pid == f.worker.Pid || s.dead() || s.startTicks < f.worker.StartTicks {
			continue
		}
		known := f.seen[s.pid] == s.startTicks && s.startTicks > 0
		inGroup := leading && s.group == f.worker.Pid
		if known || inGroup || below[s.pid] || environOf(s.pid, nonceVar) == f.worker.Nonce {
			f.seen[s.pid] = s.startTicks
			out = append(out, s)
		}
	}
	return out
}

// alive tells whether anything of the worker is left.
func (f *family) alive() bool {
	return f.leader != nil && !f.leader.ended() || len(f.members()) > 0
}

// signal sends to each one that is left, youngest last, each by its pidfd.
func (f *family) signal(sig syscall.Signal) {
	members := f.members()
	if f.leader != nil && !f.leader.ended() {
		_ = f.leader.signal(sig)
	}
	slices.SortFunc(members, func(a, b stat) int { return int(int64(a.startTicks) - int64(b.startTicks)) })
	for _, s := range members {
		signalExactly(s, sig)
	}
}

// signalExactly reaches the process with this pid and start time, or nobody.
func signalExactly(s stat, sig syscall.Signal) {
	g, err := openGrip(s.pid)
	if err != nil {
		return
	}
	defer g.Close()
	if now, err := readStat(s.pid); err == nil && now.startTicks == s.startTicks {
		_ = g.signal(sig)
	}
}

// endLeft kills what a worker that was proven and has died left behind, and returns when that is gone; who hangs in the
// kernel is waited for no longer than killTime. There is no grace: nobody can stop them in order any more, and the next
// attempt needs their memory.
func (r *Runtime) endLeft(ctx context.Context, w *messages.Worker) error {
	f := r.family(w)
	if f.leader != nil {
		defer f.leader.Close()
	}
	for _, s := range f.members() {
		r.endMember(s)
	}
	for end := time.Now().Add(killTime); len(f.members()) > 0 && time.Now().Before(end); {
		f.signal(syscall.SIGKILL)
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	f.reap()
	return nil
}

// endMember kills what a dead worker left behind.
func (r *Runtime) endMember(s stat) {
	r.log.Warn("a dead worker's child is ended", "pid", s.pid)
	signalExactly(s, syscall.SIGKILL)
}

// await returns when nothing is left or at the time given.
func (f *family) await(ctx context.Context, until time.Time) error {
	if f.leader != nil {
		limited, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		_ = f.leader.wait(limited)
	}
	for pause := 5 * time.Millisecond; f.alive() && time.Now().Before(until); pause = min(2*pause, 200*time.Millisecond) {
		if err := sleep(ctx, min(pause, time.Until(until))); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// reap takes the entries of orphans that fell to us, as they do where modelops is pid 1. Others' are not ours to take, and
// the worker itself is reaped by whoever started it.
func (f *family) reap() {
	for pid := range f.seen {
		var status unix.WaitStatus
		_, _ = unix.Wait4(int(pid), &status, unix.WNOHANG, nil)
	}
}

// runCmdStop runs the model's own way to end, within grace. Its failure is logged: SIGTERM follows in any case.
func (r *Runtime) runCmdStop(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, grace time.Duration) {
	if spec.CmdStop == "" {
		return
	}
	m := r.macros(kind{}, spec, w.Port, spec.ContextLength)
	m.values["PID"] = strconv.FormatInt(w.Pid, 10)
	words, err := splitWords(spec.CmdStop)
	if err == nil {
		words, err = m.expandAll(words)
	}
	if err == nil && len(words) == 0 {
		err = errors.New("it is empty")
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.WaitDelay = time.Second
		if cmd.Env, err = r.workerEnv(kind{}, spec, nil, m); err == nil {
			err = cmd.Run()
		}
	}
	if err != nil {
		r.log.Warn("cmdStop failed", "model", spec.Name, "err", err)
	}
}
