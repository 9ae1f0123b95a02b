package forward

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"modelops/messages"
)

// A path that another host names stays at the worker: without a slash in front it could end in the address of another server, which would get the worker's key.
func TestAPathStaysAtTheWorker(t *testing.T) {
	asked := atomic.Int64{}
	r := newRig(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another server was asked") }))
	defer elsewhere.Close()
	h, err := r.client.at("pc2")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"@" + strings.TrimPrefix(elsewhere.URL, "http://") + "/v1/models", "", "1/x", "v1/models", ".example.com/", "?a=@" + elsewhere.URL} {
		in, err := h.stream(t.Context())
		if err == nil {
			err = in.Send(&messages.ForwardFrame{Request: &messages.ForwardRequest{Model: "tiny~2", Method: http.MethodGet, Path: path}}, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := in.Recv()
		if err != nil || f.Response != nil || messages.CodeOf(f.Error.Err()) != messages.InvalidArgument || asked.Load() > 0 {
			t.Errorf("%q: %v, %v", path, f, err)
		}
		r.outcome()
	}
}

// TestPlaceIsFreeAtTheEnd: who has the whole answer finds the worker's place free.
func TestPlaceIsFreeAtTheEnd(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "short") })
	for range 100 {
		resp, err := r.client.RoundTrip(r.request(t.Context(), text("x")))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if len(r.gate.outcomes) != 1 {
			t.Fatal("the place is still taken")
		}
		r.outcome()
	}
}

// TestAnswersEarly: a worker that answers without the rest of a body ends the request, and nothing goes on reading it.
func TestAnswersEarly(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "enough")
	})
	body, upload := io.Pipe()
	go func() { _, _ = upload.Write(make([]byte, 3*piece)) }() // and the rest never comes
	resp, err := r.client.RoundTrip(r.request(t.Context(), body))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); string(got) != "enough" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_ = resp.Body.Close()
	_ = body.Close()
	r.outcome()
}

// TestAnEndedRequestWaitsForNobody: a request that is cancelled at the worker's host gives its place back while its caller doesn't read, and the caller hears why.
func TestAnEndedRequestWaitsForNobody(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		for q.Context().Err() == nil {
			if _, err := w.Write(make([]byte, piece)); err != nil {
				return
			}
		}
	})
	ended, end := context.WithCancelCause(t.Context())
	r.gate.ended = ended
	resp, err := r.client.RoundTrip(r.request(t.Context(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h, err := r.client.at("pc2")
	if err != nil {
		t.Fatal(err)
	}
	unread := func() (n int) {
		for _, l := range h.lines {
			l.mu.Lock()
			if l.conn != nil {
				if s := l.conn.at(1); s != nil {
					s.mu.Lock()
					n += s.unread
					s.mu.Unlock()
				}
			}
			l.mu.Unlock()
		}
		return n
	}
	for unread() < window {
		runtime.Gosched()
	}
	end(messages.NewError(messages.Cancelled, "tiny", "somebody has cancelled it"))
	if o := r.outcome(); messages.CodeOf(o.Err) != messages.Cancelled {
		t.Errorf("%+v", o)
	}
	if _, err := io.Copy(io.Discard, resp.Body); messages.CodeOf(err) != messages.Cancelled || !strings.Contains(err.Error(), "somebody has cancelled it") {
		t.Errorf("%v", err)
	}
}
