//go:build e2e

package e2e_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// twin is a standby on a daemon's data directory.
func (d *daemon) twin(args ...string) *daemon {
	d.t.Helper()
	s := &daemon{t: d.t, binary: d.binary, dir: d.dir, env: d.env, args: append([]string{"--standby"}, args...), log: &buffer{}}
	d.t.Cleanup(s.clean)
	s.spawn()
	s.unless(func() string {
		if !s.running() || s.announced() || strings.Contains(s.log.String(), "isn't free yet") {
			return "it has ended, is active beside the first one, or tries to be:\n" + s.log.tail(20)
		}
		return ""
	}, "the standby waits", func() bool { return strings.Contains(s.log.String(), "standby: waits") })
	return s
}

// tookOver checks a standby that is active: the model's worker is the same process, no load began, and the journal of both starts is one.
func (d *daemon) tookOver(t *testing.T, worker int64) {
	t.Helper()
	d.awaitPhase("tiny", "ready")
	if now := d.model("tiny").Worker.Pid; now != worker || d.loads("tiny") != 1 {
		t.Errorf("worker %d is now %d, %d loads", worker, now, d.loads("tiny"))
	}
	d.answers("tiny")
	if n := d.count(messages.HostActor("main_pc"), "host.started"); n != 2 {
		t.Errorf("%d starts in the journal", n)
	}
	if r := d.cli("replay"); r.code != 0 || !strings.Contains(r.out, "equal:") {
		t.Errorf("replay: %s", r)
	}
}

// asksInVain tells whether a standby has said that the active daemon doesn't answer.
func (d *daemon) asksInVain() bool { return strings.Contains(d.log.String(), "doesn't answer") }

const tinyModel = "models: {declare: {tiny: {path: TINY}}}\n"

// TestStandby: a standby takes the place of a daemon that is killed: journal, doors and workers.
func TestStandby(t *testing.T) {
	d := start(t, tinyModel)
	d.answers("tiny")
	worker := d.model("tiny").Worker.Pid
	s := d.twin()
	if r := d.wontServe("--standby"); r.code != 5 || !strings.Contains(r.err, "another standby") {
		t.Errorf("a second standby: %s", r)
	}
	d.kill()
	began := time.Now()
	d.until(soonLimit, "the standby sees that the data directory is free, and is active", s.announced)
	t.Logf("active %s after the kill", time.Since(began).Round(time.Millisecond))
	s.tookOver(t, worker)
}

// TestStandbyEndsOneThatHangs: a daemon that is stopped holds its lock, so the standby ends it first; to wake it then changes nothing.
func TestStandbyEndsOneThatHangs(t *testing.T) {
	d := start(t, tinyModel)
	d.answers("tiny")
	worker := d.model("tiny").Worker.Pid
	s := d.twin("--standby-kill-after", "2s")
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.until(soonLimit, "the standby ends the one that hangs", func() bool { return strings.Contains(s.log.String(), "ended the active daemon") })
	d.until(startLimit, "the standby is active", s.announced)
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	d.awaitExit(waitLimit)
	s.tookOver(t, worker)
}

// TestStandbyLeavesOneThatLives: a daemon that was stopped for a while goes on, and the standby waits on: two are never active.
func TestStandbyLeavesOneThatLives(t *testing.T) {
	d := start(t, tinyModel)
	s := d.twin("--standby-kill-after", "1h")
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	asks := d.asks("tiny", 0) // is answered after it goes on
	s.unless(func() string {
		if !d.running() || s.announced() {
			return "the standby has ended the active daemon:\n" + s.log.tail(20)
		}
		return ""
	}, "the standby asks in vain", s.asksInVain)
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if a := d.heard(asks, waitLimit); a.status != 200 {
		t.Errorf("asked while it was stopped: %s", a)
	}
	if s.announced() || !s.running() || !d.running() {
		t.Error("the standby didn't wait")
	}
	s.stop()
	if n := d.count(messages.HostActor("main_pc"), "host.started"); n != 1 {
		t.Errorf("%d starts in the journal", n)
	}
}
