package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelops/messages"
)

// TestAsItIs: method, path, headers and bodies of all sizes arrive as they were, both ways, and the answer's trailers.
func TestAsItIs(t *testing.T) {
	for name, size := range map[string]int{"none": 0, "small": 100, "a piece": piece, "one more": piece + 1, "large": 5<<20 + 3} {
		for _, known := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
					body, _ := io.ReadAll(q.Body)
					w.Header().Set("X-Saw", q.Method+" "+q.URL.RequestURI()+" "+strings.Join(q.Header["X-Two"], ","))
					w.Header().Set("Trailer", "X-After")
					if known && q.ContentLength != int64(len(body)) {
						t.Errorf("content length %d of %d", q.ContentLength, len(body))
					}
					w.WriteHeader(201)
					_, _ = w.Write(body)
					w.Header().Set("X-After", "all")
				})
				body := make([]byte, size)
				_, _ = rand.Read(body)
				req := r.request(t.Context(), bytes.NewReader(body))
				if !known {
					req = r.request(t.Context(), io.MultiReader(bytes.NewReader(body)))
				}
				req.Header["X-Two"] = []string{"1", "2"}
				resp, err := r.client.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || !bytes.Equal(got, body) || resp.StatusCode != 201 || resp.Header.Get("X-Saw") != "POST /v1/chat/completions?a=b 1,2" || resp.Trailer.Get("X-After") != "all" {
					t.Fatalf("%v, %d of %d bytes, %d %v %v", err, len(got), size, resp.StatusCode, resp.Header, resp.Trailer)
				}
				if o := r.outcome(); o.Failed || o.Err != nil || o.Path != "/v1/chat/completions" || o.Bytes != int64(2*size) {
					t.Errorf("%+v", o)
				}
			})
		}
	}
}

// TestHowItWaitedThere: the wait for a place at the owner counts as a wait of the request, and a worker that says something of it isn't believed.
func TestHowItWaitedThere(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(messages.QueuePositionHeader, "7") })
	ask := func(g *messages.Grant) {
		resp, err := r.client.RoundTrip(r.request(t.Context(), nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		g.QueuedThere(resp.Header)
	}
	g := &messages.Grant{Host: "pc2"}
	if ask(g); g.Position != 0 || g.Queued != 0 {
		t.Errorf("it didn't wait: %+v", g)
	}
	r.gate.queued = time.Second
	if ask(g); g.Position != 2 || g.Queued != time.Second || g.Expected != 3*time.Second {
		t.Errorf("%+v", g)
	}
	if ask(g); g.Position != 2 || g.Queued != 2*time.Second { // it waited here too
		t.Errorf("%+v", g)
	}
	here := &messages.Grant{}
	if ask(here); here.Position != 0 || here.Queued != 0 {
		t.Errorf("a worker of this host was believed: %+v", here)
	}
}

// TestWhoAsks: the owner admits the request for the caller that the other host has admitted, with the time that it has waited and its deadline, at the
// worker that was named.
func TestWhoAsks(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	stay := 5 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx = messages.WithCaller(ctx, messages.Caller{Principal: messages.Principal{Name: "ann", Class: "high", Fingerprint: "f1", Role: messages.Role_OPERATE},
		RequestID: "r-1", Asked: time.Now().Add(-10 * time.Second), KeepAlive: &stay})
	resp, err := r.client.RoundTrip(r.request(ctx, nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	r.outcome()
	c := r.gate.caller
	if waited := time.Since(c.Asked); c.Name != "ann" || c.Class != "high" || c.Fingerprint != "f1" || c.Role != messages.Role_OPERATE || c.RequestID != "r-1" ||
		waited < 10*time.Second || waited > time.Minute || *c.KeepAlive != stay {
		t.Errorf("%+v, waited %s", c, waited)
	}
	if c.Only != (messages.Only{Host: "pc2", Worker: "tiny~2"}) || r.gate.model != "tiny" || r.gate.peer != "main_pc" || time.Until(r.gate.until) > time.Minute {
		t.Errorf("%+v %q %q %s", c.Only, r.gate.model, r.gate.peer, r.gate.until)
	}
}

// TestRefused: each code comes back as the same one, and nothing ran: the request may go elsewhere.
func TestRefused(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) { t.Error("it ran") })
	for _, code := range messages.Codes() {
		r.gate.refuse = messages.NewError(code, "model/pc2/tiny", "no").WithHint("later").WithRetry(2 * time.Second)
		_, err := r.client.RoundTrip(r.request(t.Context(), text("x")))
		var lost *messages.Unanswered
		e := messages.AsError(err)
		if !errors.As(err, &lost) || lost.Sent || e.Code != code || e.Hint != "later" || e.Retry != 2*time.Second || e.Subject != "model/pc2/tiny" {
			t.Errorf("%s: %v %+v", code, err, e)
		}
	}
}

// TestWorkerDies: a worker that dies without an answer may have been ended by the request: it isn't sent again. In the middle of an answer the
// caller gets an error, and not half an answer that looks whole.
func TestWorkerDies(t *testing.T) {
	var begun atomic.Bool
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		if begun.Load() {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	})
	_, err := r.client.RoundTrip(r.request(t.Context(), text("x")))
	var lost *messages.Unanswered
	if !errors.As(err, &lost) || !lost.Sent || messages.CodeOf(err) != messages.InferenceError {
		t.Errorf("%v", err)
	}
	if o := r.outcome(); !o.Failed {
		t.Errorf("%+v", o)
	}
	begun.Store(true)
	resp, err := r.client.RoundTrip(r.request(t.Context(), text("x")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(got) != "half" || messages.CodeOf(err) != messages.InferenceError {
		t.Errorf("%q, %v", got, err)
	}
	if o := r.outcome(); !o.Failed {
		t.Errorf("%+v", o)
	}
}

// TestCallerLeaves: the worker's request ends with the caller's, before an answer and within one, and its place comes back.
func TestCallerLeaves(t *testing.T) {
	for name, answers := range map[string]bool{"before an answer": false, "within an answer": true} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan struct{})
			r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
				_, _ = io.Copy(io.Discard, q.Body)
				if answers {
					_, _ = w.Write([]byte("data: 1\n\n"))
					_ = http.NewResponseController(w).Flush()
				}
				close(began)
				<-q.Context().Done()
				close(ended)
			})
			ctx, cancel := context.WithCancel(t.Context())
			headed := make(chan struct{})
			go func() {
				if <-began; answers {
					<-headed
				}
				cancel()
			}()
			resp, err := r.client.RoundTrip(r.request(ctx, text("x")))
			close(headed)
			if answers {
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			r.within("the worker's request goes on", ended)
			if o := r.outcome(); o.Failed {
				t.Errorf("%+v", o)
			}
		})
	}
}

// TestHostDies: before the first byte the request may go elsewhere; after it the answer ends with an error. Both at once.
func TestHostDies(t *testing.T) {
	for name, answers := range map[string]bool{"before the first byte": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			began := make(chan struct{})
			r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
				if answers {
					_, _ = w.Write([]byte("data: 1\n\n"))
					_ = http.NewResponseController(w).Flush()
				}
				close(began)
				<-q.Context().Done()
			})
			headed := make(chan struct{})
			go func() {
				if <-began; answers {
					<-headed
				}
				r.die()
			}()
			resp, err := r.client.RoundTrip(r.request(t.Context(), nil))
			close(headed)
			if answers {
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if messages.CodeOf(err) != messages.InferenceError {
					t.Errorf("%v", err)
				}
				return
			}
			var lost *messages.Unanswered
			if !errors.As(err, &lost) || lost.Sent || messages.CodeOf(err) != messages.Unavailable {
				t.Errorf("%v", err)
			}
			if _, err = r.client.RoundTrip(r.request(t.Context(), text("x"))); !errors.As(err, &lost) || lost.Sent {
				t.Errorf("a dead host: %v", err)
			}
		})
	}
}

// TestUnreachable: a host that isn't heard any more takes no request, and what has no answer yet ends at once, so that it can go elsewhere. It
// comes back.
func TestUnreachable(t *testing.T) {
	began, quick := make(chan struct{}), atomic.Bool{}
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		if !quick.Load() {
			close(began)
			<-q.Context().Done()
		}
	})
	go func() { <-began; r.client.Reach("pc2", false) }()
	for range 2 {
		_, err := r.client.RoundTrip(r.request(t.Context(), nil))
		var lost *messages.Unanswered
		if !errors.As(err, &lost) || lost.Sent || messages.CodeOf(err) != messages.Unavailable {
			t.Errorf("%v", err)
		}
	}
	quick.Store(true)
	r.client.Reach("pc2", true)
	resp, err := r.client.RoundTrip(r.request(t.Context(), nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// TestSlowReader: a caller that doesn't read stops the worker, within the windows on the way, and no other caller.
func TestSlowReader(t *testing.T) {
	var written atomic.Int64
	stuck := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("X-Quick") != "" {
			_, _ = w.Write(make([]byte, 3<<20))
			return
		}
		buf := make([]byte, 256<<10)
		conn := http.NewResponseController(w)
		for {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // meant to pass: nobody reads what is written
			n, err := w.Write(buf)
			written.Add(int64(n))
			if err != nil || conn.Flush() != nil {
				close(stuck)
				return
			}
		}
	})
	slow, err := r.client.RoundTrip(r.request(t.Context(), nil))
	if err != nil {
		t.Fatal(err)
	}
	r.within("the worker can write without end", stuck)
	if n := written.Load(); n > 64<<20 {
		t.Errorf("%d bytes are under way", n)
	}
	for range 2 * perHost {
		req := r.request(t.Context(), nil)
		req.Header.Set("X-Quick", "1")
		resp, err := r.client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 3<<20 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		_ = resp.Body.Close()
	}
	_ = slow.Body.Close()
}

// TestPiecesComeAtOnce: no piece of a stream waits for the next.
func TestPiecesComeAtOnce(t *testing.T) {
	next := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		for range 3 {
			_, _ = w.Write([]byte("data: x\n\n"))
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	resp, err := r.client.RoundTrip(r.request(t.Context(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 100)
	for range 3 {
		if n, err := resp.Body.Read(buf); n != 9 || err != nil {
			t.Fatalf("%d %v", n, err)
		}
		next <- struct{}{}
	}
	if _, err := resp.Body.Read(buf); err != io.EOF {
		t.Error(err)
	}
}

// TestStop: a host that stops finishes what runs and takes nothing further; what comes may go elsewhere.
func TestStop(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		close(began)
		<-finish
		_, _ = io.WriteString(w, "all of it")
	})
	stopped := make(chan struct{})
	go func() {
		<-began
		go func() { _ = r.server.Stop(context.Background()); close(stopped) }()
		for { // until the host has heard of it
			_, err := r.client.RoundTrip(r.request(t.Context(), text("x")))
			if lost := (*messages.Unanswered)(nil); errors.As(err, &lost) && !lost.Sent && messages.CodeOf(err) == messages.Unavailable {
				break
			}
			t.Errorf("%v", err)
		}
		close(finish)
	}()
	resp, err := r.client.RoundTrip(r.request(t.Context(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != "all of it" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	r.within("it doesn't stop", stopped)
}
