package journal

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func dialGuest(t *testing.T, j *Journal, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(j.ClientURL(), append(opts, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

// await polls a condition that other goroutines of the server bring about.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hangLimit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within %s", hangLimit)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestGuestsCanReadButNotHarm(t *testing.T) {
	o := testOptions(t, t.TempDir())
	o.Port = 0
	j := mustOpen(t, o)
	fill(t, j, 5)
	if err := j.SaveSnapshot(t.Context(), Snapshot{Actor: modelName(1), Sequence: 1, State: []byte("s")}); err != nil {
		t.Fatal(err)
	}
	nc := dialGuest(t, j)
	js, _ := jetstream.New(nc, jetstream.WithDefaultTimeout(hangLimit))
	const silence = 200 * time.Millisecond                                // a request without permission gets no answer
	denied, _ := jetstream.New(nc, jetstream.WithDefaultTimeout(silence)) // meant to pass
	ctx := t.Context()

	refused := map[string]func() error{
		"publish a decision": func() error {
			_, err := denied.Publish(ctx, subjectOf(testHost, modelName(1)), []byte("x"))
			return err
		},
		"publish a snapshot": func() error {
			_, err := denied.Publish(ctx, "$KV."+bucketName+"."+snapshotKey(modelName(1)), []byte("x"))
			return err
		},
		"delete the journal":   func() error { return denied.DeleteStream(ctx, streamName) },
		"delete the snapshots": func() error { return denied.DeleteStream(ctx, bucketStream) },
		"update the journal": func() error {
			_, err := denied.UpdateStream(ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{"journal.>"}, MaxMsgs: 1})
			return err
		},
	}
	for _, verb := range []string{"PURGE", "MSG.DELETE", "RESTORE", "SNAPSHOT"} {
		for _, stream := range []string{streamName, bucketStream} {
			refused[verb+" "+stream] = func() error {
				_, err := nc.Request("$JS.API.STREAM."+verb+"."+stream, []byte(`{"seq":1}`), silence) // meant to pass
				return err
			}
		}
	}
	for name, try := range refused {
		if err := try(); err == nil {
			t.Errorf("a guest may %s", name)
		}
	}
	if n := len(readAll(t, j, Query{})); n != 5 {
		t.Errorf("%d decisions are left", n)
	}
	if _, ok, err := j.LoadSnapshot(ctx, modelName(1)); !ok || err != nil {
		t.Errorf("the snapshot is gone: %v", err)
	}

	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "MINE", Subjects: []string{"mine.>"}}); err != nil {
		t.Errorf("a guest can't have a stream: %v", err)
	}
	if _, err := js.Publish(ctx, "mine.1", []byte("x")); err != nil {
		t.Errorf("a guest can't write to it: %v", err)
	}
	if err := js.DeleteStream(ctx, "MINE"); err != nil {
		t.Errorf("a guest can't delete it: %v", err)
	}
	info, err := js.Stream(ctx, streamName)
	if err != nil || info.CachedInfo().State.Msgs != 5 {
		t.Errorf("a guest can't look at the journal: %v", err)
	}
}

// A responder answers with full rights wherever a request asks it to.
func TestAGuestCanNotMakeAnotherWriteForHim(t *testing.T) {
	o := testOptions(t, t.TempDir())
	o.Port = 0
	j := mustOpen(t, o)
	fill(t, j, 1)
	own, err := j.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := own.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	nc := dialGuest(t, j)
	if err := nc.PublishRequest("echo", subjectOf(testHost, modelName(1)), []byte("forged")); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("echo", nil, hangLimit); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	state, err := j.Reader.state(t.Context())
	if err != nil || state.LastSeq != 1 {
		t.Errorf("the journal has %d messages, want 1 (%v)", state.LastSeq, err)
	}
}
