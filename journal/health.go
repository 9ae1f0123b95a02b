package journal

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

const mendEvery = time.Second

func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

func isDiskFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// Health is nil while decisions can be stored; else JournalFull, JournalDamaged or JournalUnavailable.
func (j *Journal) Health() error {
	if err := j.refusal(messages.ActorID{}); err != nil {
		return err
	}
	if ill := j.storeErrors(); ill != "" {
		return j.unavailable(j.o.Dir, errors.New(ill))
	}
	return nil
}

// refusal says why nothing may be appended now, nil when it may.
func (j *Journal) refusal(a messages.ActorID) error {
	subject := j.o.Dir
	if a.Kind != "" {
		subject = a.String()
	}
	switch {
	case j.stopped.Err() != nil:
		return messages.NewError(messages.JournalUnavailable, subject, "the journal is closed")
	case j.o.ReadOnly && j.outage.Load() != nil:
		return j.outage.Load()
	case j.o.ReadOnly:
		return messages.NewError(messages.JournalUnavailable, subject, "the journal is open for reading only").
			WithHint("`modelops restore --from COPY` brings a journal back from a copy")
	}
	if free, err := freeBytes(j.o.Dir); err == nil && free < j.o.MinFree {
		return j.full(subject, free)
	}
	if d := j.damage.Load(); d != nil {
		return d
	}
	if t := j.outage.Load(); t != nil {
		return t
	}
	return nil
}

func (j *Journal) full(subject string, free uint64) *messages.Error {
	return messages.Errorf(messages.JournalFull, subject, "the journal's disk has %s left, decisions need at least %s",
		messages.FormatBytes(free), messages.FormatBytes(j.o.MinFree)).
		WithHint("free space under " + j.o.Dir + "; decisions go on by themselves").WithRetry(5 * time.Second)
}

func (j *Journal) unavailable(subject string, cause error) *messages.Error {
	return messages.Errorf(messages.JournalUnavailable, subject, "the journal's store does not answer: %w", cause).
		WithHint("look at the disk under " + j.o.Dir).WithRetry(time.Second)
}

// diagnose tells whether a failed publish is the store's fault. If it is, it starts restarting the server and returns the reason; nil means
// that the store works and only the answer was lost.
func (j *Journal) diagnose(a messages.ActorID, cause error) error {
	if j.stopped.Err() != nil {
		return j.refusal(a)
	}
	ill := j.storeErrors()
	if ill == "" {
		return nil
	}
	err := j.unavailable(a.String(), errors.Join(cause, errors.New(ill)))
	if free, e := freeBytes(j.o.Dir); e == nil && (free < j.o.MinFree || strings.Contains(ill, unix.ENOSPC.Error())) {
		err = j.full(a.String(), free)
	}
	j.o.Log.Error("the journal's store failed", "dir", j.o.Dir, "ill", ill, "err", cause)
	j.startMending(err)
	return err
}

// startMending keeps one goroutine that ends the outage. outage and mending change together, so no outage is left without a goroutine.
func (j *Journal) startMending(because *messages.Error) {
	j.mend.Lock()
	defer j.mend.Unlock()
	if j.stopped.Err() != nil {
		return
	}
	j.outage.Store(because)
	if !j.mending {
		j.mending = true
		j.running.Go(j.keepMending)
	}
}

func (j *Journal) endMending() {
	j.mend.Lock()
	defer j.mend.Unlock()
	j.outage.Store(nil)
	j.mending = false
}

// keepMending restarts the server in place once there is room. After a full disk NATS goes on answering with silence even when space is back.
func (j *Journal) keepMending() {
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		select {
		case <-j.stopped.Done():
			return
		case <-tick.C:
		}
		if free, err := freeBytes(j.o.Dir); err != nil || free < j.o.MinFree {
			continue
		}
		err := j.restart()
		if err == nil {
			j.o.Log.Info("the journal works again", "dir", j.o.Dir, "sequence", j.Sequence())
			j.endMending()
			return
		}
		j.o.Log.Error("the journal can't be restarted in place", "dir", j.o.Dir, "err", err)
		typed := messages.AsError(err)
		j.outage.Store(typed)
		if typed.Code == messages.JournalDamaged {
			return // an operator must decide; mending stays set, so nothing tries again
		}
	}
}

// restart runs a new server over the same store, after another verification: every acknowledged decision must still be there.
func (j *Journal) restart() error {
	if err := j.saveMark(); err != nil {
		return unwritable(j.o.Dir, err)
	}
	j.stopServer()
	j.stats.restarts.Add(1)
	if err := j.openStore(j.stopped); err != nil {
		return err
	}
	ctx, cancel := progressing(j.stopped, bytesRead, standstill)
	defer cancel()
	if err := j.Reader.awaitServer(ctx, j.server.Load().ID()); err != nil {
		return err
	}
	return j.checkOpened(j.stopped)
}
