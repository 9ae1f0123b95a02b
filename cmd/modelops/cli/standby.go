package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"modelops/bridges/config"
	"modelops/bridges/process"
	"modelops/journal"
	"modelops/messages"
)

// StandbyFile in the data directory is locked by the daemon that waits to take another's place.
const StandbyFile = "standby.lock"

const (
	standbyLooks  = 100 * time.Millisecond // how often the journal's lock is looked at
	standbyClaims = 3                      // tries to become the one that waits
	standbyAsks   = time.Second            // how often the active daemon is asked whether it lives, and how long it may take to answer
)

// standby waits until no daemon uses the data directory. The lock of the journal decides: the kernel drops it with its process, so two daemons are never
// active at once. One that holds the lock and answers nothing for killAfter is killed, when it proves to be the one that the directory names.
type standby struct {
	cfg       *config.Config
	log       *slog.Logger
	killAfter time.Duration // 0 = never

	answered time.Time // last, by the active daemon
	asked    time.Time
	told     bool // that it doesn't answer
}

// claimStandby makes this process the one that waits. The claim ends with release, or with the process.
func claimStandby(dataDir string) (release func(), err error) {
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, messages.Errorf(messages.JournalUnavailable, dataDir, "the data directory can't be made: %w", err).WithHint("set data_dir to a directory that this user may write")
	}
	path := filepath.Join(dataDir, StandbyFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, messages.Errorf(messages.FailedPrecondition, path, "it can't be opened: %w", err)
	}
	for range standbyClaims { // the active daemon looks at the lock for a moment, each second
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			break
		}
		time.Sleep(standbyLooks / 10)
	}
	if err != nil {
		f.Close()
		return nil, messages.NewError(messages.Conflict, dataDir, "another standby waits for this data directory").WithHint("one is enough; stop it, or set another data_dir")
	}
	return func() { f.Close() }, nil
}

// await returns when the data directory is free.
func (s *standby) await(ctx context.Context) error {
	look := time.NewTicker(standbyLooks)
	defer look.Stop()
	for said := 0; ; {
		pid, held, err := journal.InUse(s.cfg.Journal.Dir)
		switch {
		case err != nil:
			return err
		case !held:
			return nil
		case said != pid+1: // a new one; the pid may be unknown
			said = pid + 1
			s.answered = time.Now()
			s.log.Info("standby: waits to take the place of the active daemon", "pid", pid, "data_dir", s.cfg.DataDir)
		}
		s.watch(ctx)
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch asks the active daemon whether it lives, and kills one that hangs.
func (s *standby) watch(ctx context.Context) {
	if s.killAfter == 0 || time.Since(s.asked) < standbyAsks {
		return
	}
	s.asked = time.Now()
	a, err := readAddresses(s.cfg.DataDir)
	if err != nil || a == nil || answers(ctx, a.HTTP) { // one that starts or stops has no address: it isn't judged
		s.answered, s.told = time.Now(), false
		return
	}
	silent := time.Since(s.answered)
	if silent < s.killAfter {
		if !s.told {
			s.log.Warn("standby: the active daemon doesn't answer", "pid", a.PID, "ended_after", s.killAfter)
		}
		s.told = true
		return
	}
	err = process.SignalSelf(process.Handle{Pid: int64(a.PID), StartTicks: a.Started, BootID: a.Kernel}, syscall.SIGKILL)
	if err != nil {
		s.log.Error("standby: the active daemon answers nothing and can't be ended", "pid", a.PID, "silent", silent.Round(time.Second), "error", err)
		return
	}
	s.log.Warn("standby: ended the active daemon because it answered nothing", "pid", a.PID, "silent", silent.Round(time.Second))
}

// answers tells whether any answer comes from a daemon's HTTP door. Who answers isn't asked: the process that is killed is proven by its start time.
func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, standbyAsks)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Do(r)
	if err == nil {
		resp.Body.Close()
		return true
	}
	var refused syscall.Errno
	var alert tls.AlertError // it wants a certificate of its client: it lives
	return errors.As(err, &alert) || errors.As(err, &refused) && refused == syscall.ECONNRESET
}

// standBy waits for the data directory and starts the daemon. When another one was faster, it waits again.
func (c *cli) standBy(ctx context.Context, s *standby, start func() (Daemon, error)) (Daemon, error) {
	release, err := claimStandby(s.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	defer release()
	for {
		if err := s.await(ctx); err != nil {
			return nil, err
		}
		began := time.Now()
		d, err := start()
		if messages.CodeOf(err) != messages.Conflict {
			if err == nil {
				s.log.Info("standby: active", "after", time.Since(began).Round(time.Millisecond), "pid", strconv.Itoa(os.Getpid()))
			}
			return d, err
		}
		s.log.Warn("standby: the data directory isn't free yet", "error", err)
		select {
		case <-time.After(standbyAsks):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
