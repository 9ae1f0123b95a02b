package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/process"
	"modelops/journal"
	"modelops/messages"
)

func (c *cli) logsCommand() *cobra.Command {
	var n int
	var follow bool
	cmd := &cobra.Command{
		Use: "logs MODEL", Args: cobra.ExactArgs(1),
		Short:             "Print the output of a model's latest worker, running or not",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 100, "number of lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing new output, also of the next worker")
	cmd.RunE = act(func(ctx context.Context, args []string) error {
		if n < 0 {
			return messages.NewError(messages.InvalidArgument, "--lines", "it is negative")
		}
		l, err := c.findLog(ctx, args[0])
		if err != nil {
			return err
		}
		defer l.close()
		if !follow {
			return c.printLog(l.newest(ctx), n, args[0])
		}
		return c.followLog(ctx, l, args[0], n)
	})
	return cmd
}

// logs finds the newest log of a model.
type logs struct {
	newest func(context.Context) string
	close  func()
}

// findLog finds a model's log through the running daemon, or in the data directory of a stopped one.
func (c *cli) findLog(ctx context.Context, name string) (logs, error) {
	opening, cancel := c.within(ctx, shortWait)
	defer cancel()
	src, err := c.openSource(opening)
	if err != nil {
		return logs{}, err
	}
	if src.client == nil {
		src.close()
		p, err := c.findPlace()
		if err != nil {
			return logs{}, err
		}
		found := process.Logs{Root: filepath.Join(p.dataDir, "logs")}
		return logs{func(context.Context) string { return found.Newest(name) }, func() {}}, nil
	}
	id := messages.ModelActor(src.host, name)
	if known, err := src.client.modelName(opening, name); err == nil {
		id = messages.ModelActor(src.host, known)
	}
	if _, err := src.client.model(opening, id); err != nil {
		src.close()
		return logs{}, err
	}
	newest := workerLogs{src: src, model: id}
	return logs{newest.newest, src.close}, nil
}

// workerLogs finds logs in the journal, which also names workers that have ended. Each call continues where the last one stopped.
type workerLogs struct {
	src   *source
	model messages.ActorID
	read  uint64
	path  string
}

func (w *workerLogs) newest(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, shortWait)
	defer cancel()
	_ = w.src.journal.Replay(ctx, journal.Query{Actor: w.model, After: w.read, Unknown: true}, func(r messages.Recorded) error {
		w.read = r.Sequence
		for _, e := range r.Events {
			if started, ok := e.(*messages.WorkerStarted); ok {
				w.path = started.GetWorker().GetLogPath()
			}
		}
		return nil
	})
	return w.path
}

// printLog writes the last lines of a log.
func (c *cli) printLog(path string, n int, model string) error {
	if path == "" {
		return messages.NewError(messages.NotFound, "model "+model, "it has no log, because no worker of it has run here").WithHint("`modelops load " + model + "` starts one")
	}
	if _, err := os.Stat(path); err != nil {
		return messages.Errorf(messages.NotFound, path, "the log can't be read: %w", err).WithHint("the host that ran the worker keeps the newest three logs of each model")
	}
	for _, line := range process.Tail(path, n) {
		if err := c.printLogLine(line); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printLogLine(line string) error {
	if c.asJSON {
		return printJSONLine(c.stdout, map[string]string{"line": line})
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}

const logChangeEvery = time.Second

// followLog prints a log and what is added to it, until the interrupt. When a new worker starts a new log, it continues with that one.
func (c *cli) followLog(ctx context.Context, l logs, model string, n int) error {
	path := l.newest(ctx)
	size := int64(0)
	if st, err := os.Stat(path); err == nil {
		size = st.Size()
	}
	if err := c.printLog(path, n, model); err != nil {
		return err
	}
	for {
		next, err := c.followOne(ctx, l, path, size)
		if err != nil {
			return err
		}
		path, size = next, 0
	}
}

// followOne prints one log from an offset on. It returns the path of the next log when there is one.
func (c *cli) followOne(ctx context.Context, l logs, path string, size int64) (string, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	next := make(chan string, 1)
	go func() { defer stop(); l.awaitNext(reading, path, next) }()
	err := process.Follow(reading, path, &skipping{c.logWriter(), size})
	stop()
	select {
	case newer := <-next:
		return newer, nil
	default:
		return "", err
	}
}

// awaitNext sends the path of the log that replaces the one at path.
func (l logs) awaitNext(ctx context.Context, path string, next chan<- string) {
	tick := time.NewTicker(logChangeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if newest := l.newest(ctx); newest != "" && newest != path {
			next <- newest
			return
		}
	}
}

// logWriter prints a log as it is, or each line as JSON.
func (c *cli) logWriter() io.Writer {
	if !c.asJSON {
		return c.stdout
	}
	return &lineWriter{print: c.printLogLine}
}

// skipping drops the first bytes, which are printed already.
type skipping struct {
	w    io.Writer
	left int64
}

func (s *skipping) Write(b []byte) (int, error) {
	n := min(s.left, int64(len(b)))
	s.left -= n
	if n == int64(len(b)) {
		return len(b), nil
	}
	m, err := s.w.Write(b[n:])
	return int(n) + m, err
}

// lineWriter prints each complete line that is written to it.
type lineWriter struct {
	print func(string) error
	part  []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.part = append(l.part, b...)
	for {
		line, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		l.part = rest
		if err := l.print(string(line)); err != nil {
			return 0, err
		}
	}
}
