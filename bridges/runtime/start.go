package runtime

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"modelops/messages"
)

// defaultURL is where a command answers when its spec doesn't say.
const defaultURL = "http://127.0.0.1:${PORT}"

// Start starts a worker and returns at once; AwaitReady tells when it can work. It is idempotent by nonce: a living worker
// that carries it is returned instead, so a caller that was killed before it could write the first one down may ask again.
// The process is bound to no context: it outlives ctx and us. ModelLoadError tells what is wrong with spec or program.
func (r *Runtime) Start(ctx context.Context, spec *messages.ModelSpec, placement *messages.Placement, nonce string) (*messages.Worker, error) {
	k, err := r.kindOf(spec)
	if err != nil {
		return nil, err
	}
	if nonce == "" {
		return nil, messages.NewError(messages.InvalidArgument, subject(spec), "a worker needs a nonce")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k.remote {
		return r.attach(k, spec, nonce)
	}
	context := r.contextFor(ctx, k, spec)
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.living(nonce); w != nil {
		r.log.Info("worker found again", "model", spec.Name, "pid", w.Pid)
		return w, nil
	}
	l, err := r.plan(k, spec, placement, nonce, context)
	if err != nil {
		return nil, asLoadError(spec, err)
	}
	return r.spawn(spec, l)
}

// attach makes the worker of a remote URL.
func (r *Runtime) attach(k kind, spec *messages.ModelSpec, nonce string) (*messages.Worker, error) {
	declared := spec.Url
	if declared == "" && k.attached != nil {
		declared = r.o.OllamaURL
	}
	where, err := macros{values: map[string]string{"MODEL_ID": publicName(spec)}, env: r.env}.expand(declared)
	if err != nil {
		return nil, asLoadError(spec, err)
	}
	if u, err := url.Parse(where); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, messages.Errorf(messages.ModelLoadError, subject(spec), "url %q is no http address", declared).
			WithHint("give the server's base URL, such as https://example.org/v1")
	}
	if _, err := r.apiKey(spec); err != nil {
		return nil, err
	}
	return &messages.Worker{Nonce: nonce, Url: baseURL(where), Remote: true}, nil
}

// living is the running worker with this nonce, rebuilt from its environment. What is left of a dead one is ended: it
// would hold memory and compete with the next worker.
func (r *Runtime) living(nonce string) *messages.Worker {
	leader, others := findByNonce(nonce)
	if leader == nil {
		for _, s := range others {
			r.endMember(s)
		}
		return nil
	}
	port, _ := strconv.ParseUint(environOf(leader.pid, portVar), 10, 16)
	return &messages.Worker{
		Pid: leader.pid, StartTicks: leader.startTicks, Nonce: nonce, KernelBootId: r.bootID, Port: uint32(port),
		Url: environOf(leader.pid, urlVar), LogPath: environOf(leader.pid, logVar), Fingerprint: environOf(leader.pid, printVar),
	}
}

// Find looks for the living worker with this nonce; nil when there is none.
func (r *Runtime) Find(ctx context.Context, nonce string) (*messages.Worker, error) {
	if nonce == "" {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.living(nonce), ctx.Err()
}

// spawn starts the process. The caller holds r.mu.
func (r *Runtime) spawn(spec *messages.ModelSpec, l *launch) (*messages.Worker, error) {
	out, err := r.openLog(spec.Name, l.worker.Nonce)
	if err != nil {
		return nil, messages.Errorf(messages.ModelLoadError, subject(spec), "the worker's log can't be written: %w", err).
			WithHint("check the log folder's rights and free space")
	}
	defer out.Close()
	w := l.worker
	w.LogPath = out.Name()
	cmd := exec.Command(l.argv[0], l.argv[1:]...)
	cmd.Env = append(l.env,
		nonceVar+"="+w.Nonce, modelVar+"="+spec.Name, portVar+"="+strconv.FormatUint(uint64(w.Port), 10),
		urlVar+"="+w.Url, logVar+"="+w.LogPath, printVar+"="+w.Fingerprint)
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own, so that our terminal's signals don't reach it. No Pdeathsig: it shall outlive us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, startFailure(spec, l.argv[0], err)
	}
	w.Pid = int64(cmd.Process.Pid)
	s, err := readStat(w.Pid) // an unreaped child keeps its entry, even when it has ended already
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, messages.Errorf(messages.ModelLoadError, subject(spec), "the worker's start time can't be read: %w", err).
			WithHint("modelops needs /proc")
	}
	w.StartTicks = s.startTicks
	awaitEnviron(w.Pid)
	c := &child{worker: w, cmd: cmd, done: make(chan struct{})}
	r.keep(c)
	go r.reap(c)
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "worker started",
		slog.String("model", spec.Name), slog.Int64("pid", w.Pid), slog.String("url", w.Url))
	return w, nil
}

// awaitEnviron waits until a new program's environment can be seen: the kernel lets Start return a moment before that, and
// in this moment nobody else would recognise the worker.
func awaitEnviron(pid int64) {
	for range 20 {
		if b, err := os.ReadFile(procPath(pid, "environ")); err != nil || len(b) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// keptChildren bounds how many ended children are remembered for those who still ask how they ended.
const keptChildren = 256

// keep remembers a child. The caller holds r.mu.
func (r *Runtime) keep(c *child) {
	if len(r.children) >= keptChildren {
		maps.DeleteFunc(r.children, func(_ string, c *child) bool { return c.ended() })
	}
	r.children[c.worker.Nonce] = c
}

// reap takes the child's exit status. It waits on a pidfd first: Wait alone would hold a thread for as long as the worker
// lives.
func (r *Runtime) reap(c *child) {
	if g, err := openGrip(c.worker.Pid); err == nil {
		_ = g.wait(context.Background())
		g.Close()
	}
	_ = c.cmd.Wait()
	c.state = c.cmd.ProcessState
	close(c.done)
}

func startFailure(spec *messages.ModelSpec, program string, err error) error {
	e := messages.Errorf(messages.ModelLoadError, subject(spec), "%s can't be started: %w", program, err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return e.WithHint("install it, put it on PATH or write its whole path in the configuration")
	}
	return e.WithHint("check that modelops may execute it")
}

// asLoadError tells which model a fault in its spec belongs to.
func asLoadError(spec *messages.ModelSpec, err error) error {
	e := *messages.AsError(err)
	e.Code, e.Subject = messages.ModelLoadError, subject(spec)
	return &e
}
