package journal

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// archiving opens a journal in a directory and archives it at a hub, until end.
func archiving(t *testing.T, dir string, hub []*url.URL) (j *Journal, a *Archive, end func()) {
	t.Helper()
	o := testOptions(t, dir)
	o.Hub = &Hub{URLs: hub}
	j = mustOpen(t, o)
	nc, err := j.ConnectHub()
	if err != nil {
		t.Fatal(err)
	}
	a = NewArchive(ArchiveOptions{Host: testHost, Journal: j, Hub: nc, Domain: "hub", Log: j.o.Log})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); a.Run(ctx) }()
	return j, a, func() { cancel(); <-over; nc.Close(); mustClose(t, j) }
}

func caughtUp(t *testing.T, j *Journal, a *Archive) ArchiveStatus {
	t.Helper()
	eventually(t, "the archive has caught up", func() bool {
		s := a.Status()
		return s.Stream != "" && s.Note == "" && s.Archived == j.Sequence()
	})
	return a.Status()
}

// atTheHub reads what the hub has of the host, as a program without a journal does.
func atTheHub(t *testing.T, hub []*url.URL) (out []messages.Recorded) {
	t.Helper()
	nc, end, err := VisitHub(t.Context(), &Hub{URLs: hub}, "hub", testHost)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if err := ReadArchive(t.Context(), nc, "hub", testHost, func(r messages.Recorded) error { out = append(out, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// A journal is archived in three copies, the archive goes on where it stopped, and a journal is made from it again. A journal that doesn't continue the archive
// gets one of its own, and writes over nothing.
func TestArchive(t *testing.T) {
	hub := openHub(t, 3)
	dir, lost := t.TempDir(), filepath.Join(t.TempDir(), "lost")
	j, a, end := archiving(t, dir, hub)
	fill(t, j, 40)
	first := caughtUp(t, j, a)
	js, err := jetstream.NewWithDomain(a.o.Hub, "hub")
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), first.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo(); c.Config.Replicas != 3 || len(c.Cluster.Replicas) != 2 || c.State.Msgs != 40 || !c.Config.DenyDelete || !c.Config.DenyPurge {
		t.Errorf("%+v", c)
	}
	end()

	j, a, end = archiving(t, dir, hub)
	if again := caughtUp(t, j, a); again.Stream != first.Stream {
		t.Errorf("the archive was %s and is %s", first.Stream, again.Stream)
	}
	mustAppend(t, j, modelName(50), 0, wanted("later")...)
	if more := caughtUp(t, j, a); more.Archived != 41 {
		t.Errorf("%+v", more)
	}
	want := readAll(t, j, Query{})
	end()

	// The disk is lost.
	o := testOptions(t, lost)
	read := func(ctx context.Context, fn func(messages.Recorded) error) error {
		for _, r := range atTheHub(t, hub) {
			if err := fn(r); err != nil {
				return err
			}
		}
		return nil
	}
	if done, err := Restore(t.Context(), o, read); err != nil || done.Last != 41 {
		t.Fatalf("%+v, %v", done, err)
	}
	j, a, end = archiving(t, lost, hub)
	if got := readAll(t, j, Query{}); !slices.EqualFunc(got, want, func(x, y messages.Recorded) bool { return x.ID == y.ID && x.Sequence == y.Sequence }) {
		t.Errorf("%d decisions came back of %d", len(got), len(want))
	}
	if again := caughtUp(t, j, a); again.Stream != first.Stream {
		t.Errorf("what was restored has another archive: %s", again.Stream)
	}
	end()

	// Another journal of the host, shorter than the archive, and one that is longer: the first archive stays as it is.
	streams := map[string]bool{first.Stream: true}
	for _, n := range []int{3, 60} {
		other := t.TempDir()
		j = mustOpen(t, testOptions(t, other))
		fill(t, j, n)
		mustClose(t, j)
		j, a, end = archiving(t, other, hub)
		if s := caughtUp(t, j, a); streams[s.Stream] {
			t.Errorf("another journal of %d decisions is archived behind those of %s", n, s.Stream)
		} else {
			streams[s.Stream] = true
		}
		end()
	}
}

// What somebody else writes into an archive ends it: the journal goes on in one of its own.
func TestArchiveIsWrittenByAnother(t *testing.T) {
	hub := openHub(t, 3)
	j, a, end := archiving(t, t.TempDir(), hub)
	defer end()
	fill(t, j, 5)
	first := caughtUp(t, j, a)
	js, err := jetstream.NewWithDomain(a.o.Hub, "hub")
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), first.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), s.CachedInfo().Config.Subjects[0], []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, modelName(50), 0, wanted("later")...)
	if s := caughtUp(t, j, a); s.Stream == first.Stream {
		t.Error("a decision is archived behind what somebody else wrote")
	}
	if got := atTheHub(t, hub); len(got) != 6 {
		t.Errorf("the hub has %d decisions", len(got))
	}
}

// A decision that is larger than a message of the hub may be is archived in parts, by a hub that takes as much as usual and by one that takes less, and comes back
// byte for byte. When its parts are gone it is said which decision can't be had.
func TestArchiveOfLargeDecisions(t *testing.T) {
	for name, most := range map[string]int32{"usual": 0, "small": 100_000} {
		t.Run(name, func(t *testing.T) {
			hub := openHub(t, 3, func(o *server.Options) { o.MaxPayload = most })
			dir := t.TempDir()
			j, a, end := archiving(t, dir, hub)
			fill(t, j, 3)
			big := strings.Repeat("large decisions come from many candidates. ", 3<<20/43)
			mustAppend(t, j, modelName(50), 0, wanted(big)...)
			mustAppend(t, j, modelName(51), 0, wanted("later")...)
			want := readAll(t, j, Query{})
			s := caughtUp(t, j, a)
			end()
			got := atTheHub(t, hub)
			if !slices.EqualFunc(got, want, func(x, y messages.Recorded) bool { return proto.Equal(Stored(x), Stored(y)) }) {
				t.Errorf("%d decisions came back of %d", len(got), len(want))
			}
			j, a, end = archiving(t, dir, hub)
			mustAppend(t, j, modelName(52), 0, wanted(big)...) // the last one has parts when the archive goes on
			caughtUp(t, j, a)
			end()
			j, a, end = archiving(t, dir, hub)
			if again := caughtUp(t, j, a); again.Stream != s.Stream {
				t.Errorf("the archive was %s and is %s", s.Stream, again.Stream)
			}
			end()
			nc, leave, err := VisitHub(t.Context(), &Hub{URLs: hub}, "hub", testHost)
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
			js, err := jetstream.NewWithDomain(nc, "hub")
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(t.Context(), partsOf(s.Stream)); err != nil {
				t.Fatal(err)
			}
			n := 0
			err = ReadArchive(t.Context(), nc, "hub", testHost, func(messages.Recorded) error { n++; return nil })
			if n != 3 || messages.CodeOf(err) != messages.JournalDamaged || !strings.Contains(err.Error(), "journal sequence 4") || !strings.Contains(err.Error(), partsOf(s.Stream)) {
				t.Errorf("%d decisions, %v", n, err)
			}
		})
	}
}

// Decisions don't wait for a hub that is off, and are archived when it is there.
func TestArchiveWithoutHub(t *testing.T) {
	nowhere := []*url.URL{{Scheme: "nats", Host: "127.0.0.1:1"}}
	j, a, end := archiving(t, t.TempDir(), nowhere)
	defer end()
	fill(t, j, 5)
	eventually(t, "it is said why nothing is archived", func() bool { return a.Status().Note != "" })
	if s := a.Status(); s.Archived != 0 || j.Sequence() != 5 {
		t.Errorf("%+v", s)
	}
}

// Who visits the hub waits until its JetStream answers, and is told the key when none of the domain does.
func TestVisitAnotherDomain(t *testing.T) {
	hub := openHub(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // meant to pass: nobody answers
	defer cancel()
	_, _, err := VisitHub(ctx, &Hub{URLs: hub}, "elsewhere", testHost)
	if e := wantCode(t, err, messages.Unavailable); !strings.Contains(e.Hint, "nats.hub_domain") || !strings.Contains(e.Message, `"elsewhere"`) {
		t.Errorf("%+v", e)
	}
}
