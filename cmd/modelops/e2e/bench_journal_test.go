//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/actors/kinds"
	"modelops/journal"
	"modelops/messages"
)

func openJournal(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: dir, Host: "main_pc", BootID: "bench", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// measureAppend takes turns between a decision and a bare publish of as many bytes on the same server, which fsyncs both.
func measureAppend(t *testing.T, f *findings) {
	j := openJournal(t, t.TempDir())
	defer j.Close()
	nc, err := j.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BARE", Subjects: []string{"bare.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	events := []proto.Message{&messages.ModelUnwanted{Reason: "idle for 10 min"}}
	body, head, actor := make([]byte, 100), uint64(0), modelID("m")
	var bare, ours []time.Duration
	ratios := rounds{}
	for range 7 {
		var a, b []time.Duration
		for range 150 {
			began := time.Now()
			if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "bare.1", Data: body}); err != nil {
				t.Fatal(err)
			}
			middle := time.Now()
			if head, err = j.Append(t.Context(), journal.Append{Actor: actor, Expected: head, Events: events}); err != nil {
				t.Fatal(err)
			}
			a, b = append(a, middle.Sub(began)), append(b, time.Since(middle))
		}
		bare, ours = append(bare, median(a)), append(ours, median(b))
		ratios["ours"], ratios["bare"] = append(ratios["ours"], median(b).Seconds()), append(ratios["bare"], median(a).Seconds())
	}
	r := ratios.compare("ours", "bare", ratio)
	f.add(finding{"append with fsync", "<= 1.3 x a bare JetStream publish with fsync", fmt.Sprintf("%.2f (p50 %s against %s)", r, ms(median(ours)), ms(median(bare))), r <= 1.3,
		"same server, one after the other, medians of 7 rounds of 150"})
}

const (
	longEvents = 1_000_000
	longModels = 50
)

// measureLongJournal builds a journal of a million events, reads and folds it, and starts a daemon on it.
func measureLongJournal(t *testing.T, f *findings) {
	var declared strings.Builder
	for i := range longModels {
		fmt.Fprintf(&declared, "    %s: %s\n", longName(i), worker(t, ""))
	}
	d := start(t, "models:\n  declare:\n"+declared.String())
	cycle := lifeCycle(t, d)
	dir := filepath.Join(d.state(), "journal")
	began := time.Now()
	events, decisions := prolong(t, dir, cycle)
	t.Logf("a journal of %d events in %d decisions, built in %s", events, decisions, time.Since(began))
	// A server that starts reads the messages of the last 30 s once more, for their ids: at a thousand decisions a second that is nothing,
	// here it would be the whole journal.
	young := time.After(31 * time.Second)

	j := openJournal(t, dir)
	snapshots := foldAll(t, j, true)
	for _, s := range snapshots {
		if err := j.SaveSnapshot(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	var rates []float64
	for range 3 {
		began = time.Now()
		foldAll(t, j, false)
		rates = append(rates, float64(events)/time.Since(began).Seconds())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	<-young
	var opened []time.Duration
	for range 3 {
		began = time.Now()
		j = openJournal(t, dir)
		opened = append(opened, time.Since(began))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	rate := median(rates)
	how := fmt.Sprintf("%d events in %d decisions of %d actors: one load and unload of a real daemon, repeated", events, decisions, len(snapshots))
	f.add(finding{"replay", ">= 200,000 events/s", fmt.Sprintf("%.0f events/s", rate), rate >= 200_000, "read, checked, decoded and folded in one go, p50 of 3; " + how})

	var took []time.Duration
	for range 3 {
		took = append(took, d.ready(t))
		if code := d.stop(); code != 0 {
			t.Fatalf("the daemon ended with %d", code)
		}
	}
	p50 := median(took)
	f.add(finding{"1 M-event journal with snapshots: ready", "<= 1 s", fmt.Sprintf("p50 %s, longest %s", ms(p50), ms(quantile(took, 1))), p50 <= time.Second,
		fmt.Sprintf("from the start of the process until `/health` says 200, after a good stop, files in the page cache, more than 30 s after the last decision; opening the journal alone, which reads what changed since the last start, took %s", ms(median(opened)))})
	measureWhy(t, f, d)
}

// measureWhy starts the daemon on the long journal and asks about several subjects over HTTP. The first question builds the index.
func measureWhy(t *testing.T, f *findings, d *daemon) {
	t.Helper()
	d.ready(t)
	began := time.Now()
	d.why(longName(0))
	first := time.Since(began)
	slowest, all := time.Duration(0), []string{}
	for _, subject := range []string{longName(0), longName(longModels / 2), longName(longModels - 1), "lease/none", "request/none"} {
		var took []time.Duration
		for range 21 {
			began := time.Now()
			if a := d.get("/why/" + subject); a.status != http.StatusOK && a.status != http.StatusNotFound {
				t.Fatalf("why %s: %s", subject, a)
			}
			took = append(took, time.Since(began))
		}
		slowest = max(slowest, median(took))
		all = append(all, subject+" "+ms(median(took)))
	}
	if code := d.stop(); code != 0 {
		t.Fatalf("the daemon ended with %d", code)
	}
	f.add(finding{"`why` on a 1 M-event journal", "<= 20 ms", "p50 " + ms(slowest) + ", the slowest of its subjects", slowest <= 20*time.Millisecond,
		fmt.Sprintf("over HTTP, p50 of 21 each: %s; the first question, which waits until the index is built, took %s", strings.Join(all, ", "), ms(first))})
}

// Names of one length, so that one stands for another inside a message.
func longName(i int) string { return fmt.Sprintf("m%03d", i) }

// lifeCycle is what the journal has on one load and unload of the first model, as it lies on disk. The daemon is stopped.
func lifeCycle(t *testing.T, d *daemon) (cycle []*jetstream.RawStreamMsg) {
	t.Helper()
	c := d.control(t)
	d.fastChat(t, longName(0)) // the first load differs: it measures
	d.dismiss(t, c, longName(0))
	from := d.status().JournalSequence + 1
	d.fastChat(t, longName(0))
	d.dismiss(t, c, longName(0))
	until(t, 10*time.Second, "the journal rests", func() bool {
		before := d.status().JournalSequence
		due(time.Now().Add(300 * time.Millisecond))
		return d.status().JournalSequence == before
	})
	to := d.status().JournalSequence
	if code := d.stop(); code != 0 {
		t.Fatalf("the daemon ended with %d", code)
	}
	j := openJournal(t, filepath.Join(d.state(), "journal"))
	defer j.Close()
	nc, err := j.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "JOURNAL")
	if err != nil {
		t.Fatal(err)
	}
	for seq := from; seq <= to; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		cycle = append(cycle, m)
	}
	return cycle
}

const expectedHeader = "Nats-Expected-Last-Subject-Sequence"

// prolong writes the cycle again and again, for one model after the other, with a server that doesn't fsync: a million of those would
// take half an hour and be the same bytes.
func prolong(t *testing.T, dir string, cycle []*jetstream.RawStreamMsg) (events, decisions int) {
	t.Helper()
	s, err := server.NewServer(&server.Options{ServerName: "main_pc", JetStream: true, StoreDir: dir, DontListen: true, MaxPayload: 8 << 20, JetStreamMaxStore: 1 << 60, JetStreamMaxMemory: 64 << 20, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server that builds the journal doesn't start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "JOURNAL")
	if err != nil {
		t.Fatal(err)
	}
	heads, last := lastOf(t, stream)
	for i := 0; events < longEvents; i++ {
		for _, m := range cycle {
			last++
			out := retold(m, longName(i%longModels), heads, last)
			if _, err := js.PublishMsgAsync(out, jetstream.WithStallWait(time.Minute)); err != nil {
				t.Fatal(err)
			}
			events += strings.Count(m.Header.Get("Modelops-Types"), ",") + 1
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the server doesn't acknowledge")
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.LastSeq != last {
		t.Fatalf("the journal ends at %d, not at %d: %v", info.State.LastSeq, last, err)
	}
	return events, int(last)
}

// lastOf are the last sequences of each subject and of all.
func lastOf(t *testing.T, stream jetstream.Stream) (heads map[string]uint64, last uint64) {
	t.Helper()
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	heads = map[string]uint64{}
	for subject := range info.State.Subjects {
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		heads[subject] = m.Sequence
	}
	return heads, info.State.LastSeq
}

// retold is a message of the cycle as it would be for another model, at another place in the journal.
func retold(m *jetstream.RawStreamMsg, name string, heads map[string]uint64, sequence uint64) *nats.Msg {
	from := longName(0)
	out := &nats.Msg{Subject: strings.ReplaceAll(m.Subject, from, name), Data: bytes.ReplaceAll(m.Data, []byte(from), []byte(name)), Header: nats.Header{}}
	for key, values := range m.Header {
		if !strings.HasPrefix(key, "Modelops-") { // a direct get adds headers of its own
			continue
		}
		out.Header[key] = []string{strings.ReplaceAll(values[0], from, name)}
	}
	out.Header[nats.MsgIdHdr] = []string{"bench-" + strconv.FormatUint(sequence, 10)}
	out.Header[expectedHeader] = []string{strconv.FormatUint(heads[out.Subject], 10)}
	heads[out.Subject] = sequence
	return out
}

// foldAll reads the whole journal and folds every actor's state. Asked for, it keeps the states from half a snapshot's distance before
// each actor's end, where snapshots lie on average.
func foldAll(t *testing.T, j *journal.Journal, keep bool) (out []journal.Snapshot) {
	t.Helper()
	folds := map[messages.ActorID]*folded{}
	ends := map[messages.ActorID]int{}
	if keep {
		count(t, j, ends)
	}
	err := j.Replay(context.Background(), journal.Query{}, func(r messages.Recorded) error {
		f := folds[r.Actor]
		if f == nil {
			f = foldOf(t, r.Actor)
			folds[r.Actor] = f
		}
		f.Apply(r)
		if keep {
			if ends[r.Actor]--; ends[r.Actor] == 128 {
				out = append(out, f.snapshot(t, r.Actor, r.Sequence))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func count(t *testing.T, j *journal.Journal, decisions map[messages.ActorID]int) {
	t.Helper()
	if err := j.Replay(context.Background(), journal.Query{}, func(r messages.Recorded) error { decisions[r.Actor]++; return nil }); err != nil {
		t.Fatal(err)
	}
}

// folded is an actor's state without the actor.
type folded struct {
	entity.Folding
	kind entity.Fold
}

func foldOf(t *testing.T, a messages.ActorID) *folded {
	t.Helper()
	kind, err := kinds.FoldOf(a)
	if err != nil {
		t.Fatal(err)
	}
	return &folded{kind.Begin(a), kind}
}

func (f *folded) snapshot(t *testing.T, a messages.ActorID, sequence uint64) journal.Snapshot {
	t.Helper()
	b, err := json.Marshal(f.State())
	if err != nil {
		t.Fatal(err)
	}
	return journal.Snapshot{Actor: a, Sequence: sequence, Fingerprint: f.kind.Fingerprint, Fold: f.kind.Version, State: b}
}

// ready starts the daemon and returns how long it took until it was healthy.
func (d *daemon) ready(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	d.spawn()
	for time.Since(began) < startLimit {
		if d.announced() && d.get("/health").status == http.StatusOK {
			return time.Since(began)
		}
		due(time.Now().Add(2 * time.Millisecond))
	}
	t.Fatalf("not healthy within %s", startLimit)
	return 0
}
