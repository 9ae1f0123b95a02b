package journal

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// foreign are decisions of another build: what it wrote, and what a start says of it.
func foreign() map[string]struct {
	event *messages.Event
	says  string
} {
	return map[string]struct {
		event *messages.Event
		says  string
	}{
		"an unknown type":           {&messages.Event{Type: "model.teleported", Version: 1}, "model.teleported: this build doesn't know"},
		"a version from the future": {&messages.Event{Type: "model.unwanted", Version: 99}, "schema version 99"},
		// Field 1 of the event is a text; a build before the freeze had a message there whose bytes are no UTF-8.
		"a body from before the freeze": {&messages.Event{Type: "model.unwanted", Version: 1, Body: protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff, 0xfe})},
			"model.unwanted: the event's body can't be decoded"},
	}
}

// putForeign appends a decision with an event that this build doesn't write.
func putForeign(t *testing.T, j *Journal, actor messages.ActorID, expected uint64, e *messages.Event) {
	t.Helper()
	d := &messages.Decision{Events: []*messages.Event{e}}
	body, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	m := newMessage(subjectOf(testHost, actor), "boot", Append{Actor: actor, Expected: expected, Meta: messages.Meta{ID: "foreign"}}, d, body)
	seq, _, err := j.publishOnce(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	j.raise(seq)
}

// A journal with events that this build can't read refuses the start by sequence and changes nothing; it is not damaged. No actor is started on
// a part of its past.
func TestAJournalOfAnotherBuildRefusesTheStart(t *testing.T) {
	for name, c := range foreign() {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t, t.TempDir())
			j := mustOpen(t, o)
			fill(t, j, 7)
			putForeign(t, j, messages.ArbiterActor(), 0, c.event)
			mustClose(t, j)
			before := digest(t, o.Dir)
			_, err := Open(t.Context(), o)
			e := wantCode(t, err, messages.FailedPrecondition)
			if !strings.Contains(e.Message, "sequence 8") || !strings.Contains(e.Message, c.says) || e.Hint == "" {
				t.Errorf("%+v", e)
			}
			if digest(t, o.Dir) != before {
				t.Error("the refused start changed something on disk")
			}
			if r, err := Verify(t.Context(), o.Dir); err != nil || r.Err() != nil || r.Readable() == nil {
				t.Errorf("verify: %v %v %v", err, r.Err(), r.Readable())
			}
			o.ReadOnly = true // it can be shown
			j = mustOpen(t, o)
			n := 0
			if err := j.Replay(t.Context(), Query{Unknown: true}, func(messages.Recorded) error { n++; return nil }); err != nil || n != 8 {
				t.Errorf("%d decisions, %v", n, err)
			}
		})
	}
}

// The scan cache of a newer build doesn't hide its events from an older one, and one without types of events is not used.
func TestTheScanCacheDoesNotHideForeignEvents(t *testing.T) {
	for _, types := range []string{`[{"Type":"model.teleported","Version":1}]`, `null`} {
		o, blocks := scannedStore(t)
		path := filepath.Join(o.Dir, scanCacheFile)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var cache map[string]map[string]json.RawMessage
		if err := json.Unmarshal(b, &cache); err != nil {
			t.Fatal(err)
		}
		for _, block := range cache {
			block["Types"] = json.RawMessage(types)
		}
		if b, err = json.Marshal(cache); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		known := readScanCache(o.Dir)
		if _, ok := known.find(blocks[0]); ok || len(known) == 0 {
			t.Errorf("types %s: the cached scan is used", types)
		}
	}
}

// A copy keeps the events that this build can't read.
func TestACopyKeepsForeignEvents(t *testing.T) {
	o := testOptions(t, t.TempDir())
	j := mustOpen(t, o)
	putForeign(t, j, messages.ArbiterActor(), 0, &messages.Event{Type: "model.teleported", Version: 3, Body: []byte("x")})
	mustClose(t, j)
	file := copyOf(t, o.Dir)
	into := testOptions(t, t.TempDir())
	if _, err := restoreCopy(t, into, file); err != nil {
		t.Fatal(err)
	}
	err := ReadStore(context.Background(), into.Dir, func(r messages.Recorded) error {
		if e := r.Decision.Events[0]; e.Type != "model.teleported" || e.Version != 3 || string(e.Body) != "x" {
			t.Errorf("%v", e)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
