//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// answer is an HTTP answer that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // no answer at all
}

func (a answer) String() string {
	return fmt.Sprintf("%d %v %.400s", a.status, a.err, a.body)
}

// code is the name of the error, empty for what went well.
func (a answer) code() string { return a.header.Get("X-Modelops-Code") }

func (d *daemon) http() *http.Client { return d.site.client() }

func (d *daemon) get(path string) answer {
	return d.do(d.t.Context(), "GET", path, nil)
}

func (d *daemon) post(path string, body any, header ...string) answer {
	return d.do(d.t.Context(), "POST", path, body, header...)
}

// do sends a body as JSON, or as it is when it is a string.
func (d *daemon) do(ctx context.Context, method, path string, body any, header ...string) answer {
	resp, err := d.send(ctx, method, path, body, header...)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: raw, err: err}
}

func (d *daemon) send(ctx context.Context, method, path string, body any, header ...string) (*http.Response, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, d.at.HTTP+path, in)
	if err != nil {
		return nil, err
	}
	if method != http.MethodGet && !strings.HasPrefix(path, "/v1/") {
		r.Header.Set("Authorization", "Bearer "+d.operatorKey())
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return d.http().Do(r)
}

// operatorKey is the local credential, which may do everything.
func (d *daemon) operatorKey() string {
	d.t.Helper()
	key, err := os.ReadFile(filepath.Join(d.state(), "operator.key"))
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}

type object = map[string]any

// question is a chat request at temperature 0.
func question(model, text string, more ...any) object {
	out := object{"model": model, "temperature": 0, "max_tokens": 64, "messages": []object{{"role": "user", "content": text}}}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i].(string)] = more[i+1]
	}
	return out
}

const france, paris = "What is the capital of France?", "The capital of France is Paris."

// chat asks and returns what the assistant said.
func (d *daemon) chat(model, text string) (string, answer) {
	a := d.post("/v1/chat/completions", question(model, text))
	return said(a), a
}

func said(a answer) string {
	var out struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if json.Unmarshal(a.body, &out) != nil || len(out.Choices) == 0 {
		return ""
	}
	return out.Choices[0].Message.Content
}

// answers fails the test unless the model gives the answer that it gives at temperature 0.
func (d *daemon) answers(model string) {
	d.t.Helper()
	if got, a := d.chat(model, france); got != paris {
		d.t.Fatalf("%s: %s", model, a)
	}
}

// stream asks for a stream and returns once its status is there; next reads the next line.
func (d *daemon) stream(ctx context.Context, model string) (next func() (string, error), end func(), err error) {
	q := question(model, "Tell me a story.", "stream", true, "max_tokens", 200)
	resp, err := d.send(ctx, "POST", "/v1/chat/completions", q)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != 200 {
		raw, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, nil, fmt.Errorf("%d %s", resp.StatusCode, raw)
	}
	lines := bufio.NewReader(resp.Body)
	next = func() (string, error) {
		for {
			line, err := lines.ReadString('\n')
			if line = strings.TrimSpace(line); line != "" || err != nil {
				return line, err
			}
		}
	}
	return next, func() { resp.Body.Close() }, nil
}

// status is GET /status.
func (d *daemon) status() *messages.StatusView {
	d.t.Helper()
	a := d.get("/status")
	out := &messages.StatusView{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(a.body, out); err != nil {
		d.t.Fatalf("/status: %v: %s", err, a)
	}
	return out
}

// streaming asks for a stream, returns after its first line, and leaves it at the end of the test.
func (d *daemon) streaming(model string) (next func() (string, error)) {
	d.t.Helper()
	next, end, err := d.stream(d.t.Context(), model)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(end)
	if _, err := next(); err != nil {
		d.t.Fatal(err)
	}
	return next
}

// model is the view of one model as /status shows it; an empty one when it isn't there.
func (d *daemon) model(name string) *messages.ModelView {
	d.t.Helper()
	for _, m := range d.status().Models {
		if m.Name == name {
			return m
		}
	}
	return &messages.ModelView{}
}

// modelOf is a model of one host as this one shows it; an empty view when it doesn't.
func (d *daemon) modelOf(host, name string) *messages.ModelView {
	d.t.Helper()
	id := messages.ModelActor(host, name).String()
	for _, m := range d.status().Models {
		if m.Id == id {
			return m
		}
	}
	return &messages.ModelView{}
}

// cluster is GET /api/cluster; nil while the host doesn't answer.
func (d *daemon) cluster() *messages.ClusterView {
	a := d.get("/api/cluster")
	v := &messages.ClusterView{}
	if a.status != 200 || (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(a.body, v) != nil {
		return nil
	}
	return v
}

// sees is a member as this host sees it.
func (d *daemon) sees(member string) *messages.MemberView {
	for _, m := range d.cluster().GetMembers() {
		if m.Host == member {
			return m
		}
	}
	return &messages.MemberView{}
}

func (d *daemon) awaitPhase(model, phase string) *messages.ModelView {
	d.t.Helper()
	var v *messages.ModelView
	d.until(waitLimit, model+" is "+phase, func() bool {
		v = d.model(model)
		return v.Phase.String() == phase
	})
	return v
}

// metric sums the samples of a metric whose labels hold all the given texts.
func (d *daemon) metric(name string, labels ...string) float64 {
	d.t.Helper()
	var sum float64
	for line := range strings.Lines(string(d.get("/metrics").body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		matches := true
		for _, l := range labels {
			matches = matches && strings.Contains(rest, l)
		}
		fields := strings.Fields(rest)
		if v, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil && matches {
			sum += v
		}
	}
	return sum
}

// nats connects to the daemon; the connection ends with the test.
func (d *daemon) nats() *nats.Conn {
	d.t.Helper()
	nc := d.dial()
	d.t.Cleanup(nc.Close)
	return nc
}

// dial connects as the operator.
func (d *daemon) dial() *nats.Conn {
	d.t.Helper()
	nc, err := nats.Connect(d.at.NATS, nats.NoReconnect(), nats.Timeout(waitLimit), nats.Token(d.operatorKey()), nats.SetCustomDialer(d.site))
	if err != nil {
		d.t.Fatal(err)
	}
	return nc
}

// journalOver reads the journal of main_pc over a connection.
func journalOver(nc *nats.Conn) *journal.Remote { return journalOf("main_pc", nc) }

// journalOf reads a host's journal over a connection to it.
func journalOf(host string, nc *nats.Conn) *journal.Remote {
	return journal.NewRemote(host, messages.Through(func(_ context.Context, o messages.Operation, request proto.Message) (proto.Message, error) {
		body, err := protojson.Marshal(request)
		if err != nil {
			return nil, err
		}
		b, err := ask(nc, o.NATS, json.RawMessage(body))
		if err != nil {
			return nil, err
		}
		answer := o.Answer()
		return answer, protojson.Unmarshal(b, answer)
	}))
}

// ask is a request on modelops.v1.SUBJECT. The error is the typed one of the answer.
func ask(nc *nats.Conn, subject string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	m, err := nc.Request("modelops.v1."+subject, raw, waitLimit)
	if err != nil {
		return nil, err
	}
	if m.Header.Get("Nats-Service-Error") != "" {
		e := &messages.ErrorBody{}
		if err := protojson.Unmarshal(m.Data, e); err != nil || e.Code == "" {
			return m.Data, fmt.Errorf("%s: %s", m.Header.Get("Nats-Service-Error"), m.Data)
		}
		return m.Data, e.Err()
	}
	return m.Data, nil
}

// sent is the answer of modelops.v1.send.
type sent struct {
	Sequence uint64          `json:"sequence"`
	Answer   json.RawMessage `json:"answer"`
	Events   []struct {
		Name string          `json:"name"`
		Body json.RawMessage `json:"body"`
	} `json:"events"`
}

// command sends a command to an actor.
func command(nc *nats.Conn, actor messages.ActorID, m proto.Message) (sent, error) {
	raw, err := sendBody(actor, m)
	if err != nil {
		return sent{}, err
	}
	reply, err := ask(nc, "send", json.RawMessage(raw))
	if err != nil {
		return sent{}, err
	}
	var out sent
	return out, json.Unmarshal(reply, &out)
}

func sendBody(actor messages.ActorID, m proto.Message) ([]byte, error) {
	body, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	name := string(m.ProtoReflect().Descriptor().Name())
	return json.Marshal(object{"actor": actor.String(), "command": name, "body": json.RawMessage(body)})
}

// view is an actor as modelops.v1.state shows it.
func view(nc *nats.Conn, actor messages.ActorID) (*messages.StateReply, error) {
	raw, err := ask(nc, "state", object{"actor": actor.String()})
	if err != nil {
		return nil, err
	}
	out := &messages.StateReply{}
	return out, protojson.Unmarshal(raw, out)
}

func modelID(name string) messages.ActorID { return messages.ModelActor("main_pc", name) }

// busySlots is how many requests an engine computes, by its own account.
func (d *daemon) busySlots(engine string) int {
	d.t.Helper()
	resp, err := d.http().Get(engine + "/slots")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var slots []struct {
		Busy bool `json:"is_processing"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&slots); err != nil {
		d.t.Fatal(err)
	}
	n := 0
	for _, s := range slots {
		if s.Busy {
			n++
		}
	}
	return n
}
