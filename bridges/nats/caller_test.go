package natsapi

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"modelops/messages"
)

// knowsAlice refuses every key but alice's, and a missing one.
func knowsAlice(_ context.Context, c messages.Credentials) (messages.Principal, error) {
	key := c.Key
	if key == "" {
		return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "there is none")
	}
	if key == "alice-key" {
		return messages.Principal{Name: "alice", Class: "interactive", Fingerprint: "f00", Role: messages.Role_ADMIN}, nil
	}
	return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
}

// tellsCaller answers with the caller, after a wait at place 2.
func tellsCaller(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	a := messages.CallerFrom(ctx)
	a.OnQueued(messages.QueuePlace{Position: 2, Expected: 1500 * time.Millisecond})
	keep := "as declared"
	if a.KeepAlive != nil {
		keep = a.KeepAlive.String()
	}
	if r.Parameters["keep_alive"] != "" {
		return nil, errors.New("the engine would see keep_alive")
	}
	if emit != nil {
		if err := emit(&messages.InferenceChunk{Text: "x"}); err != nil {
			return nil, err
		}
	}
	return &messages.InferenceResponse{ResponseText: strings.Join([]string{a.Name, a.Class, a.RequestID, messages.MetaFrom(ctx).Caller, keep}, " "), QueuedMs: 12, Host: "pc2"}, nil
}

func TestCallersAndPlaces(t *testing.T) {
	_, nc := open(t, Options{Authenticate: knowsAlice, Gateway: &gateway{infer: tellsCaller}})
	for _, header := range []nats.Header{{"Authorization": {"Bearer alice-key"}}, {"authorization": {"Bearer alice-key"}}, {"x-api-key": {"alice-key"}}} {
		for _, body := range []string{
			`{"prompt":"x","request_id":"r1","parameters":{"keep_alive":"0"}}`, `{"model":"tiny","messages":[{"role":"user","content":"x"}],"request_id":"r1","keep_alive":0}`,
		} {
			m, r := request(t, nc, "infer.tiny", body, header), &messages.InferenceResponse{}
			read(t, m, r)
			if r.ResponseText != "alice interactive r1 f00 0s" || r.QueuePosition != 2 || r.QueueExpectedMs != 1500 {
				t.Errorf("%v: %s", header, m.Data)
			}
			if m.Header.Get(QueuePositionHeader) != "2" || m.Header.Get(QueueExpectedHeader) != "1500" || m.Header.Get(QueueWaitHeader) != "12" || m.Header.Get(messages.HostHeader) != "pc2" {
				t.Error(m.Header)
			}
		}
	}
}

// A request without a key of its own is its connection's; with one it is that key's, and an unknown one is refused.
func TestWhoAsks(t *testing.T) {
	_, nc := open(t, Options{Authenticate: knowsAlice, Gateway: &gateway{infer: tellsCaller}})
	for _, c := range []struct {
		subject string
		header  nats.Header
		code    string
		want    string
	}{
		{"infer.tiny", nil, "", `"operator  `}, {"infer.tiny", nats.Header{"X-Api-Key": {"wrong"}}, "401", ""},
		{"infer.tiny", nats.Header{"X-Api-Key": {"alice-key"}}, "", `"alice interactive `},
		{"status", nil, "", ""}, {"status", nats.Header{"X-Api-Key": {"alice-key"}}, "", ""}, {"status", nats.Header{"Authorization": {"wrong"}}, "401", ""},
	} {
		m := request(t, nc, c.subject, `{"prompt":"x"}`, c.header)
		if m.Header.Get(micro.ErrorCodeHeader) != c.code || c.code != "" && m.Header.Get(micro.ErrorHeader) != "UNAUTHENTICATED" || !strings.Contains(string(m.Data), c.want) {
			t.Errorf("%+v: %v %s", c, m.Header, m.Data)
		}
	}
}

// Where no key is configured an unknown one says nothing, because some clients always send one.
func TestAnUnknownKeyCountsAsNone(t *testing.T) {
	_, nc := open(t, Options{Gateway: &gateway{infer: tellsCaller}, Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{Role: messages.Role_READ}, nil
	}})
	m := request(t, nc, "infer.tiny", `{"prompt":"x"}`, nats.Header{"Authorization": {"Bearer sk-1"}})
	if !strings.Contains(string(m.Data), `"operator  `) {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}

// No operation runs for a caller whose role doesn't cover it.
func TestEveryOperationNeedsItsRole(t *testing.T) {
	var role atomic.Int32
	_, nc := open(t, Options{Gateway: &gateway{infer: tellsCaller}, Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{Name: "x", Role: messages.Role(role.Load())}, nil
	}})
	needs := map[string]messages.Role{"cancel.r1": messages.Role_INFER} // the one subject beside the table
	for _, o := range messages.OperationTable() {
		if o.NATS != "" {
			needs[o.NATS] = o.Role
		}
		if o.NATSName != "" {
			needs[o.NATS+".tiny"] = o.Role
		}
	}
	for subject, needed := range needs {
		for _, r := range []messages.Role{messages.Role_ROLE_UNKNOWN, messages.Role_PEER, needed - 1} {
			role.Store(int32(r))
			if m := request(t, nc, subject, `{"prompt":"x"}`, nats.Header{"X-Api-Key": {"x"}}); m.Header.Get(micro.ErrorCodeHeader) != "403" {
				t.Errorf("%s as %s: %v %s", subject, r, m.Header, m.Data)
			}
		}
	}
}

// Nobody but its caller ends a request, neither by a request nor by a publish.
func TestAStrangerCancelsNothing(t *testing.T) {
	entered, left := make(chan string, 1), make(chan error, 1)
	_, nc := open(t, Options{Authenticate: knowsAlice, Gateway: &gateway{infer: waits(entered, left)}})
	alice := nats.Header{"X-Api-Key": {"alice-key"}}
	got := make(chan *nats.Msg, 1)
	go func() {
		m, _ := nc.RequestMsg(&nats.Msg{Subject: root + ".infer.tiny", Data: []byte(`{"prompt":"x","request_id":"r1"}`), Header: alice}, hangLimit)
		got <- m
	}()
	<-entered
	wrong := nats.Header{"X-Api-Key": {"wrong"}}
	for _, stranger := range []nats.Header{nil, wrong} {
		if err := nc.PublishMsg(&nats.Msg{Subject: root + ".cancel.r1", Header: stranger}); err != nil {
			t.Fatal(err)
		}
	}
	if e := failureOf(t, request(t, nc, "cancel.r1", "", wrong)); e.Code != messages.Unauthenticated {
		t.Error(e)
	}
	if m := request(t, nc, "cancel.r1", "", nil); !strings.Contains(string(m.Data), `"cancelled":false`) {
		t.Errorf("another caller ended it: %s", m.Data)
	}
	if m := request(t, nc, "cancel.r1", "", alice); !strings.Contains(string(m.Data), `"cancelled":true`) {
		t.Errorf("the request had ended before its caller cancelled it: %s", m.Data)
	}
	failureOf(t, <-got)
	<-left
}

func TestKeepAliveIsStrict(t *testing.T) {
	_, nc := open(t, Options{Gateway: &gateway{infer: tellsCaller}})
	if m := request(t, nc, "infer.tiny", `{"prompt":"x","parameters":{"keep_alive":"soon"}}`, nil); m.Header.Get(micro.ErrorCodeHeader) != "400" {
		t.Errorf("%v %s", m.Header, m.Data)
	}
}
