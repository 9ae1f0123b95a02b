package forward

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// BenchmarkPassage passes short requests on for 64 callers, both hosts in this process, with a worker that costs nothing. Processor time tells more
// than the time that passed: the machine is shared.
func BenchmarkPassage(b *testing.B) {
	const callers, size = 64, 500
	r := &rig{server: NewServer(Options{Host: "pc2", Gateway: open{}, Workers: instant(bytes.Repeat([]byte("a"), size))})}
	r.server.Start()
	r.client = NewClient(r.dial)
	body := strings.Repeat("q", size)
	ask := func() {
		ctx, leave := context.WithCancel(messages.WithCaller(b.Context(), messages.Caller{Principal: messages.Principal{Name: "ann", Class: "high", Fingerprint: "f1"}, RequestID: "r-1", Asked: time.Now()}))
		defer leave()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, messages.PeerURL("pc2", "tiny")+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"bench"}, "X-Request-Id": {"r-1"}}
		resp, err := r.client.RoundTrip(req)
		if err != nil {
			b.Error(err)
			return
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			b.Error(n, err)
		}
	}
	ask()
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for range (b.N + i) / callers {
				ask()
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
	r.client.Close()
	ended, end := context.WithCancel(context.Background())
	end()
	_ = r.server.Stop(ended)
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// open admits everybody at once.
type open struct{ messages.Gateway }

func (open) Admit(_ context.Context, model string) (*messages.Grant, error) {
	return &messages.Grant{Model: model, URL: "http://127.0.0.1:1", Ended: context.Background(), Began: time.Now(), Release: func(messages.Outcome) {}}, nil
}

// instant is a worker that answers each request with the same bytes.
type instant []byte

func (a instant) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(a)), Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}
