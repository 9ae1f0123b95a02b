package runtime

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// A trial asks as the failing requests asked, three times, and tells an engine's own failure from a refusal and from silence.
func TestTrials(t *testing.T) {
	r := newRuntime(t, "ready")
	spec := &messages.ModelSpec{Name: "m", Runtime: "openai"}
	for name, c := range map[string]struct {
		path   string
		answer func(n int, r *http.Request) int // 0 = none
		want   messages.Verdict
		asked  string
	}{
		"works":                 {"/v1/embeddings", func(int, *http.Request) int { return 200 }, messages.TrialWorks, "/v1/embeddings /v1/embeddings /v1/embeddings"},
		"works, chat":           {"", func(int, *http.Request) int { return 200 }, messages.TrialWorks, "/v1/chat/completions /v1/chat/completions /v1/chat/completions"},
		"fails":                 {"/v1/completions", func(int, *http.Request) int { return 500 }, messages.TrialFails, "/v1/completions"},
		"fails now and then":    {"/v1/completions", func(n int, _ *http.Request) int { return 200 + n/3*300 }, messages.TrialFails, "/v1/completions /v1/completions /v1/completions"},
		"refuses":               {"/v1/embeddings", func(int, *http.Request) int { return 400 }, messages.TrialUnknown, "/v1/embeddings"},
		"not built for it":      {"/v1/embeddings", func(int, *http.Request) int { return 501 }, messages.TrialUnknown, "/v1/embeddings"},
		"unknown kind":          {"/v1/images/generations", func(int, *http.Request) int { return 200 }, messages.TrialUnknown, "/v1/models"},
		"unknown kind, and ill": {"/v1/images/generations", func(int, *http.Request) int { return 500 }, messages.TrialFails, "/v1/models"},
		"silent":                {"", func(int, *http.Request) int { return 0 }, messages.TrialBusy, "/v1/chat/completions"},
	} {
		var asked []string
		entered := make(chan struct{}, 9)
		e := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			asked = append(asked, r.URL.Path)
			entered <- struct{}{}
			status := c.answer(len(asked), r)
			if status == 0 {
				<-r.Context().Done()
				return
			}
			w.WriteHeader(status)
		}))
		ctx, cancel := context.WithCancel(t.Context())
		if name == "silent" {
			go func() { <-entered; cancel() }()
		}
		got := r.Works(ctx, spec, &messages.Worker{Url: e.URL, Remote: true}, c.path)
		cancel()
		e.Close()
		if got != c.want || strings.Join(asked, " ") != c.asked {
			t.Errorf("%s: %d after %q, want %d after %q", name, got, asked, c.want, c.asked)
		}
		if got := r.Works(t.Context(), spec, &messages.Worker{Url: e.URL, Remote: true}, ""); got != messages.TrialFails {
			t.Errorf("%s: a worker that is gone: %d", name, got)
		}
	}
}

// A worker that does nothing is told from one that computes.
func TestSilenceIsToldFromWork(t *testing.T) {
	r := newRuntime(t, "ready")
	over, end := context.WithCancel(t.Context())
	end()
	late := answer{err: context.DeadlineExceeded}
	w := &messages.Worker{Pid: 1}
	if got := r.verdict(over, w, late, time.Hour*24*365); got != messages.TrialSilent {
		t.Errorf("a process that used no time: %d", got)
	}
	if got := r.verdict(over, w, late, -time.Second); got != messages.TrialBusy {
		t.Errorf("a process that used a second: %d", got)
	}
	if got := r.verdict(over, &messages.Worker{Pid: 1 << 30}, late, 0); got != messages.TrialBusy {
		t.Errorf("a process that can't be read: %d", got)
	}
}
