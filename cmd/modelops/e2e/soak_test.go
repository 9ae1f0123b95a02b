//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// flood is a task: so many requests by so many callers, of which one in ten is a stream and one in a hundred is a stream that its caller leaves.
type flood struct {
	URL      string `json:"url"`
	Model    string `json:"model"`
	Requests int    `json:"requests"`
	Callers  int    `json:"callers"`
}

type flooded struct {
	Answered int    `json:"answered"`
	Streamed int    `json:"streamed"`
	Left     int    `json:"left"`
	Errors   int    `json:"errors"`
	Error    string `json:"error"`
}

// soakRole asks until all requests are sent.
func soakRole(args []string) error {
	task, err := taskOf[flood](args)
	if err != nil {
		return err
	}
	var next atomic.Int64
	var mu sync.Mutex
	var out flooded
	var work sync.WaitGroup
	for range task.Callers {
		work.Go(func() {
			c := soaker{task: task}
			defer c.end()
			for n := next.Add(1); n <= int64(task.Requests); n = next.Add(1) {
				c.ask(n)
			}
			mu.Lock()
			defer mu.Unlock()
			out.add(c.sum)
		})
	}
	work.Wait()
	return report(out)
}

func (f *flooded) add(o flooded) {
	f.Answered += o.Answered
	f.Streamed += o.Streamed
	f.Left += o.Left
	f.Errors += o.Errors
	if o.Error != "" {
		f.Error = o.Error
	}
}

// soaker is one caller with two connections: one for questions, one for streams.
type soaker struct {
	task          flood
	plain, stream *wire
	sum           flooded
}

func (c *soaker) end() {
	c.plain.close()
	c.stream.close()
}

func (c *soaker) ask(n int64) {
	var err error
	switch {
	case n%100 == 50:
		err = c.leave()
		c.sum.Left++
	case n%10 == 0:
		err = c.over(&c.stream, chatBody(c.task.Model, `,"stream":true`))
		c.sum.Streamed++
	default:
		err = c.over(&c.plain, chatBody(c.task.Model, ""))
		c.sum.Answered++
	}
	if err != nil {
		c.sum.Errors++
		c.sum.Error = err.Error()
	}
}

func (c *soaker) over(w **wire, body string) (err error) {
	if *w == nil {
		if *w, err = dialWire(c.task.URL, body); err != nil {
			return err
		}
	}
	if err = (*w).once(); err != nil {
		(*w).close()
		*w = nil
	}
	return err
}

// leave asks for a long stream and is gone after its first bytes.
func (c *soaker) leave() error {
	w, err := dialWire(c.task.URL, chatBody(c.task.Model, `,"stream":true,"bench_chunks":1000,"bench_gap_us":5000`))
	if err != nil {
		return err
	}
	defer w.close()
	_ = w.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := w.conn.Write(w.ask); err != nil {
		return err
	}
	_, err = w.in.Peek(1)
	return err
}

// held is what the daemon holds at a moment of rest.
type held struct {
	requests        int
	rss, anonymous  uint64
	heap            float64 // bytes in use after the last collection
	goroutines, fds int
	threads         int
	rate            float64 // requests per second since the row before
}

// rest waits until descriptors and goroutines stop falling, and looks.
func (d *daemon) rest(t *testing.T, requests int) held {
	t.Helper()
	var now held
	still := 0
	for end := time.Now().Add(20 * time.Second); still < 4 && time.Now().Before(end); {
		d.http().CloseIdleConnections()
		due(time.Now().Add(250 * time.Millisecond))
		h := d.handles()
		if h.files < now.fds || h.goroutines < now.goroutines || now.fds == 0 {
			still = 0
		} else {
			still++
		}
		now.fds, now.goroutines = h.files, h.goroutines
	}
	now.requests = requests
	now.rss, now.anonymous = memoryOf(t, d.cmd.Process.Pid)
	now.heap = d.metric("go_memstats_heap_inuse_bytes")
	threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "task"))
	if err != nil {
		t.Fatal(err)
	}
	now.threads = len(threads)
	return now
}

// alone waits until the connections to the engine, which are kept for 90 s, are closed, and looks.
func (d *daemon) alone(t *testing.T, requests int, before held) held {
	t.Helper()
	var now held
	for end := time.Now().Add(2 * time.Minute); ; {
		now = d.rest(t, requests)
		if time.Now().After(end) || now.goroutines-before.goroutines <= moreGoroutines && now.fds-before.fds <= moreFiles {
			return now
		}
		due(time.Now().Add(time.Second))
	}
}

const (
	moreGoroutines = 10
	moreFiles      = 8
	moreAnonymous  = 16 << 20 // bytes, from a tenth of the requests on: before that, pools and stacks find their size
)

// TestFlood sends SOAK_REQUESTS requests (a million) through the HTTP door and fails when the daemon holds more afterwards.
func TestFlood(t *testing.T) {
	total := 1_000_000
	if n, err := strconv.Atoi(os.Getenv("SOAK_REQUESTS")); err == nil {
		total = n
	}
	f := newFindings()
	d, _ := attached(t, "")
	d.fastChat(t, "fast")
	rows := []held{d.rest(t, 0)}
	var sum flooded
	for i := range 10 {
		var got flooded
		began := time.Now()
		perform(t, "soak", flood{URL: d.at.HTTP, Model: "fast", Requests: total / 10, Callers: 32}, &got)
		rate := float64(total/10) / time.Since(began).Seconds()
		sum.add(got)
		row := d.rest(t, (i+1)*total/10)
		row.rate = rate
		rows = append(rows, row)
		t.Logf("%+v", row)
	}
	rows = append(rows, d.alone(t, total, rows[0]))
	if sum.Errors > 0 {
		t.Errorf("%d requests failed: %s", sum.Errors, sum.Error)
	}
	verdict := growth(t, rows)
	section := soakTable(f, sum, rows, verdict)
	fmt.Println(section)
	if total < 1_000_000 {
		t.Log("less than a million requests: docs/benchmarks.md stays as it is")
		return
	}
	publish(t, "soak", section)
}

// growth fails the test for what grew, and says what was found.
func growth(t *testing.T, rows []held) string {
	t.Helper()
	before, tenth, after := rows[0], rows[1], rows[len(rows)-1]
	if n := after.goroutines - before.goroutines; n > moreGoroutines {
		t.Errorf("%d goroutines more than before", n)
	}
	if n := after.fds - before.fds; n > moreFiles {
		t.Errorf("%d descriptors more than before", n)
	}
	grown := int64(after.anonymous) - int64(tenth.anonymous)
	if grown > moreAnonymous {
		t.Errorf("%.1f MB of anonymous memory more than after the first tenth", float64(grown)/(1<<20))
	}
	word := "No growth"
	if t.Failed() {
		word = "**Failed**"
	}
	return fmt.Sprintf("%s: %+d goroutines (limit +%d), %+d descriptors (limit +%d), %+.1f MB anonymous memory from 10 %% to 100 %% (limit +%d MB).",
		word, after.goroutines-before.goroutines, moreGoroutines, after.fds-before.fds, moreFiles, float64(grown)/(1<<20), moreAnonymous>>20)
}

func soakTable(f *findings, sum flooded, rows []held, verdict string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`make flood` on %s; it took %s.\n\n", f.machine, time.Since(f.began).Round(time.Second))
	fmt.Fprintf(&b, "%d answers, %d streams, %d streams that the caller left, %d errors; 32 callers. %s\n\n", sum.Answered, sum.Streamed, sum.Left, sum.Errors, verdict)
	b.WriteString("| requests | requests/s | resident MB | anonymous MB | heap in use MB | goroutines | descriptors | threads |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %d | %.0f | %.1f | %.1f | %.1f | %d | %d | %d |\n", r.requests, r.rate, mb(r.rss), mb(r.anonymous), mb(uint64(r.heap)), r.goroutines, r.fds, r.threads)
	}
	return b.String()
}
