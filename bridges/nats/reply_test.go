package natsapi

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// hangLimit ends a test that hangs. What works doesn't wait for it, however busy the machine is.
const hangLimit = 5 * time.Minute

// request asks and waits; subject stands under the root.
func request(t *testing.T, nc *nats.Conn, subject, body string, headers nats.Header) *nats.Msg {
	t.Helper()
	m, err := nc.RequestMsg(&nats.Msg{Subject: root + "." + subject, Data: []byte(body), Header: headers}, hangLimit)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return m
}

// answer is request for those that must succeed; into takes the body.
func answer(t *testing.T, nc *nats.Conn, subject, body string, into any) *nats.Msg {
	t.Helper()
	m := request(t, nc, subject, body, nil)
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		t.Fatalf("%s %s: %s %s", subject, body, code, m.Data)
	}
	read(t, m, into)
	return m
}

func read(t *testing.T, m *nats.Msg, into any) {
	t.Helper()
	var err error
	if p, ok := into.(proto.Message); ok {
		err = protojson.Unmarshal(m.Data, p)
	} else {
		err = json.Unmarshal(m.Data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", m.Data, err)
	}
}

// failureOf reads an error reply, whose headers and body must agree.
func failureOf(t *testing.T, m *nats.Msg) *messages.Error {
	t.Helper()
	body := &messages.ErrorBody{}
	read(t, m, body)
	return headed(t, m, body)
}

func headed(t *testing.T, m *nats.Msg, body *messages.ErrorBody) *messages.Error {
	t.Helper()
	e := body.Err()
	want := errorWire(e).headers()
	got := maps.Clone(m.Header)
	for _, own := range []string{RequestIDHeader, IndexHeader, StatusHeader} {
		got.Del(own)
	}
	if !maps.EqualFunc(got, want, func(a, b []string) bool { return len(a) == 1 && a[0] == b[0] }) {
		t.Errorf("headers %v, want %v", got, want)
	}
	return e
}

// stream asks for chunks and gathers all messages until the empty one.
func stream(t *testing.T, nc *nats.Conn, subject, body string, headers nats.Header) (chunks []*messages.InferenceChunk, all []*nats.Msg) {
	t.Helper()
	in := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(in)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishMsg(&nats.Msg{Subject: root + "." + subject, Reply: in, Data: []byte(body), Header: headers}); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(hangLimit)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		if m.Header.Get(StatusHeader) == "EOF" {
			if len(m.Data) != 0 {
				t.Errorf("the last message holds %s", m.Data)
			}
			return chunks, all
		}
		c := &messages.InferenceChunk{}
		read(t, m, c)
		chunks = append(chunks, c)
	}
}
