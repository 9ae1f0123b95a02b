package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const (
	// ArchiveSubjects begin the subjects of archives at the hub: ArchiveSubjects + HOST.START.
	ArchiveSubjects = "modelops.v1.archive."

	archiveReplicas = 3
	archiveLimit    = 30 * time.Second // for an answer of the hub
	archiveAgain    = time.Second      // after a failure
	// mostOfArchived bytes are archived as one message: NATS servers take 1 MiB unless they are told otherwise, and end the connection of a leaf that sends more.
	// A hub that takes less can't say so to a leaf: after each message that it refused a quarter as much is tried, down to leastOfArchived.
	mostOfArchived  = 1_000_000
	leastOfArchived = 16 << 10
)

// Archive copies this host's journal into a stream at the hub, which the hub's servers keep in three copies. A sequence there is the journal's. A
// journal that doesn't continue what lies there gets a stream of its own: nothing is written over, and a stream of somebody else is left alone. Decisions never
// wait for it.
type Archive struct {
	o ArchiveOptions

	most     int // bytes of a message
	stream   atomic.Pointer[string]
	archived atomic.Uint64
	note     atomic.Pointer[string]
}

// ArchiveOptions say what is archived, and where.
type ArchiveOptions struct {
	Host    string
	Journal *Journal
	Hub     *nats.Conn // of ConnectHub
	Domain  string     // the hub's JetStream domain
	Log     *slog.Logger
}

// ArchiveStatus is how far the archive is.
type ArchiveStatus struct {
	Stream   string // at the hub; empty = it hasn't been found or made since this start
	Archived uint64 // the last sequence that the hub has stored
	Note     string // why archiving has stopped, for people; empty while it goes on
}

// NewArchive makes an archive. Nothing is copied before Run.
func NewArchive(o ArchiveOptions) *Archive { return &Archive{o: o, most: mostOfArchived} }

// Status is how far the archive is.
func (a *Archive) Status() (s ArchiveStatus) {
	if name := a.stream.Load(); name != nil {
		s.Stream = *name
	}
	if note := a.note.Load(); note != nil {
		s.Note = *note
	}
	s.Archived = a.archived.Load()
	return s
}

// Run archives until ctx ends. After a failure it looks again at what the hub has.
func (a *Archive) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.keep(ctx)
		if ctx.Err() != nil {
			return
		}
		a.say(fmt.Sprintf("the journal isn't archived at the hub: %v", err))
		select {
		case <-ctx.Done():
		case <-time.After(archiveAgain):
		}
	}
}

func (a *Archive) say(note string) {
	if old := a.note.Swap(&note); note != "" && (old == nil || *old != note) {
		a.o.Log.Warn(note)
	}
}

// keep finds the archive, and goes on behind what it holds, until something fails.
func (a *Archive) keep(ctx context.Context) error {
	js, err := jetstream.NewWithDomain(a.o.Hub, a.o.Domain, jetstream.WithPublishAsyncTimeout(archiveLimit))
	if err != nil {
		return err
	}
	s, err := a.open(ctx, js)
	if err != nil {
		return err
	}
	config := s.CachedInfo().Config
	last := s.CachedInfo().State.LastSeq
	a.stream.Store(&config.Name)
	a.archived.Store(last)
	pages := Pager{Host: a.o.Host, Journal: a.o.Journal}
	for {
		page, err := pages.Page(ctx, &messages.PageRequest{After: last, WaitMs: uint32(pollWait.Milliseconds())})
		if err != nil {
			return err
		}
		refused := a.o.Journal.hubTooLarge.Load()
		if last, err = a.publish(ctx, js, config, last, page.Decisions); err != nil {
			if a.o.Journal.hubTooLarge.Load() != refused { // an outage isn't about the size
				a.most = max(a.most/4, leastOfArchived)
			}
			return err
		}
		a.archived.Store(last)
		a.say("")
	}
}

// publish stores decisions behind sequence last, and returns the last one when the hub has stored all of them.
func (a *Archive) publish(ctx context.Context, js jetstream.JetStream, to jetstream.StreamConfig, last uint64, all []*messages.RecordedDecision) (uint64, error) {
	ctx, end := a.unlessTooLarge(ctx)
	defer end()
	var acks []jetstream.PubAckFuture
	var failed error
	for _, d := range all {
		m, err := a.message(ctx, js, to, d)
		var ack jetstream.PubAckFuture
		if err == nil {
			ack, err = js.PublishMsgAsync(m, jetstream.WithExpectLastSequence(last), jetstream.WithMsgID(d.Id))
		}
		if err != nil {
			failed = err
			break
		}
		acks, last = append(acks, ack), d.Sequence
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			failed = cmp.Or(failed, err)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return last, failed
}

// open is the newest stream that this host's journal continues, or a new one.
func (a *Archive) open(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, archiveLimit)
	defer cancel()
	all, err := archivesOf(ctx, js, a.o.Host)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Backward(all) {
		if same, err := a.continues(ctx, js, s); err != nil || same {
			return s, err
		}
	}
	start := time.Now().UTC().Format("20060102T150405.000")
	start = strings.ReplaceAll(start, ".", "_")
	s, err := js.CreateStream(ctx, kept(archiveName(a.o.Host)+start, "decisions of "+a.o.Host, ArchiveSubjects+a.o.Host+"."+start))
	return s, a.taken(ctx, js, err)
}

// kept is a stream of which nothing is ever lost.
func kept(name, description, subject string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: description, Subjects: []string{subject},
		Storage: jetstream.FileStorage, Replicas: archiveReplicas, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, DenyDelete: true, DenyPurge: true,
	}
}

// continues tells whether the last decision of a stream is this journal's.
func (a *Archive) continues(ctx context.Context, js jetstream.JetStream, s jetstream.Stream) (bool, error) {
	last := s.CachedInfo().State.LastSeq
	if last == 0 {
		return true, nil
	}
	if last > a.o.Journal.Sequence() {
		return false, nil
	}
	there, err := archived(ctx, js, s, last)
	if messages.CodeOf(err) == messages.JournalDamaged { // somebody else wrote it
		return false, nil
	}
	if err != nil {
		return false, err
	}
	page, err := Pager{Host: a.o.Host, Journal: a.o.Journal}.Page(ctx, &messages.PageRequest{After: last - 1, Limit: 1})
	if err != nil || len(page.Decisions) == 0 {
		return false, cmp.Or(err, errors.New("the journal's decision can't be read"))
	}
	return proto.Equal(there, page.Decisions[0]), nil
}

func archived(ctx context.Context, js jetstream.JetStream, s jetstream.Stream, sequence uint64) (*messages.RecordedDecision, error) {
	m, err := s.GetMsg(ctx, sequence)
	if err != nil {
		return nil, err
	}
	body := m.Data
	if parts := m.Header.Get(headParts); parts != "" {
		if body, err = joined(ctx, js, partsOf(s.CachedInfo().Config.Name), parts, m.Header.Get(headSum), sequence); err != nil {
			return nil, err
		}
	}
	d := new(messages.RecordedDecision)
	if err := proto.Unmarshal(body, d); err != nil {
		return nil, damagedAt(sequence, "the hub has no decision there: %v", err)
	}
	return d, nil
}

func archiveName(host string) string { return "JOURNAL_" + host + "_" }

// archivesOf are the streams that hold journals of a host, the oldest first.
func archivesOf(ctx context.Context, js jetstream.JetStream, host string) (out []jetstream.Stream, err error) {
	all, err := streamsAt(ctx, js, host, archiveName(host))
	for _, s := range all {
		if isArchive(s.CachedInfo().Config, host) {
			out = append(out, s)
		}
	}
	return out, err
}

// ReadArchive passes the decisions of the longest archive of a host, in order. messages.NotFound: the hub has none.
func ReadArchive(ctx context.Context, nc *nats.Conn, domain, host string, fn func(messages.Recorded) error) error {
	js, err := jetstream.NewWithDomain(nc, domain)
	if err != nil {
		return messages.Errorf(messages.Unavailable, "the hub", "%w", err)
	}
	all, err := archivesOf(ctx, js, host)
	if err != nil {
		return messages.Errorf(messages.Unavailable, "the hub", "its archives can't be listed: %w", err)
	}
	var longest jetstream.Stream
	for _, s := range all {
		if longest == nil || s.CachedInfo().State.LastSeq >= longest.CachedInfo().State.LastSeq {
			longest = s
		}
	}
	if longest == nil {
		return messages.NewError(messages.NotFound, "journal of "+host, "the hub has no archive of it").WithHint("journal.archive: hub makes one")
	}
	for n := uint64(1); n <= longest.CachedInfo().State.LastSeq; n++ {
		d, err := archived(ctx, js, longest, n)
		if messages.CodeOf(err) == messages.JournalDamaged {
			return messages.AsError(err).WithHint("the decisions before it can be read; `modelops restore " + host + " --from PEER` takes the copy of a peer")
		}
		if err != nil {
			return messages.Errorf(messages.Unavailable, "stream "+longest.CachedInfo().Config.Name, "decision %d can't be read: %w", n, err)
		}
		r, err := FromStored(d)
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}
