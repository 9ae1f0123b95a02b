package process

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelops/messages"
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

// Part is a part of a log.
type Part struct {
	Log        string   // the name of its file
	Lines      []string // oldest first
	Unfinished string   // what its process hasn't ended with a newline yet; it comes again, whole
	Next       string   // where the next part begins
}

// Read reads the newest log of a name: its last n lines, or, where after is Next of a part, whole lines behind it. Once all of a log was read and there
// is a newer one, it goes on with that. A name without logs has a Part without a Log.
func (l Logs) Read(name, after string, n int) (Part, error) {
	return ReadIn(logsIn(l.folder(name)), filepath.Base, after, n)
}

// ReadIn is Read for logs that are known, the oldest first. name tells them apart.
func ReadIn(logs []string, name func(path string) string, after string, n int) (Part, error) {
	log, at, err := positionOf(after)
	if err != nil {
		return Part{}, err
	}
	if len(logs) == 0 {
		return Part{Next: after}, nil
	}
	newest := logs[len(logs)-1]
	if log == "" {
		return lastOf(newest, name(newest), n)
	}
	i := slices.IndexFunc(logs, func(path string) bool { return name(path) == log })
	if i < 0 { // it was dropped for newer ones
		return behind(newest, name(newest), 0, false)
	}
	p, err := behind(logs[i], log, at, i < len(logs)-1)
	if err == nil && len(p.Lines) == 0 && i < len(logs)-1 {
		return behind(logs[i+1], name(logs[i+1]), 0, i+1 < len(logs)-1)
	}
	return p, err
}

// positionOf reads FILE@OFFSET.
func positionOf(text string) (log string, at int64, err error) {
	if text == "" {
		return "", 0, nil
	}
	log, offset, _ := strings.Cut(text, "@")
	if at, err = strconv.ParseInt(offset, 10, 64); err != nil || at < 0 || log == "" {
		return "", 0, messages.Errorf(messages.InvalidArgument, "after", "%q is no place in a log", text).WithHint("give what an answer had as next")
	}
	return log, at, nil
}

// lastOf is the end of a log.
func lastOf(path, name string, n int) (Part, error) {
	b, start, size, err := endOf(path)
	if err != nil {
		return Part{}, unread(path, err)
	}
	whole := bytes.LastIndexByte(b, '\n') + 1
	p := Part{Log: name, Unfinished: shown(b[whole:]), Lines: linesIn(b[:whole], start > 0)}
	p.Lines = p.Lines[max(0, len(p.Lines)-n):]
	p.Next = p.at(size - int64(len(b)-whole))
	return p, nil
}

// behind is what a log has behind an offset. Of one that has ended, what stands behind its last newline is a line too.
func behind(path, name string, at int64, ended bool) (Part, error) {
	f, err := os.Open(path)
	if err != nil {
		return Part{}, unread(path, err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() < at { // it was cut down
		at = 0
	}
	b := make([]byte, tailBytes)
	n, err := f.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return Part{}, unread(path, err)
	}
	b = b[:n]
	whole := bytes.LastIndexByte(b, '\n') + 1
	if n == tailBytes && whole == 0 || ended && errors.Is(err, io.EOF) {
		whole = n
	}
	p := Part{Log: name, Lines: linesIn(b[:whole], false), Unfinished: shown(b[whole:])}
	p.Next = p.at(at + int64(whole))
	return p, nil
}

func (p Part) at(offset int64) string { return p.Log + "@" + strconv.FormatInt(offset, 10) }

func unread(path string, err error) error {
	code := messages.Unavailable
	if errors.Is(err, os.ErrNotExist) {
		code = messages.NotFound
	}
	return messages.Errorf(code, path, "the log can't be read: %w", err).WithHint("the host that ran the worker keeps the newest three logs of each model")
}

// Tail is the last n lines of a log, oldest first; fewer when they are long. A missing log has none.
func Tail(logPath string, n int) []string {
	b, start, _, err := endOf(logPath)
	if err != nil || n <= 0 {
		return nil
	}
	lines := linesIn(b, start > 0)
	return lines[max(0, len(lines)-n):]
}

// endOf reads the end of a log, from start on.
func endOf(path string) (b []byte, start, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, 0, err
	}
	start = max(0, st.Size()-tailBytes)
	b, err = io.ReadAll(io.NewSectionReader(f, start, min(tailBytes, st.Size())))
	return b, start, start + int64(len(b)), err
}

// linesIn are the lines of a text; partly, its first one is a part and left out.
func linesIn(b []byte, partly bool) []string {
	if len(b) == 0 {
		return nil
	}
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if partly {
		lines = lines[1:]
	}
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = shown(l)
	}
	return out
}

// shown is a line as it is shown: text, and not too long.
func shown(line []byte) string {
	l := strings.TrimSuffix(strings.ToValidUTF8(string(line), "?"), "\r")
	if len(l) > lineBytes {
		l = strings.ToValidUTF8(l[:lineBytes], "") + "..."
	}
	return l
}
