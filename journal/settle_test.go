package journal

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// lossy loses the answers, or the publishes, of the first appends.
type lossy struct {
	jetstream.JetStream
	losses    int
	arrives   bool   // the decision is stored, only its answer is lost
	meanwhile func() // what another writer does before the loss is noticed
}

func (l *lossy) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if l.losses == 0 {
		return l.JetStream.PublishMsg(ctx, m, o...)
	}
	l.losses--
	if l.arrives {
		if _, err := l.JetStream.PublishMsg(ctx, m, o...); err != nil {
			return nil, err
		}
	}
	if l.meanwhile != nil {
		l.meanwhile()
	}
	return nil, context.DeadlineExceeded
}

func TestLostAnswers(t *testing.T) {
	for _, c := range []struct {
		name      string
		losses    int
		arrives   bool
		meanwhile bool
		seq       uint64
		code      messages.Code
		stored    int
	}{
		{"answer lost", 1, true, false, 2, 0, 2},
		{"all answers lost", 9, true, false, 2, 0, 2},
		{"publish lost", 1, false, false, 2, 0, 2},
		{"all publishes lost", 9, false, false, 0, messages.JournalUnavailable, 1},
		{"publish lost, another came first", 1, false, true, 0, messages.Conflict, 2},
		{"answer lost, another came after", 1, true, true, 0, messages.Conflict, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := testOpen(t)
			mustAppend(t, j, modelName(1), 0, wanted("first")...)
			real := j.js
			l := &lossy{JetStream: real, losses: c.losses, arrives: c.arrives}
			if c.meanwhile {
				l.meanwhile = func() {
					last, _ := j.Last(t.Context(), modelName(1))
					a := Append{Actor: modelName(1), Expected: last, Events: wanted("other")}
					m, err := j.message(a)
					if err == nil {
						_, err = real.PublishMsg(t.Context(), m)
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
			j.js = l
			seq, err := j.Append(t.Context(), Append{Actor: modelName(1), Expected: 1, Events: wanted("mine")})
			j.js = real
			if seq != c.seq || messages.CodeOf(err) != c.code {
				t.Errorf("got %d, %v, want %d, %v", seq, err, c.seq, c.code)
			}
			if n := len(storedAll(t, j)); n != c.stored {
				t.Errorf("%d decisions are stored, want %d", n, c.stored)
			}
		})
	}
}

// storedAll reads over NATS, so it sees what the journal itself doesn't know of.
func storedAll(t *testing.T, j *Journal) []messages.Recorded {
	t.Helper()
	var out []messages.Recorded
	if err := j.Reader.Replay(t.Context(), Query{}, func(r messages.Recorded) error { out = append(out, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUnknownEventsStopTheFoldAndCanBeShown(t *testing.T) {
	o := testOptions(t, t.TempDir())
	j := mustOpen(t, o)
	mustAppend(t, j, modelName(1), 0, wanted("known")...)
	d := &messages.Decision{Events: []*messages.Event{{Type: "model.teleported", Version: 1, Body: []byte{}}}}
	body, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	m := newMessage(subjectOf(testHost, modelName(1)), "boot-9", Append{Actor: modelName(1), Expected: 1, Meta: messages.Meta{ID: "x"}}, d, body)
	if _, err := j.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	j.raise(2) // a start refuses such a journal; a peer's is read all the same
	for _, q := range []Query{{}, {Actor: modelName(1)}} {
		err := j.Replay(t.Context(), q, func(messages.Recorded) error { return nil })
		e := wantCode(t, err, messages.JournalDamaged)
		for _, want := range []string{"sequence 2", "model.teleported", modelName(1).String()} {
			if !strings.Contains(e.Error(), want) {
				t.Errorf("%q does not name %q", e, want)
			}
		}
		q.Unknown = true
		rs := readAll(t, j, q)
		if len(rs) != 2 || rs[1].Events != nil || rs[1].Decision.Events[0].Type != "model.teleported" {
			t.Errorf("shown: %+v", rs)
		}
	}
	if r := <-watch(t, j.Reader, 1); r.Sequence != 2 || r.Events != nil {
		t.Errorf("followed %+v", r)
	}
}

func TestABrokenChainIsNamed(t *testing.T) {
	o := testOptions(t, t.TempDir())
	j := mustOpen(t, o)
	mustAppend(t, j, modelName(1), 0, wanted("1")...)
	mustAppend(t, j, modelName(2), 0, wanted("2")...)
	mustAppend(t, j, modelName(1), 1, wanted("3")...)
	m, err := j.message(Append{Actor: modelName(1), Expected: 1, Events: wanted("4")})
	if err != nil {
		t.Fatal(err)
	}
	expected := m.Header[headExpected]
	m.Header[headExpected] = nil // a writer without the fence; the header it should have had comes after the server looked
	delete(m.Header, headExpected)
	m.Header["nats-expected-last-subject-sequence"] = expected
	if _, err := j.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	err = j.Reader.Replay(t.Context(), Query{}, func(messages.Recorded) error { return nil })
	if e := wantCode(t, err, messages.JournalDamaged); !strings.Contains(e.Error(), "sequence 4") {
		t.Errorf("%v", e)
	}
	mustClose(t, j)
	_, err = Open(t.Context(), o)
	if e := wantCode(t, err, messages.JournalDamaged); !strings.Contains(e.Error(), "sequence 4") {
		t.Errorf("%v", e)
	}
}

func TestChain(t *testing.T) {
	type step struct {
		subject            string
		sequence, expected uint64
	}
	for _, c := range []struct {
		name  string
		q     Query
		steps []step
		want  string // in the last step's error; empty = none
	}{
		{"whole", Query{}, []step{{"a", 1, 0}, {"b", 2, 0}, {"a", 3, 1}}, ""},
		{"a gap", Query{}, []step{{"a", 1, 0}, {"a", 3, 1}}, "sequence 2"},
		{"the first missing", Query{}, []step{{"a", 2, 0}}, "sequence 1"},
		{"wrong predecessor", Query{}, []step{{"a", 1, 0}, {"b", 2, 0}, {"a", 3, 2}}, "sequence 3"},
		{"predecessor behind the start", Query{After: 5}, []step{{"a", 6, 3}}, ""},
		{"predecessor missing behind the start", Query{Actor: modelName(1), After: 5}, []step{{"a", 9, 7}}, "sequence 7"},
		{"an actor's gaps are others' decisions", Query{Actor: modelName(1)}, []step{{"a", 2, 0}, {"a", 9, 2}}, ""},
		{"an actor's decision missing", Query{Actor: modelName(1)}, []step{{"a", 2, 0}, {"a", 9, 4}}, "sequence 9"},
	} {
		chain := newChain(c.q)
		var err error
		for i, s := range c.steps {
			if err != nil {
				t.Fatalf("%s: step %d: %v", c.name, i-1, err)
			}
			err = chain.check(s.subject, s.sequence, s.expected)
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
