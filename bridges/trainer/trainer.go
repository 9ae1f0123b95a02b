package trainer

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"modelops/bridges/process"
	"modelops/messages"
)

// Options of a Trainer. Zero values mean the defaults in brackets.
type Options struct {
	Dir       string // the folder of all jobs' files
	Self      string // this program, whose command runner runs an attempt
	Processes *process.Supervisor
	// Env is our environment: attempts inherit an allow-list of it, PassEnv, and what their recipes declare; never Withheld.
	Env               process.Environment
	PassEnv, Withheld []string
	// DeviceEnv is what binds a program to the devices of its placement. [nothing]
	DeviceEnv func(*messages.Placement) []string
	// MinFree is the space that must be left on the disk when an attempt starts, in bytes. [64 MiB]
	MinFree uint64
	// Measure is the memory that an attempt's runner and its children hold on each device of its placement, in bytes. [not measured]
	Measure func(ctx context.Context, job string, pid int64) (uint64, error)
	// Secret is the N-th secret that stands in a recipe. [there is none]
	Secret func(recipe string, n int) string
	// Hide takes secrets out of what a trainer said: its last words are journaled. [nothing is hidden]
	Hide func(text string) string
	Log  *slog.Logger // [discard]
}

// Trainer starts, follows and ends the attempts of this host's jobs. Several may work on the same folder, one after the other.
type Trainer struct {
	o     Options
	peaks peaks
}

// New makes a Trainer. It touches nothing until it is asked to.
func New(o Options) *Trainer {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	o.MinFree = cmp.Or(o.MinFree, uint64(64*messages.MiB))
	return &Trainer{o: o}
}

func (t *Trainer) folder(job string) folder { return folder(filepath.Join(t.o.Dir, job)) }

// Attempt says which attempt of a job is meant, and how it begins.
type Attempt struct {
	Job       string // its name on this host
	Number    uint64
	Nonce     string
	Spec      *messages.JobSpec
	Placement *messages.Placement
	Resume    *messages.Checkpoint // nil = from the beginning
	Smaller   bool                 // with the recipe's settings for less memory
	WallLeft  time.Duration        // 0 = no bound
}

// Check refuses a specification of which it is plain that no attempt can succeed: a file or program that isn't there, a word without meaning, too little disk.
func (t *Trainer) Check(job string, spec *messages.JobSpec) error {
	for _, f := range []struct{ what, path string }{{"dataset", spec.GetDataset()}, {"eval_dataset", spec.GetEvalDataset()}, {"base", spec.GetBase()}} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			return messages.Errorf(messages.InvalidArgument, f.what, "%s can't be read: %w", f.path, errors.Unwrap(err)).
				WithHint("name a file or folder of this host that modelops may read")
		}
	}
	r := spec.GetRecipe()
	if len(r.GetCommand()) == 0 {
		return messages.NewError(messages.InvalidArgument, r.GetName(), "the recipe has no command")
	}
	m := t.macros(job, spec, map[string]string{"RESUME": "", "ATTEMPT": "1", "DEVICES": "1"}, false)
	r = t.resolved(r, m)
	for _, words := range [][]string{r.Command, naming(r.Watch, ""), naming(r.Cancel, ""), r.Env} {
		if _, err := expand(words, m); err != nil {
			return messages.Errorf(messages.InvalidArgument, "recipe "+r.GetName(), "%w", err)
		}
	}
	return t.room(spec)
}

// room tells whether the disk holds what an attempt writes: its result and two checkpoints of three times the base's size, which weights with an optimizer's state take.
func (t *Trainer) room(spec *messages.JobSpec) error {
	need := t.o.MinFree
	if st, err := os.Stat(spec.GetBase()); err == nil && !st.IsDir() {
		need += 7 * uint64(st.Size())
	}
	dir := t.o.Dir
	var fsys unix.Statfs_t
	for ; unix.Statfs(dir, &fsys) != nil; dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
	if free := fsys.Bavail * uint64(fsys.Bsize); free < need {
		return messages.Errorf(messages.FailedPrecondition, t.o.Dir, "the job needs about %s of disk for its result and checkpoints, and %s are free", messages.FormatBytes(need), messages.FormatBytes(free)).
			WithHint("make room, or move data_dir to a larger disk")
	}
	return nil
}

// Start starts the runner of an attempt, or finds the one that was started, alive or ended: no attempt is run twice. The runner of one that has ended has no pid.
// Unavailable: nothing is known or changed, it is tried again. Other errors say what is wrong with the job.
func (t *Trainer) Start(ctx context.Context, a Attempt) (*messages.Runner, error) {
	f := t.folder(a.Job)
	dir := f.attempt(a.Number)
	if found, err := t.Find(ctx, a); found != nil || err != nil {
		return found, err
	}
	if err := t.Check(a.Job, a.Spec); err != nil {
		return nil, err
	}
	o, env, err := t.order(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{dir, f.checkpoints(), f.out()} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, unwritable(d, err)
		}
	}
	if err := writeJSON(filepath.Join(dir, orderFile), o); err != nil {
		return nil, unwritable(dir, err)
	}
	h, _, err := t.o.Processes.Start(ctx, process.Spec{Argv: []string{t.o.Self, "runner", dir}, Env: env, Nonce: a.Nonce, LogPath: f.newLog(a.Number, a.Nonce)})
	if err != nil {
		return nil, err
	}
	return runnerOf(h), nil
}

func unwritable(path string, err error) error {
	return messages.Errorf(messages.FailedPrecondition, path, "it can't be written: %w", err).WithHint("check the folder's rights and free space").WithRetry(process.Passes(err))
}

func (t *Trainer) order(ctx context.Context, a Attempt) (order, []string, error) {
	f, r := t.folder(a.Job), a.Spec.GetRecipe()
	if a.Resume != nil {
		if sha, _, err := Sum(ctx, a.Resume.Path); err != nil || sha != a.Resume.Sha256 {
			return order{}, nil, messages.Errorf(messages.FailedPrecondition, a.Resume.Path, "the acknowledged checkpoint of step %d is gone or has changed: checksum %q, wanted %s (%v)",
				a.Resume.Step, sha, a.Resume.Sha256, err).WithHint("restore the file, or submit the job anew")
		}
	}
	m := t.macros(a.Job, a.Spec, map[string]string{"RESUME": a.Resume.GetPath(), "ATTEMPT": strconv.FormatUint(a.Number, 10), "DEVICES": strconv.Itoa(max(len(a.Placement.GetShares()), 1))}, a.Smaller)
	r = t.resolved(r, m)
	argv, err := expand(r.Command, m)
	if err != nil {
		return order{}, nil, err
	}
	o := order{Job: a.Job, Attempt: a.Number, Argv: argv, Dir: cmp.Or(r.Dir, string(f)), Checkpoint: r.Checkpoint, WallMS: millis(a.WallLeft), GraceMS: millis(a.Spec.Grace()),
		Metrics: f.metrics(), Out: f.out(), CPUs: r.Cpus, MemoryBytes: r.MemoryBytes, Attached: r.Attached}
	m.Values["ATTACHED_ID"] = attachedMacro
	if o.Watch, err = m.ExpandAll(r.Watch); err != nil {
		return order{}, nil, err
	}
	if o.Cancel, err = m.ExpandAll(r.Cancel); err != nil {
		return order{}, nil, err
	}
	env, err := t.environment(a.Job, a.Spec, r.Env, a.Placement, m, a.Smaller)
	return o, env, err
}

// Find is the runner of an attempt, alive or ended; nil when it was never begun. It fails when that can't be told.
func (t *Trainer) Find(ctx context.Context, a Attempt) (*messages.Runner, error) {
	h, live, err := t.o.Processes.Find(ctx, a.Nonce)
	switch live {
	case process.Alive:
		return runnerOf(h), nil
	case process.Unknown:
		return nil, messages.Errorf(messages.Unavailable, a.Nonce, "it can't be told whether the attempt's runner lives: %w", err).WithRetry(time.Second)
	}
	if _, err := os.Stat(filepath.Join(t.folder(a.Job).attempt(a.Number), reportsFile)); err != nil {
		return nil, nil
	}
	return &messages.Runner{Nonce: a.Nonce}, nil
}

// Checkpoint asks a running trainer for a checkpoint and waits until it tells of one, or ctx ends. One that has ended, or can't be asked, isn't asked.
func (t *Trainer) Checkpoint(ctx context.Context, a Attempt, r *messages.Runner) error {
	if mode := a.Spec.GetRecipe().GetCheckpoint(); r.GetPid() == 0 || mode != "signal" && mode != "stdin" {
		return nil
	}
	before := len(t.checkpoints(a))
	if err := t.o.Processes.Signal(handleOf(r), unix.SIGUSR1); err != nil {
		return err
	}
	look := time.NewTicker(lookEvery / 2)
	defer look.Stop()
	for len(t.checkpoints(a)) == before {
		if live, _ := t.o.Processes.Prove(handleOf(r)); live == process.Gone {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Stop asks an attempt's processes to end, and kills what is left after the grace. nil when nothing is left.
func (t *Trainer) Stop(ctx context.Context, a Attempt, r *messages.Runner, grace time.Duration) error {
	if r == nil {
		found, err := t.Find(ctx, a)
		if err != nil || found == nil {
			return err
		}
		r = found
	}
	if r.GetPid() == 0 {
		return nil
	}
	return t.o.Processes.Stop(ctx, handleOf(r), grace, nil)
}

// Remove deletes a job's files and says how many bytes that freed.
func (t *Trainer) Remove(_ context.Context, job string) (bytes uint64, err error) {
	root := string(t.folder(job))
	if job == "" || filepath.Dir(root) != filepath.Clean(t.o.Dir) {
		return 0, messages.NewError(messages.InvalidArgument, job, "it is no job's folder")
	}
	_ = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if st, err := d.Info(); err == nil {
				bytes += uint64(st.Size())
			}
		}
		return nil
	})
	if err := os.RemoveAll(root); err != nil {
		return 0, unwritable(root, err)
	}
	return bytes, nil
}

func runnerOf(h process.Handle) *messages.Runner {
	return &messages.Runner{Pid: h.Pid, StartTicks: h.StartTicks, Nonce: h.Nonce, Fingerprint: h.Fingerprint, LogPath: h.LogPath, KernelBootId: h.BootID}
}

func handleOf(r *messages.Runner) process.Handle {
	return process.Handle{Pid: r.GetPid(), StartTicks: r.GetStartTicks(), BootID: r.GetKernelBootId(), Nonce: r.GetNonce(), Fingerprint: r.GetFingerprint(), LogPath: r.GetLogPath()}
}
