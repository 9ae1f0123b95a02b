package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// bulk fills a store without fsync, as it would be after n appends of five hundred actors.
func bulk(b testing.TB, o Options, n int) {
	b.Helper()
	j := mustOpen(b, o)
	heads := map[int]uint64{}
	for i := range n {
		a := Append{Actor: modelName(i % 500), Expected: heads[i%500], Events: wanted("idle for 10 min"), At: time.Unix(1700000000, int64(i)),
			Meta: messages.Meta{ID: fmt.Sprintf("id-%08d", i), Correlation: "req-00000001"}}
		m, err := j.message(a)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := j.js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
		heads[i%500] = uint64(i + 1)
	}
	<-j.js.PublishAsyncComplete()
	j.acked.Store(uint64(n))
	mustClose(b, j)
}

var benchSize = sizeFromEnv()

func BenchmarkReplay(b *testing.B) {
	o := testOptions(b, b.TempDir())
	o.noSync = true
	bulk(b, o, benchSize)
	start := time.Now()
	j := mustOpen(b, o)
	b.Logf("open with %d decisions: %v, %s", benchSize, time.Since(start), filepath.Base(o.Dir))
	for _, c := range []struct {
		name string
		how  func(fn func(messages.Recorded) error) error
	}{
		{"journal", func(fn func(messages.Recorded) error) error { return j.Replay(b.Context(), Query{}, fn) }},
		{"nats", func(fn func(messages.Recorded) error) error {
			c := newChain(Query{})
			return j.Reader.replay(b.Context(), Query{}, func(s stored) error { return deliver(s, c, Query{}, fn) })
		}},
		{"files", func(fn func(messages.Recorded) error) error {
			c := newChain(Query{})
			f := &files{dir: o.Dir, report: Report{Host: testHost, Last: j.Sequence()}, places: new(places)}
			return f.replay(b.Context(), Query{}, func(s stored) error { return deliver(s, c, Query{}, fn) })
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				n := 0
				if err := c.how(func(r messages.Recorded) error { n += len(r.Events); return nil }); err != nil || n != benchSize {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(benchSize)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	b.Run("inspect", func(b *testing.B) {
		for b.Loop() {
			if r, err := inspect(b.Context(), o.Dir, nil); err != nil || r.Err() != nil {
				b.Fatal(err, r.Err())
			}
		}
		b.ReportMetric(float64(benchSize)*float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	})
}

// BenchmarkAppend compares in one run: the budget is 1.3 times a bare publish with fsync.
func BenchmarkAppend(b *testing.B) {
	j := testOpen(b)
	_, err := j.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "BARE", Subjects: []string{"bare.>"}, AllowDirect: true})
	if err != nil {
		b.Fatal(err)
	}
	a := modelName(1)
	var bare, ours time.Duration
	head := uint64(0)
	body := make([]byte, 100)
	for b.Loop() {
		start := time.Now()
		if _, err := j.js.PublishMsg(b.Context(), &nats.Msg{Subject: "bare.1", Data: body}); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if head, err = j.Append(b.Context(), Append{Actor: a, Expected: head, Events: wanted("idle for 10 min"), At: middle}); err != nil {
			b.Fatal(err)
		}
		bare, ours = bare+middle.Sub(start), ours+time.Since(middle)
	}
	b.ReportMetric(float64(ours)/float64(bare), "ratio")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "us/append")
}

// sizeFromEnv: JOURNAL_BENCH_SIZE=1000000 for the journal of a long life.
func sizeFromEnv() int {
	if n, err := strconv.Atoi(os.Getenv("JOURNAL_BENCH_SIZE")); err == nil {
		return n
	}
	return 200_000
}
