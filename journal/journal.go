package journal

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Journal is the open journal of one host. All methods may be called from many goroutines.
type Journal struct {
	*Reader // reading, over the journal's own connection

	o        Options
	password string // of in-process users; lives as long as the process
	port     int    // fixed by the first start; written before any other goroutine runs

	callers   callers
	peers     peers
	lock      *lock
	server    atomic.Pointer[server.Server]
	js        jetstream.JetStream
	snapshots atomic.Pointer[jetstream.KeyValue]

	acked   atomic.Uint64                  // highest sequence that is known to be on disk
	grown   signal                         // fires when acked has risen
	marking sync.Mutex                     // one mark is written at a time, by the ticker or by what mends
	damage  atomic.Pointer[messages.Error] // found after the start; never cleared
	skipped []block                        // blocks that the start didn't read because the scan cache held them; fixed once the start is done
	outage  atomic.Pointer[messages.Error] // why nothing can be stored now, other than a lack of space
	mend    sync.Mutex                     // guards mending, and changes of outage with it
	mending bool                           // keepMending runs, or has given up
	stats   counters
	places  places // in the block files

	hubSaid     atomic.Pointer[string] // the last complaint of the connection to the hub
	hubTooLarge atomic.Uint64          // messages that the hub refused for their size
	hubLines    reasons                // log lines about it

	opened   bool               // Open is done; set before any other goroutine runs
	stop     context.CancelFunc // ends the goroutines below
	stopped  context.Context
	running  sync.WaitGroup
	closing  sync.Once
	closeErr error
}

// Open checks the store in o.Dir, starts the server over it and opens its streams. It is refused with messages.Conflict when another
// process holds the store, with messages.JournalDamaged when anything that was acknowledged is missing or unreadable (every byte
// is then left as it was), and with messages.JournalUnavailable when the directory or the server can't be used.
func Open(ctx context.Context, o Options) (*Journal, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, unwritable(o.Dir, err)
	}
	l, err := takeLock(o.Dir, !o.ReadOnly)
	if err != nil {
		return nil, err
	}
	j := &Journal{o: o, lock: l, password: rand.Text(), port: o.Port}
	j.callers = callers{j: j, accounts: map[string]*account{}}
	j.peers.j = j
	j.stopped, j.stop = context.WithCancel(context.WithoutCancel(ctx))
	if o.ReadOnly {
		err = j.openReadOnly(ctx)
	} else {
		err = j.openWriting(ctx)
	}
	if err != nil {
		j.abandon()
		return nil, err
	}
	return j, nil
}

func (j *Journal) openWriting(ctx context.Context) error {
	if err := j.openStore(ctx); err != nil {
		return err
	}
	// Without a buffer a publish in a moment without a server fails at once; with one it would be sent long after its answer was given up.
	nc, err := j.connect(ownUser, nats.Name(j.o.Host+" journal"), nats.ReconnectBufSize(-1))
	if err != nil {
		return err
	}
	if j.Reader, err = newReader(nc, j.o.Host); err != nil {
		nc.Close()
		return err
	}
	j.js = j.Reader.js
	if err := j.checkOpened(ctx); err != nil {
		return err
	}
	j.opened = true
	j.running.Go(j.keepMark)
	j.running.Go(j.keepCallers)
	j.running.Go(j.keepStrangersFew)
	j.running.Go(func() { j.recheck(j.skipped) })
	return nil
}

// openStore looks at the store before the server may write to it, writes down what was seen, and starts the server.
func (j *Journal) openStore(ctx context.Context) error {
	report, err := inspect(ctx, j.o.Dir, readScanCache(j.o.Dir))
	if err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return err
	}
	if err := report.belongsTo(j.o.Host); err != nil {
		return err
	}
	if err := report.Readable(); err != nil {
		return err
	}
	if err := cutTorn(j.o.Dir, report, j.o.Log); err != nil {
		return err
	}
	// A record that a killed process wrote may still be in the page cache only; the mark must not lead the disk.
	if report.lastBlock != "" {
		if err := syncPath(report.lastBlock); err != nil {
			return unwritable(report.lastBlock, err)
		}
	}
	if err := saveScanCache(j.o.Dir, report.found); err != nil {
		j.o.Log.Debug("the scan cache was not saved: the next start reads the whole journal", "error", err)
	}
	for _, s := range report.found {
		if s.cached {
			j.skipped = append(j.skipped, s.block)
		}
	}
	j.acked.Store(report.Last)
	if err := j.saveMark(); err != nil && !isDiskFull(err) {
		return unwritable(j.o.Dir, err)
	}
	return j.startServer(j.o.Dir)
}

// checkOpened opens the streams and compares what the server has with what lay on disk.
func (j *Journal) checkOpened(ctx context.Context) error {
	seen := j.acked.Load()
	ctx, cancel := progressing(ctx, bytesRead, standstill)
	defer cancel()
	if err := j.openStreams(ctx); err != nil {
		return err
	}
	state, err := j.Reader.state(ctx)
	if err != nil {
		return err
	}
	// During a restart in place an append that waited may already be in.
	if state.LastSeq < seen || state.Msgs != state.LastSeq || state.NumDeleted != 0 {
		return messages.Errorf(messages.JournalDamaged, j.o.Dir, "the blocks hold sequences 1 to %d, but the NATS server serves %d decisions up to sequence %d",
			seen, state.Msgs, state.LastSeq).WithHint(hintDamaged)
	}
	return nil
}

// Sequence is that of the last decision, 0 for an empty journal.
func (j *Journal) Sequence() uint64 { return j.acked.Load() }

// Grown closes when the journal has another decision.
func (j *Journal) Grown() <-chan struct{} { return j.grown.wait() }

// BootID is the start of the host that this journal was opened for.
func (j *Journal) BootID() string { return j.o.BootID }

func (j *Journal) raise(sequence uint64) {
	for {
		old := j.acked.Load()
		if sequence <= old {
			return
		}
		if j.acked.CompareAndSwap(old, sequence) {
			j.grown.fire()
			return
		}
	}
}

// keepMark writes the mark each second while it changes.
func (j *Journal) keepMark() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	written := j.acked.Load()
	for {
		select {
		case <-j.stopped.Done():
			return
		case <-tick.C:
		}
		now := j.acked.Load()
		if now == written {
			continue
		}
		if err := j.saveMark(); err != nil {
			j.o.Log.Warn("the journal's mark can't be written", "dir", j.o.Dir, "err", err)
			continue
		}
		written = now
	}
}

// saveMark writes the mark. Two at once would write the same file, and a crash could leave half of one; and the older could replace the newer.
func (j *Journal) saveMark() error {
	j.marking.Lock()
	defer j.marking.Unlock()
	return writeMark(j.o.Dir, mark{Host: j.o.Host, Sequence: j.acked.Load(), BootID: j.o.BootID, At: time.Now().UTC()})
}

// Close ends follows, writes the mark and stops the server. Close the connections from Connect before. Calls after the first do nothing.
func (j *Journal) Close() error {
	j.closing.Do(func() { j.closeErr = j.shut() })
	return j.closeErr
}

// abandon undoes a start that failed. It writes no mark: nothing was learned that the old one doesn't know.
func (j *Journal) abandon() {
	j.stop()
	if j.Reader != nil {
		j.Reader.close()
	}
	j.stopServer()
	j.lock.release()
}

func (j *Journal) shut() error {
	j.mend.Lock() // no mending starts after this
	j.stop()
	j.mend.Unlock()
	j.running.Wait()
	j.Reader.close()
	j.stopServer()
	defer j.lock.release()
	if j.o.ReadOnly {
		return nil
	}
	if err := j.saveMark(); err != nil {
		return unwritable(filepath.Join(j.o.Dir, markFile), err)
	}
	return nil
}
