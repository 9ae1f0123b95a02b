package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"modelops/messages"
)

// Runs at an existing engine (ray, slurm, kubernetes). The order's command submits the run and prints its id; watch prints how it stands; cancel ends it.

const (
	// watchEvery is the pause between two looks at a run.
	watchEvery = 2 * time.Second
	// watchWithin bounds one command.
	watchWithin = time.Minute
	// attachedMacro stands for the run's id.
	attachedMacro = "${ATTACHED_ID}"
)

// attached submits a run, unless one that a former runner submitted is known, and waits for its end.
func (r *running) attached(ctx context.Context, asked <-chan os.Signal) *messages.JobOutcome {
	known := filepath.Join(filepath.Dir(r.dir), idFile)
	var id string
	if found, err := readJSON(known, &id); err != nil || !found {
		id, err = r.submit(ctx)
		if err == nil {
			err = writeJSON(known, id)
		}
		if err != nil {
			return &messages.JobOutcome{End: messages.JobOutcome_broke, ExitCode: -1, Reason: "it can't be submitted: " + err.Error(), Retriable: true}
		}
	}
	r.record(record{Attached: id})
	out := r.await(ctx, id, asked)
	_ = os.Remove(known)
	return out
}

// submit runs the order's command; the last word that it prints is the id, or the field id of a JSON line.
func (r *running) submit(ctx context.Context) (string, error) {
	text, err := r.run(ctx, r.o.Argv)
	if err != nil {
		return "", err
	}
	lines := strings.Fields(lastLine(text))
	if len(lines) == 0 {
		return "", errors.New("the command that submits it printed no id")
	}
	var said struct {
		ID string `json:"id"`
	}
	if json.Unmarshal([]byte(lastLine(text)), &said) == nil && said.ID != "" {
		return said.ID, nil
	}
	return strings.Trim(lines[len(lines)-1], `"'`), nil
}

// run runs one command of the order and gives what it printed. Its reports count like a trainer's.
func (r *running) run(ctx context.Context, argv []string) (string, error) {
	within, cancel := context.WithTimeout(ctx, watchWithin)
	defer cancel()
	cmd := exec.CommandContext(within, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = r.o.Dir, r.out, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends this process's group must not end a command that cancels the run
	var printed bytes.Buffer
	cmd.Stdout = &bounded{to: &printed, left: 1 << 20}
	err := cmd.Run()
	text := printed.String()
	if readErr := readLines(strings.NewReader(text), r.line); err == nil {
		err = readErr
	}
	if err != nil {
		return text, fmt.Errorf("%s: %w", argv[0], err)
	}
	return text, nil
}

// bounded passes on the first bytes, and takes the rest.
type bounded struct {
	to   *bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.to.Write(p[:n])
	return len(p), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// states are the words of ray, slurm and kubernetes for a run that is over, in small letters.
var states = []struct {
	words *regexp.Regexp
	end   messages.JobOutcome_End
}{
	{regexp.MustCompile(`\b(succeeded|completed|complete|finished|done)\b`), messages.JobOutcome_done},
	{regexp.MustCompile(`\b(failed|failure|error|timeout|out_of_memory|node_fail|boot_fail|deadline|deadlineexceeded|backofflimitexceeded)\b`), messages.JobOutcome_broke},
	{regexp.MustCompile(`\b(cancelled|canceled|stopped|deleted|preempted|revoked)\b`), messages.JobOutcome_stopped},
}

func endOf(text string) (messages.JobOutcome_End, bool) {
	last := strings.ToLower(lastLine(text))
	for _, s := range states {
		if s.words.MatchString(last) {
			return s.end, true
		}
	}
	return 0, false
}

// await looks at a run until it is over. While it can't be looked at, nothing is known of it.
func (r *running) await(ctx context.Context, id string, asked <-chan os.Signal) *messages.JobOutcome {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	late := stopped()
	if r.o.WallMS > 0 {
		late = time.NewTimer(time.Duration(r.o.WallMS) * time.Millisecond)
	}
	defer late.Stop()
	overtime := false
	for unknown := 0; ; {
		text, err := r.run(ctx, naming(r.o.Watch, id))
		if end, over := endOf(text); over && err == nil {
			return r.left(end, id, lastLine(text), overtime)
		}
		if unknown++; err == nil {
			unknown = 0
		} else if unknown == 1 {
			r.note(fmt.Sprintf("the run %s can't be looked at: %v", id, err))
		}
		select {
		case <-look.C:
		case s := <-asked:
			if s == syscall.SIGUSR1 {
				continue
			}
			r.mu.Lock()
			r.stopAsked = true
			r.mu.Unlock()
			r.cancel(ctx, id)
		case <-late.C:
			overtime = true
			r.cancel(ctx, id)
		}
	}
}

func (r *running) cancel(ctx context.Context, id string) {
	if len(r.o.Cancel) == 0 {
		r.note("its recipe has no command that cancels a run")
		return
	}
	if _, err := r.run(ctx, naming(r.o.Cancel, id)); err != nil {
		r.note(fmt.Sprintf("the run %s can't be cancelled: %v", id, err))
	}
}

// left is the outcome of a run at an existing engine.
func (r *running) left(end messages.JobOutcome_End, id, words string, overtime bool) *messages.JobOutcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &messages.JobOutcome{End: end, Step: r.step, Total: r.total, Metrics: r.metrics, Artifacts: r.artifacts, Reason: words}
	switch {
	case end == messages.JobOutcome_done:
		out.Reason = ""
	case overtime:
		out.End = messages.JobOutcome_overtime
	case end == messages.JobOutcome_stopped && !r.stopAsked:
		out.End, out.ExitCode, out.Reason = messages.JobOutcome_broke, -1, "somebody else ended the run "+id+": "+words
	default:
		out.ExitCode, out.Retriable = -1, true
	}
	return out
}

func naming(words []string, id string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ReplaceAll(w, attachedMacro, id)
	}
	return out
}
