package process

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// keptLogs is how many logs of a name stay, the running process's among them.
const keptLogs = 3

// Logs names log files: one folder a name below Root, one file a process in it.
type Logs struct{ Root string }

// longestFolder is how many bytes of an escaped name a folder's name shows. File systems take 255, and a letter may escape to twelve.
const longestFolder = 200

// folder is where the logs of a name lie. Names may hold slashes. A long one ends in its hash.
func (l Logs) folder(name string) string {
	escaped := strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
	if len(escaped) > longestFolder {
		escaped = fmt.Sprintf("%s-%x", escaped[:longestFolder], sha256.Sum256([]byte(name)))[:longestFolder+17]
	}
	return filepath.Join(l.Root, escaped)
}

// stampForm is the time at the start of a log's name.
const stampForm = "20060102T150405.000000"

// Path is the log for a process that is started at this time. It is absolute where the working directory is known.
func (l Logs) Path(name, nonce string, at time.Time) string {
	stamp := at.UTC().Format(stampForm)
	path := filepath.Join(l.folder(name), stamp+"-"+url.PathEscape(nonce)+".log")
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// Newest is the newest log of a name, "" when it has none.
func (l Logs) Newest(name string) string {
	logs := logsIn(l.folder(name))
	if len(logs) == 0 {
		return ""
	}
	return logs[len(logs)-1]
}

// logsIn lists the logs of a folder, oldest first: their names begin with the time.
func logsIn(folder string) []string {
	entries, _ := os.ReadDir(folder) // sorted by name
	var out []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".log" {
			out = append(out, filepath.Join(folder, e.Name()))
		}
	}
	return out
}

// all lists every log there is. The error tells that means are lacking to list them.
func (l Logs) all() (out []string, err error) {
	if l.Root == "" {
		return nil, nil
	}
	folders, err := os.ReadDir(l.Root)
	for _, f := range folders {
		inside, unread := os.ReadDir(filepath.Join(l.Root, f.Name()))
		err = cmp.Or(err, onlyStarved(unread))
		for _, e := range inside {
			if filepath.Ext(e.Name()) == ".log" {
				out = append(out, filepath.Join(l.Root, f.Name(), e.Name()))
			}
		}
	}
	return out, onlyStarved(err)
}

// nonceOf is the nonce in a log's name, "" when it isn't a name that Path makes.
func nonceOf(path string) string {
	stamp, escaped, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".log"), "-")
	nonce, err := url.PathUnescape(escaped)
	if _, noTime := time.Parse(stampForm, stamp); err != nil || noTime != nil {
		return ""
	}
	return nonce
}

// openLog makes the log of a new process, with its lock, and drops the oldest ones beside it.
func openLog(path string) (*os.File, error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, err
	}
	if logs := logsIn(folder); len(logs) >= keptLogs {
		for _, old := range logs[:len(logs)-keptLogs+1] {
			if is, err := written(old); !is && err == nil { // else it is what tells that its process lives
				_ = os.Remove(old)
			}
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err == nil {
		lockLog(f)
	}
	return f, err
}

// keepBelow cuts a log that has outgrown limit down to its last part. The process appends, so it goes on at the new end;
// lines that it writes at that very moment may be lost.
func keepBelow(path string, limit int64) {
	st, err := os.Stat(path)
	if err != nil || st.Size() <= limit {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	end := make([]byte, min(limit/4, 1<<20))
	n, _ := f.ReadAt(end, st.Size()-int64(len(end)))
	if f.Truncate(0) == nil {
		_, _ = f.Write(end[:n])
	}
}

const (
	tailBytes = 256 << 10
	lineBytes = 4 << 10 // longer lines are cut where they are shown
)

// Tail is the last n lines of a log, oldest first; fewer when they are long. A missing log has none.
func Tail(logPath string, n int) []string {
	f, err := os.Open(logPath)
	if err != nil || n <= 0 {
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil
	}
	start := max(0, st.Size()-tailBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, start, tailBytes))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(strings.ToValidUTF8(string(b), "?"), "\n"), "\n")
	if start > 0 {
		lines = lines[1:] // the first one is a part
	}
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	lines = lines[max(0, len(lines)-n):]
	for i, l := range lines {
		if l = strings.TrimSuffix(l, "\r"); len(l) > lineBytes {
			l = strings.ToValidUTF8(l[:lineBytes], "") + "..."
		}
		lines[i] = l
	}
	return lines
}

// Follow copies a log to w from its start, and goes on with what is added, until ctx ends (its error is returned) or w
// refuses. When the log was cut down it goes on with what is left.
func Follow(ctx context.Context, logPath string, w io.Writer) error {
	f, err := os.Open(logPath)
	if err != nil {
		return err
	}
	defer f.Close()
	var at int64
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 32<<10)
	for {
		n, err := f.ReadAt(buf, at)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			at += int64(n)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == len(buf) {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if st, err := f.Stat(); err == nil && st.Size() < at {
			at = 0
		}
	}
}
