package trainer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// Run is the runner of the attempt in a folder. It returns once the attempt has ended and its outcome is on disk. out is the attempt's log.
//
// SIGUSR1 asks the trainer for a checkpoint. SIGTERM and SIGINT ask it to end; usually the sender signals the trainer too. Run kills a trainer that doesn't end only
// when the attempt is over its time. In all other cases the sender of the signal has to kill it.
func Run(ctx context.Context, dir string, out io.Writer) error {
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	defer signal.Stop(asked)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	r := &running{dir: dir, out: out, tally: tally{began: time.Now()}}
	if found, err := readJSON(filepath.Join(dir, orderFile), &r.o); err != nil || !found {
		return cmp.Or(err, error(messages.NewError(messages.NotFound, dir, "there is no order.json: it is no attempt's folder")))
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, exitFile)); err == nil {
		return nil // it has ended already
	}
	if err := r.open(); err != nil {
		return err
	}
	defer r.close()
	var end *messages.JobOutcome
	if r.o.Attached {
		end = r.attached(ctx, asked)
	} else {
		end = r.child(asked)
	}
	end.RanMs = millis(time.Since(r.began))
	return writeJSON(filepath.Join(dir, exitFile), end)
}

// lock keeps a second runner out of a folder. It ends with the process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, messages.Errorf(messages.Conflict, path, "another runner works in this folder: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// running is an attempt that runs.
type running struct {
	o       order
	dir     string
	out     io.Writer
	reports *os.File
	curve   *curve

	mu sync.Mutex // held while the tally is read or changed
	tally

	writing sync.Mutex // held while a record is written
	records int
}

func (r *running) open() (err error) {
	if r.reports, err = os.OpenFile(filepath.Join(r.dir, reportsFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	r.curve, err = openCurve(r.o.Metrics)
	return err
}

func (r *running) close() { _ = errors.Join(r.reports.Close(), r.curve.close()) }

// child runs the trainer as a child process, in a session of its own.
func (r *running) child(asked <-chan os.Signal) *messages.JobOutcome {
	cmd := exec.Command(r.o.Argv[0], r.o.Argv[1:]...)
	cmd.Dir, cmd.Stderr = r.o.Dir, r.out
	lines, stdout, err := os.Pipe()
	var stdin io.WriteCloser
	if err == nil && r.o.Checkpoint == "stdin" {
		stdin, err = cmd.StdinPipe()
	}
	if err != nil {
		return &messages.JobOutcome{End: messages.JobOutcome_broke, ExitCode: -1, Reason: err.Error(), Retriable: true}
	}
	defer lines.Close()
	cmd.Stdout = stdout
	group, note := r.limit(cmd)
	defer group.remove()
	if note != "" {
		r.note(note)
	}
	started, over := make(chan error, 1), make(chan struct{})
	go func() { // the kernel ends the child when the thread that started it ends, so this goroutine keeps its thread
		err := start(cmd)
		_ = stdout.Close()
		started <- err
		if err == nil {
			r.read(cmd, lines)
		}
		close(over)
	}()
	if err := <-started; err != nil {
		return &messages.JobOutcome{End: messages.JobOutcome_broke, ExitCode: -1, Reason: fmt.Sprintf("%s can't be started: %v", r.o.Argv[0], err)}
	}
	r.record(record{Started: int64(cmd.Process.Pid)})
	overtime := r.attend(cmd.Process.Pid, stdin, asked, over)
	return r.outcome(cmd.ProcessState, overtime, group.killedForMemory())
}

// lastLines is how long what a trainer left behind may hold its output open after its end.
const lastLines = 2 * time.Second

// read takes the trainer's lines until it has ended. What it leaves behind in its group is ended.
func (r *running) read(cmd *exec.Cmd, lines *os.File) {
	all := make(chan struct{})
	go func() {
		defer close(all)
		if err := readLines(lines, r.line); err != nil && !errors.Is(err, os.ErrClosed) {
			fmt.Fprintln(r.out, "modelops: its output can't be read:", err)
		}
	}()
	for { // its group is ended before it is reaped: until then its pid is nobody else's
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait() // its end is in ProcessState
	select {
	case <-all:
	case <-time.After(lastLines):
		_ = lines.Close()
		<-all
	}
}

// attend passes on what is asked of the trainer until it has ended, and ends it when its time is over.
func (r *running) attend(pid int, stdin io.WriteCloser, asked <-chan os.Signal, over <-chan struct{}) (overtime bool) {
	late, kill := stopped(), stopped()
	if r.o.WallMS > 0 {
		late = time.NewTimer(time.Duration(r.o.WallMS) * time.Millisecond)
	}
	defer late.Stop()
	defer kill.Stop()
	for {
		select {
		case <-over:
			return overtime
		case s := <-asked:
			if s == syscall.SIGUSR1 {
				r.askCheckpoint(pid, stdin)
				continue
			}
			r.mu.Lock()
			r.stopAsked = true
			r.mu.Unlock()
			_ = syscall.Kill(-pid, syscall.SIGTERM)
		case <-late.C:
			overtime = true
			r.note("its time is over: it is asked to end")
			_ = syscall.Kill(-pid, syscall.SIGTERM)
			kill.Reset(time.Duration(r.o.GraceMS) * time.Millisecond)
		case <-kill.C:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}

// stopped is a timer that never fires until it is reset.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (r *running) askCheckpoint(pid int, stdin io.Writer) {
	switch r.o.Checkpoint {
	case "stdin":
		_, _ = io.WriteString(stdin, "checkpoint\n")
	case "signal":
		_ = syscall.Kill(pid, syscall.SIGUSR1)
	}
}

// start starts the trainer. It ends when this process does: without its runner nobody would learn how it ends.
func start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setsid = true // a leader of a group alone would be taken for the runner, whose nonce it carries
	return cmd.Start()
}

// record is a line of reports.jsonl.
type record struct {
	AtMS       int64           `json:"at_ms"`
	Started    int64           `json:"started,omitempty"` // the trainer's pid
	Attached   string          `json:"attached,omitempty"`
	Checkpoint *checkpointSaid `json:"checkpoint,omitempty"`
	Artifact   *artifact       `json:"artifact,omitempty"`
	Note       string          `json:"note,omitempty"`
}

// checkpointSaid is a checkpoint as the trainer tells it. It counts once its checksum is verified.
type checkpointSaid struct {
	Step   uint64 `json:"step"`
	Path   string `json:"path"`
	SHA256 string `json:"sha256,omitempty"`
}

// mostRecords bounds reports.jsonl: a trainer that writes more checkpoints isn't believed.
const mostRecords = 20_000

// record writes a line and returns when the disk has it. A disk that doesn't take it loses a checkpoint, not the attempt.
func (r *running) record(x record) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.records++
	if r.records > mostRecords {
		return
	}
	x.AtMS = time.Now().UnixMilli()
	line, err := json.Marshal(x)
	if err == nil {
		_, err = r.reports.Write(append(line, '\n'))
	}
	if err = errors.Join(err, r.reports.Sync()); err != nil {
		fmt.Fprintln(r.out, "modelops: a report can't be written:", err)
	}
}

func (r *running) note(text string) {
	fmt.Fprintln(r.out, "modelops:", text)
	r.record(record{Note: text})
}
