package journal

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

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

// keyring knows the principals of keys. It may change.
type keyring struct {
	refused atomic.Int64 // connections that the journal counted

	mu   sync.Mutex
	keys map[string]messages.Principal
}

func (k *keyring) admit(_ context.Context, c messages.Credentials) (messages.Principal, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.keys[c.Key]
	if !ok {
		return messages.Principal{Role: messages.Role_READ}, nil // as where no key is configured: anonymous
	}
	return p, nil
}

func (k *keyring) set(key string, p messages.Principal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[key] = p
}

func (k *keyring) drop(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, key)
}

// echo is a door that answers each request with the name of whose account it came from.
type echo struct{ entered, left atomic.Int32 }

func (e *echo) Enter(nc *nats.Conn, p messages.Principal) (func(), error) {
	e.entered.Add(1)
	_, err := nc.Subscribe("api.>", func(m *nats.Msg) { _ = m.Respond([]byte(p.Name)) })
	if err == nil {
		err = nc.FlushTimeout(hangLimit)
	}
	return func() { e.left.Add(1) }, err
}

const operatorKey = "operator-key"

// openGuarded is a journal with five decisions and a snapshot, whose listener lets alice, bob and the operator in.
func openGuarded(t *testing.T, set ...func(*Options)) (*Journal, *keyring, *echo) {
	t.Helper()
	keys := &keyring{keys: map[string]messages.Principal{
		"alice-key": {Name: "alice", Fingerprint: "a1", Role: messages.Role_OPERATE},
		"bob-key":   {Name: "bob", Fingerprint: "b2", Role: messages.Role_INFER},
		"old-key":   {Name: "old", Fingerprint: "c3", Role: messages.Role_ADMIN, Until: time.Now().Add(-time.Minute)},
		operatorKey: {Name: "operator", Fingerprint: "0b", Role: messages.Role_ADMIN},
	}}
	o := testOptions(t, t.TempDir())
	o.Port = 0
	o.Callers = Callers{Admit: keys.admit, Operator: operatorKey, Rights: func(messages.Principal) Rights {
		return Rights{Publish: []string{"api.>"}, Subscribe: []string{"_INBOX.>", "events.>"}}
	}}
	o.Refused = func(n int) { keys.refused.Add(int64(n)) }
	for _, s := range set {
		s(&o)
	}
	j := mustOpen(t, o)
	fill(t, j, 5)
	if err := j.SaveSnapshot(t.Context(), Snapshot{Actor: modelName(1), Sequence: 1, State: []byte("s")}); err != nil {
		t.Fatal(err)
	}
	door := &echo{}
	stop, err := j.ServeCallers(door)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return j, keys, door
}

// dial connects a client to the listener.
func dial(j *Journal, opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(j.ClientURL(), append([]nats.Option{nats.Timeout(hangLimit), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)...)
}

func mustDial(t *testing.T, j *Journal, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := dial(j, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// untouched fails when the journal or its snapshot are not as openGuarded left them.
func untouched(t *testing.T, j *Journal) {
	t.Helper()
	if n := len(readAll(t, j, Query{})); n != 5 {
		t.Errorf("the journal has %d decisions, want 5", n)
	}
	state, err := j.Reader.state(t.Context())
	if err != nil || state.LastSeq != 5 {
		t.Errorf("the stream ends at %d, want 5 (%v)", state.LastSeq, err)
	}
	if s, ok, err := j.LoadSnapshot(t.Context(), modelName(1)); !ok || err != nil || string(s.State) != "s" {
		t.Errorf("the snapshot is %q, %v, %v", s.State, ok, err)
	}
	streams := 0
	for range j.js.StreamNames(t.Context()).Name() {
		streams++
	}
	if streams != 2 {
		t.Errorf("there are %d streams, want the journal's two", streams)
	}
}

// A connection without a good key is refused, however it presents itself.
func TestStrangersAreRefused(t *testing.T) {
	j, _, _ := openGuarded(t)
	other, err := Signed("another-key")
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string][]nats.Option{
		"nothing":                        nil,
		"an unknown token":               {nats.Token("mallory-key")},
		"an unknown password":            {nats.UserInfo("alice", "mallory-key")},
		"a name without a key":           {nats.UserInfo("alice", "")},
		"the journal's name":             {nats.UserInfo(ownUser, "alice-key-")},
		"the door's name":                {nats.UserInfo(doorUser+"$G", "x")},
		"a key that has expired":         {nats.Token("old-key")},
		"a signature by another key":     {other},
		"the former guest":               {nats.UserInfo("client", "")},
		"a key with something behind it": {nats.Token("alice-key ")},
	} {
		nc, err := dial(j, opts...)
		if err == nil {
			nc.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, lines := range map[string]string{
		"no CONNECT":       "SUB > 1\r\nPUB journal.main_pc.model.x 1\r\nx\r\nPING\r\n",
		"an empty CONNECT": "CONNECT {}\r\nSUB > 1\r\nPUB api.x _INBOX.q 0\r\n\r\nPING\r\n",
	} {
		if got := speak(t, j, lines); !strings.Contains(got, "-ERR 'Authorization Violation'") || strings.Contains(got, "PONG") || strings.Contains(got, "MSG") {
			t.Errorf("%s: %q", name, got)
		}
	}
	untouched(t, j)
}

// speak sends lines on a bare connection and returns what comes back until the server ends it.
func speak(t *testing.T, j *Journal, lines string) string {
	t.Helper()
	u, err := url.Parse(j.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(hangLimit))
	if _, err := conn.Write([]byte(lines)); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			return got.String()
		}
	}
}

// A key is presented as a token, as a password with any name, or by a signature.
func TestKeysOpen(t *testing.T) {
	j, _, door := openGuarded(t)
	signed, err := Signed(operatorKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		opt  nats.Option
	}{
		{"alice", nats.Token("alice-key")}, {"alice", nats.UserInfo("whoever", "alice-key")}, {"bob", nats.UserInfo(ownUser, "bob-key")},
		{"operator", nats.Token(operatorKey)}, {"operator", signed},
	} {
		m, err := mustDial(t, j, c.opt).Request("api.who", nil, hangLimit) // the very first thing after connecting
		if err != nil || string(m.Data) != c.want {
			t.Errorf("%s: %v, %v", c.want, m, err)
		}
	}
	if n := door.entered.Load(); n != 3 {
		t.Errorf("the door was entered %d times, want once for each key", n)
	}
}

// attempt is one thing that a caller mustn't be able to do. It returns nil when it was done.
type attempt func(nc *nats.Conn) error

// requestRefused is nil when a request was answered.
func requestRefused(subject, body string) attempt {
	return func(nc *nats.Conn) error {
		refused := make(chan error, 1)
		nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case refused <- err:
			default:
			}
		})
		got := make(chan error, 1)
		go func() {
			_, err := nc.Request(subject, []byte(body), hangLimit)
			got <- err
		}()
		select {
		case err := <-refused:
			return err
		case err := <-got:
			return err
		}
	}
}

func publishRefused(subject string) attempt {
	return func(nc *nats.Conn) error {
		if err := nc.PublishRequest(subject, "_INBOX.x", []byte("forged")); err != nil {
			return err
		}
		_ = nc.Flush()
		return nc.LastError()
	}
}

func subscribeRefused(subject, queue string) attempt {
	return func(nc *nats.Conn) error {
		if _, err := nc.QueueSubscribe(subject, queue, func(*nats.Msg) {}); err != nil {
			return err
		}
		_ = nc.Flush()
		return nc.LastError()
	}
}

// The attacks of a caller with every right that there is: nothing of the journal, of another caller or of the service is within reach.
func TestCallersReachNothingElse(t *testing.T) {
	j, _, _ := openGuarded(t)
	config := func(c jetstream.StreamConfig) string { b, _ := json.Marshal(c); return string(b) }
	subject := subjectOf(testHost, modelName(1))
	attempts := map[string]attempt{
		"publish a decision":                 publishRefused(subject),
		"publish a snapshot":                 publishRefused("$KV." + bucketName + "." + snapshotKey(modelName(1))),
		"republish onto decisions":           requestRefused("$JS.API.STREAM.CREATE.EVIL", config(jetstream.StreamConfig{Name: "EVIL", Subjects: []string{"api.>"}, RePublish: &jetstream.RePublish{Source: ">", Destination: root + "." + testHost + ".>"}})),
		"republish onto snapshots":           requestRefused("$JS.API.STREAM.CREATE.EVIL", config(jetstream.StreamConfig{Name: "EVIL", Subjects: []string{"api.>"}, RePublish: &jetstream.RePublish{Source: ">", Destination: "$KV." + bucketName + ".>"}})),
		"intercept requests with a stream":   requestRefused("$JS.API.STREAM.CREATE.SPY", config(jetstream.StreamConfig{Name: "SPY", Subjects: []string{"api.>", "_INBOX.>"}})),
		"fill the disk":                      requestRefused("$JS.API.STREAM.CREATE.FILL", config(jetstream.StreamConfig{Name: "FILL", Subjects: []string{"fill.>"}, Storage: jetstream.FileStorage})),
		"deliver onto decisions":             requestRefused("$JS.API.CONSUMER.CREATE."+streamName+".push", `{"stream_name":"`+streamName+`","config":{"name":"push","deliver_subject":"`+subject+`","ack_policy":"none"}}`),
		"delete a consumer":                  requestRefused("$JS.API.CONSUMER.DELETE."+streamName+".any", ""),
		"list consumers":                     requestRefused("$JS.API.CONSUMER.NAMES."+streamName, ""),
		"pause a consumer":                   requestRefused("$JS.API.CONSUMER.PAUSE."+streamName+".any", `{"pause_until":"2100-01-01T00:00:00Z"}`),
		"read the stream":                    requestRefused("$JS.API.STREAM.MSG.GET."+streamName, `{"seq":1}`),
		"read the stream directly":           requestRefused("$JS.API.DIRECT.GET."+streamName, `{"seq":1}`),
		"describe the stream":                requestRefused("$JS.API.STREAM.INFO."+streamName, ""),
		"delete the stream":                  requestRefused("$JS.API.STREAM.DELETE."+streamName, ""),
		"purge the stream":                   requestRefused("$JS.API.STREAM.PURGE."+streamName, ""),
		"delete a decision":                  requestRefused("$JS.API.STREAM.MSG.DELETE."+streamName, `{"seq":1}`),
		"snapshot the stream":                requestRefused("$JS.API.STREAM.SNAPSHOT."+streamName, `{"deliver_subject":"_INBOX.s"}`),
		"restore a stream":                   requestRefused("$JS.API.STREAM.RESTORE."+streamName, `{}`),
		"ask JetStream with a journal reply": publishRefused("$JS.API.INFO"),
		"look at the account":                requestRefused("$JS.API.INFO", ""),
		"purge the account":                  requestRefused("$JS.API.ACCOUNT.PURGE.$G", ""),
		"ask the server":                     requestRefused("$SYS.REQ.SERVER.PING.CONNZ", ""),
		"reload the server":                  requestRefused("$SYS.REQ.SERVER.PING.RELOAD", ""),
		"acknowledge for others":             publishRefused("$JS.ACK." + streamName + ".any.1.1.1.1.1"),
		"answer another's request":           publishRefused("_INBOX.guess"),
		"answer for the service":             publishRefused("_R_.guess"),
		"forge an event":                     publishRefused("events.x"),
		"subscribe to everything":            subscribeRefused(">", ""),
		"subscribe to the journal":           subscribeRefused(root+".>", ""),
		"subscribe to JetStream":             subscribeRefused("$JS.>", ""),
		"subscribe to the system":            subscribeRefused("$SYS.>", ""),
		"read others' requests":              subscribeRefused("api.>", ""),
		"join the service's queue group":     subscribeRefused("api.>", "modelops"),
		"be the service for one subject":     subscribeRefused("api.who", "modelops"),
		"subscribe with a wildcard head":     subscribeRefused("*.>", ""),
		"read service replies":               subscribeRefused("_R_.>", ""),
	}
	for _, key := range []string{"alice-key", operatorKey} {
		for name, try := range attempts {
			if err := try(mustDial(t, j, nats.Token(key))); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s with %s: %v", name, key, err)
			}
		}
	}
	untouched(t, j)
}

// Another key's answers, requests and events are out of reach even where the subjects are allowed: each key has an account of its own.
func TestCallersDontSeeEachOther(t *testing.T) {
	j, _, _ := openGuarded(t)
	alice, bob := mustDial(t, j, nats.Token("alice-key")), mustDial(t, j, nats.Token("bob-key"))
	var seen atomic.Int32
	for _, subject := range []string{"_INBOX.>", "events.>"} {
		if _, err := alice.Subscribe(subject, func(*nats.Msg) { seen.Add(1) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := alice.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if m, err := bob.Request("api.who", nil, hangLimit); err != nil || string(m.Data) != "bob" {
			t.Errorf("%v, %v", m, err)
		}
	}
	// bob has the service answer where alice listens, and where the journal is.
	for _, reply := range []string{"_INBOX.alice.1", "events.forged", subjectOf(testHost, modelName(1)), "$KV." + bucketName + ".x"} {
		if err := bob.PublishRequest("api.who", reply, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bob.Request("api.who", nil, hangLimit); err != nil { // behind them in order
		t.Fatal(err)
	}
	if err := alice.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("alice saw %d messages of bob", n)
	}
	untouched(t, j)
}

// A caller can't say who it is: the headers with which servers tell each other about clients mean nothing.
func TestIdentityIsNotInTheRequest(t *testing.T) {
	j, _, _ := openGuarded(t)
	m := nats.NewMsg("api.who")
	m.Header = nats.Header{"Nats-Request-Info": {`{"acc":"$G","user":"operator"}`}}
	bob := mustDial(t, j, nats.Token("bob-key"))
	traced := nats.NewMsg("api.who") // the server reports such a message's way to a subject of the sender's choice
	traced.Header = nats.Header{"Nats-Trace-Dest": {subjectOf(testHost, modelName(1))}}
	if err := bob.PublishMsg(traced); err != nil {
		t.Fatal(err)
	}
	got, err := bob.RequestMsg(m, hangLimit)
	if err != nil || string(got.Data) != "bob" {
		t.Errorf("%v, %v", got, err)
	}
	untouched(t, j)
}
