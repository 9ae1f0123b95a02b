package pool

import (
	"context"
	"strings"
	"testing"
	"time"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// watched is a pool of one ready worker whose failures are tried.
type watched struct {
	*Pool
	now  time.Time
	next uint64
}

func watch() *watched {
	p := New("tiny", "main_pc", Figures{Limits: Limits{4, 8}, FailureThreshold: 3, ResetTimeout: 20 * time.Second, Trials: true}, nil)
	w := &watched{Pool: p, now: entitytest.Epoch}
	w.ready(1)
	return w
}

func (w *watched) ready(attempt uint64) {
	w.Update(&messages.ModelView{Id: "model/main_pc/tiny", Name: "tiny", Attempt: attempt, Phase: messages.ModelView_ready, Wanted: true,
		Spec: &messages.ModelSpec{Name: "tiny"}, Worker: &messages.Worker{}}, w.now)
}

// begin lets a request run; false when the breaker refuses it.
func (w *watched) begin() (ticket uint64, ok bool) {
	w.next++
	position, err := w.Admit(Request{Ticket: w.next, Since: w.now})
	return w.next, err == nil && position == 0
}

func (w *watched) request(t *testing.T, took time.Duration, o messages.Outcome) {
	t.Helper()
	ticket, ok := w.begin()
	if !ok {
		t.Fatal("the door is closed")
	}
	w.now = w.now.Add(took)
	w.Finish(ticket, o, w.now)
}

// try makes the trials that are due, with one verdict, and counts them.
func (w *watched) try(v messages.Verdict) (n int) {
	for _, x := range w.Trials(w.now) {
		n++
		if v == messages.TrialBusy || v == messages.TrialSilent {
			w.now = w.now.Add(10 * time.Second)
		}
		w.Tried(x, v, w.now)
	}
	return n
}

func (w *watched) replaced() string {
	for _, h := range w.Sweep(w.now, true) {
		if r, ok := h.Command.(*messages.ReplaceWorker); ok {
			return r.Reason
		}
	}
	return ""
}

var bad = messages.Outcome{Failed: true, Path: "/v1/embeddings", Err: messages.NewError(messages.InferenceError, "", "the engine answered 500")}

// One caller's bad inputs, however many, close the door for nobody and end no worker, as long as the worker answers trials.
func TestBadInputsCloseNoDoor(t *testing.T) {
	w := watch()
	trials := 0
	for range 100 {
		w.request(t, time.Second, bad)
		trials += w.try(messages.TrialWorks)
		if why := w.replaced(); why != "" {
			t.Fatal(why)
		}
	}
	if trials < 10 || trials > 60 {
		t.Errorf("%d trials", trials)
	}
}

// A worker that fails trials too is closed, and is opened by a trial or by a request that it answers.
func TestAWorkerThatFailsTrialsIsClosed(t *testing.T) {
	for name, cure := range map[string]func(*watched){
		"by a trial": func(w *watched) { w.suspicion().due, w.suspicion().next = true, w.now; w.try(messages.TrialWorks) },
		"by a request": func(w *watched) {
			w.now = w.now.Add(20 * time.Second)
			ticket, _ := w.begin()
			w.Finish(ticket, messages.Outcome{}, w.now)
		},
	} {
		w := watch()
		for range 3 {
			w.request(t, time.Millisecond, bad)
		}
		if x := w.Trials(w.now); len(x) != 1 || x[0].Path != "/v1/embeddings" || len(w.Trials(w.now)) != 0 {
			t.Fatalf("%s: trials %v", name, x)
		} else if !w.Tried(x[0], messages.TrialFails, w.now) {
			t.Fatalf("%s: the breaker didn't open", name)
		}
		if _, ok := w.begin(); ok {
			t.Errorf("%s: the door is open", name)
		}
		if cure(w); w.endpoints[0].breaker.open {
			t.Errorf("%s: the door stays closed", name)
		}
	}
}

func (w *watched) suspicion() *suspicion { return &w.endpoints[0].suspicion }

// Where no trial can tell, the failures of two callers count, those of one don't.
func TestFailuresOfSeveralCallers(t *testing.T) {
	for callers, open := range map[string]bool{"aaaaaa": false, "......": false, "ababab": true} {
		w := watch()
		for _, c := range callers {
			o := bad
			if c != '.' {
				o.Caller = string(c)
			}
			if ticket, ok := w.begin(); ok {
				w.Finish(ticket, o, w.now)
			}
			w.now = w.now.Add(11 * time.Second)
			w.try(messages.TrialUnknown)
		}
		if w.endpoints[0].breaker.open != open {
			t.Errorf("%s: open %v", callers, !open)
		}
	}
}

// One request counts once; a worker that can't be reached is tried again after a second.
func TestUnreachable(t *testing.T) {
	w := watch()
	gone := messages.Outcome{Failed: true, Unreachable: true, Err: messages.NewError(messages.Unavailable, "", "no connection")}
	again := gone
	again.Again = true
	for range 2 {
		w.request(t, 0, gone)
		w.request(t, 0, again)
		w.request(t, 0, again)
	}
	if b := w.endpoints[0].breaker; b.open || b.failures != 2 || w.endpoints[0].outlier.seen != 2 {
		t.Fatalf("%+v", b)
	}
	w.request(t, 0, gone)
	if _, ok := w.begin(); ok {
		t.Error("the door is open")
	}
	w.now = w.now.Add(time.Second)
	if _, ok := w.begin(); !ok {
		t.Error("the door is closed for more than a second")
	}
}

// A worker that hangs at its first request is found, whether callers wait or leave; one that is merely busy isn't (S11, S16).
func TestAWorkerThatHangsSinceItsLoad(t *testing.T) {
	left := messages.Outcome{Err: context.DeadlineExceeded}
	for name, c := range map[string]struct {
		verdict messages.Verdict
		leave   time.Duration // callers leave after so long and others come; 0 = one waits
		heard   bool
		found   time.Duration // not before, and soon after; 0 = never
	}{
		"silent, one waits":      {messages.TrialSilent, 0, false, 210 * time.Second},
		"silent, callers leave":  {messages.TrialSilent, 5 * time.Second, false, 200 * time.Second},
		"works, callers leave":   {messages.TrialWorks, 40 * time.Second, false, 0},
		"unknown, callers leave": {messages.TrialUnknown, 40 * time.Second, false, 0},
		"computes":               {messages.TrialBusy, 0, false, 20*time.Minute + 30*time.Second},
		"a stream goes on":       {messages.TrialSilent, 0, true, 0},
	} {
		w := watch()
		ticket, _ := w.begin()
		began, since := w.now, w.now
		found := time.Duration(0)
		for w.now.Sub(began) < 30*time.Minute && found == 0 {
			w.now = w.now.Add(time.Second)
			if c.heard {
				w.endpoints[0].Heard(w.now)
			}
			if c.leave > 0 && w.now.Sub(since) >= c.leave {
				w.Finish(ticket, left, w.now)
				ticket, _ = w.begin()
				since = w.now
			}
			w.try(c.verdict)
			if why := w.replaced(); why != "" {
				found = w.now.Sub(began)
				if !strings.Contains(why, "no sign of life") {
					t.Errorf("%s: %s", name, why)
				}
			}
		}
		if found < c.found || found > c.found+30*time.Second {
			t.Errorf("%s: found after %s, want %s", name, found, c.found)
		}
	}
}

// What an answer took at a former worker is the measure for its successor: a model whose answers take long is given more time.
func TestFormerWorkersAreTheMeasure(t *testing.T) {
	w := watch()
	w.request(t, time.Minute, messages.Outcome{})
	w.ready(2)
	if _, ok := w.begin(); !ok {
		t.Fatal("refused")
	}
	w.now = w.now.Add(19 * time.Minute)
	if n := w.try(messages.TrialSilent); n != 0 {
		t.Error("an answer usually takes a minute, and one of 19 minutes is suspected")
	}
	w.now = w.now.Add(2 * time.Minute)
	if n := w.try(messages.TrialSilent); n != 1 {
		t.Error("nothing is suspected after 21 minutes")
	}
}
