package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"modelops/bridges/runtime"
	"modelops/journal"
	"modelops/messages"
)

func (c *cli) logsCommand() *cobra.Command {
	var n int
	var follow bool
	cmd := &cobra.Command{
		Use: "logs MODEL", Args: cobra.ExactArgs(1),
		Short:             "Print what a model's worker wrote, also after its death",
		ValidArgsFunction: c.completeModels(1),
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 100, "how many lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is added, also by the worker after this one")
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

// logs knows where a model's newest log lies.
type logs struct {
	newest func(context.Context) string
	close  func()
}

// findLog asks the running daemon, or looks into a stopped one's data directory.
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
		found := runtime.New(runtime.Options{LogDir: filepath.Join(p.dataDir, "logs")})
		return logs{func(context.Context) string { return found.LogPath(name) }, func() {}}, nil
	}
	id := messages.ModelActor(src.host, canonical(opening, src.client, name))
	if _, err := src.client.model(opening, id); err != nil {
		src.close()
		return logs{}, err
	}
	return logs{func(ctx context.Context) string { return newestLog(ctx, src, id) }, src.close}, nil
}

// canonical is the name behind an alias.
func canonical(ctx context.Context, k *Client, name string) string {
	s, err := k.status(ctx)
	if err != nil {
		return name
	}
	for _, m := range s.Models {
		for _, alias := range m.GetSpec().GetAliases() {
			if alias == name {
				return m.Name
			}
		}
	}
	return name
}

// newestLog is that of the running worker, else that of the last one the journal knows.
func newestLog(ctx context.Context, src *source, id messages.ActorID) (path string) {
	ctx, cancel := context.WithTimeout(ctx, shortWait)
	defer cancel()
	if v, err := src.client.model(ctx, id); err == nil && v.GetWorker().GetLogPath() != "" {
		return v.Worker.LogPath
	}
	_ = src.journal.Replay(ctx, journal.Query{Actor: id, Unknown: true}, func(r messages.Recorded) error {
		for _, e := range r.Events {
			if started, ok := e.(*messages.WorkerStarted); ok {
				path = started.GetWorker().GetLogPath()
			}
		}
		return nil
	})
	return path
}

// printLog writes the last lines of a log.
func (c *cli) printLog(path string, n int, model string) error {
	if path == "" {
		return messages.NewError(messages.NotFound, "model "+model, "it has no log: no worker of it has run here").WithHint("modelops load " + model + " starts one")
	}
	if _, err := os.Stat(path); err != nil {
		return messages.Errorf(messages.NotFound, path, "the log can't be read: %w", err).WithHint("logs lie on the host that ran the worker, the newest three of each model")
	}
	for _, line := range runtime.Tail(path, n) {
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

// followLog goes on until the interrupt; when a new worker writes a new log, with that.
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

// followOne copies one log from a size on and returns the path of the log that takes its place.
func (c *cli) followOne(ctx context.Context, l logs, path string, size int64) (string, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var next string
	go func() {
		defer stop()
		tick := time.NewTicker(logChangeEvery)
		defer tick.Stop()
		for next == "" {
			select {
			case <-reading.Done():
				return
			case <-tick.C:
			}
			if newest := l.newest(reading); newest != path && newest != "" && reading.Err() == nil {
				next = newest
			}
		}
	}()
	err := runtime.Follow(reading, path, &skipping{c.logWriter(), size})
	<-reading.Done() // next is written before
	if next != "" && (err == nil || errors.Is(err, context.Canceled)) {
		return next, nil
	}
	return "", err
}

// logWriter writes raw lines, or one JSON value a piece.
func (c *cli) logWriter() io.Writer {
	if !c.asJSON {
		return c.stdout
	}
	return &lineWriter{print: c.printLogLine}
}

// skipping leaves out the first bytes, which have been shown.
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

// lineWriter cuts what is written into lines.
type lineWriter struct {
	print func(string) error
	part  []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.part = append(l.part, b...)
	for i, c := range l.part {
		if c == '\n' {
			line := string(l.part[:i])
			l.part = l.part[i+1:]
			if err := l.print(line); err != nil {
				return len(b), err
			}
			return l.Write(nil)
		}
	}
	return len(b), nil
}
