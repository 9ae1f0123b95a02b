//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wire is a client's connection that costs the machine as little as possible, since client, proxy and engine share two cores: one
// request, written over and over, and answers of which only the status is kept.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	ask  []byte
}

// chatBody is an ordinary small request.
func chatBody(model string, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}],"max_tokens":5%s}`, model, strings.Repeat("a word ", 60), more)
}

func dialWire(base, body string) (*wire, error) {
	return dialWireTo(base, "/v1/chat/completions", body)
}

func dialWireTo(base, path, body string) (*wire, error) {
	host := strings.TrimPrefix(base, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	ask := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, host, len(body), body)
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 8<<10), ask: []byte(ask)}, nil
}

// once asks and reads the whole answer; anything but a 200 is an error.
func (w *wire) once() error {
	_ = w.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := w.conn.Write(w.ask); err != nil {
		return err
	}
	return w.answer()
}

func (w *wire) answer() error {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("answered %s", bytes.TrimSpace(line))
	}
	length, chunked := 0, false
	for {
		if line, err = w.in.ReadSlice('\n'); err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
		if err != nil {
			return err
		}
	}
	if chunked {
		return w.skipChunks()
	}
	_, err = w.in.Discard(length)
	return err
}

func (w *wire) skipChunks() error {
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if _, err := w.in.Discard(int(size) + 2); err != nil || size == 0 {
			return err
		}
	}
}

// target is one of the ways that are compared.
type target struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// timing is a task: the same for every target, in turns.
type timing struct {
	Targets  []target      `json:"targets"`
	Model    string        `json:"model"`
	Callers  int           `json:"callers"`
	Rounds   int           `json:"rounds"`
	Requests int           `json:"requests"` // of a round, each target
	For      time.Duration `json:"for"`      // of a round, each target
	Path     string        `json:"path"`     // with Body: what is asked instead of a small chat
	Body     string        `json:"body"`
}

func (t timing) dial(base string) (*wire, error) {
	if t.Path == "" {
		return dialWire(base, chatBody(t.Model, ""))
	}
	return dialWireTo(base, t.Path, t.Body)
}

// rounds holds a figure for each round, by target.
type rounds map[string][]float64

// compare makes one figure from two targets of the same round, so that both met the same noise; and takes the median of that.
func (r rounds) compare(a, b string, how func(a, b float64) float64) float64 {
	var out []float64
	for i := range r[a] {
		out = append(out, how(r[a][i], r[b][i]))
	}
	return median(out)
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }

// throughputRole counts the requests per second of each target.
func throughputRole(args []string) error {
	task, err := taskOf[timing](args)
	if err != nil {
		return err
	}
	out := rounds{}
	for i := range task.Rounds + 1 { // the first warms up
		for _, to := range task.Targets {
			rate, err := pound(to.URL, task)
			if err != nil {
				return fmt.Errorf("%s: %w", to.Name, err)
			}
			if i > 0 {
				out[to.Name] = append(out[to.Name], rate)
			}
		}
	}
	return report(out)
}

func pound(base string, task timing) (rate float64, err error) {
	var work sync.WaitGroup
	var mu sync.Mutex
	var count int
	began := time.Now()
	for range task.Callers {
		work.Go(func() {
			n, failed := repeat(base, task, began.Add(task.For))
			mu.Lock()
			defer mu.Unlock()
			count += n
			if failed != nil {
				err = failed
			}
		})
	}
	work.Wait()
	return float64(count) / time.Since(began).Seconds(), err
}

func repeat(base string, task timing, until time.Time) (n int, err error) {
	w, err := task.dial(base)
	if err != nil {
		return 0, err
	}
	defer w.close()
	for time.Now().Before(until) {
		if err := w.once(); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// quantiles are two figures of each round, in seconds.
type quantiles struct {
	P50 rounds `json:"p50"`
	P99 rounds `json:"p99"`
}

func newQuantiles() quantiles { return quantiles{rounds{}, rounds{}} }

func (q quantiles) add(name string, took []time.Duration) {
	q.P50[name] = append(q.P50[name], quantile(took, 0.5).Seconds())
	q.P99[name] = append(q.P99[name], quantile(took, 0.99).Seconds())
}

// block is how many requests go one way before it is the other's turn: often enough to meet the same noise, seldom enough that a process
// isn't found asleep by each request.
const block = 50

// sequentialRole asks one target after the other, a block of requests each, and times them.
func sequentialRole(args []string) error {
	task, err := taskOf[timing](args)
	if err != nil {
		return err
	}
	var wires []*wire
	for _, to := range task.Targets {
		w, err := task.dial(to.URL)
		if err != nil {
			return err
		}
		defer w.close()
		wires = append(wires, w)
	}
	out := newQuantiles()
	for i := range task.Rounds + 1 { // the first warms up
		took := make([][]time.Duration, len(wires))
		for range task.Requests / block {
			for k, w := range wires {
				if took[k], err = timed(w, took[k]); err != nil {
					return fmt.Errorf("%s: %w", task.Targets[k].Name, err)
				}
			}
		}
		for k, to := range task.Targets {
			if i > 0 {
				out.add(to.Name, took[k])
			}
		}
	}
	return report(out)
}

func timed(w *wire, took []time.Duration) ([]time.Duration, error) {
	for range block {
		began := time.Now()
		if err := w.once(); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// chunksRole reads stamped streams and times how old each piece is when it comes.
func chunksRole(args []string) error {
	task, err := taskOf[timing](args)
	if err != nil {
		return err
	}
	const streams = 5
	body := chatBody(task.Model, fmt.Sprintf(`,"stream":true,"bench_chunks":%d,"bench_gap_us":1000`, task.Requests/streams))
	out := newQuantiles()
	for i := range task.Rounds + 1 {
		took := map[string][]time.Duration{}
		for range streams {
			for _, to := range task.Targets {
				ages, err := readStamps(to.URL, body)
				if err != nil {
					return fmt.Errorf("%s: %w", to.Name, err)
				}
				took[to.Name] = append(took[to.Name], ages...)
			}
		}
		for name, ages := range took {
			if i > 0 {
				out.add(name, ages)
			}
		}
	}
	return report(out)
}

func readStamps(base, body string) (ages []time.Duration, err error) {
	w, err := dialWire(base, body)
	if err != nil {
		return nil, err
	}
	defer w.close()
	_ = w.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := w.conn.Write(w.ask); err != nil {
		return nil, err
	}
	for {
		line, err := w.in.ReadSlice('\n')
		now := time.Now().UnixNano()
		if err != nil {
			return ages, fmt.Errorf("the stream ended after %d pieces: %w", len(ages), err)
		}
		if bytes.HasPrefix(line, []byte("data: [DONE]")) {
			return ages, nil
		}
		rest, ok := bytes.CutPrefix(line, []byte(stamp))
		if !ok {
			continue
		}
		digits, _, _ := bytes.Cut(rest, []byte(","))
		at, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil {
			return ages, err
		}
		ages = append(ages, time.Duration(now-at))
	}
}
