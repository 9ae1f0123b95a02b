package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/bridges/config"
	"modelops/messages"
)

// locked is a daemon that requires a key, with two remote models that nobody serves.
func locked(t *testing.T, server ...string) *daemon {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.yaml")
	text := "server: {zmq_port: 0, grpc_port: 0, rest_port: 0, nats_port: 0, drain_timeout: 5s, require_key: true" + strings.Join(server, "") + "}\nmodels: {declare: {tiny: {url: \"http://127.0.0.1:1\", aliases: [small]}, " +
		"other: {url: \"http://127.0.0.1:1\"}}}\nresources: {devices: [{id: sim0, capacity_mb: 9000}]}\n" +
		"keys: [{name: old, key: canary-expired, role: admin, expires: 2020-01-01}, {name: reader, key: canary-reader, role: read}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, []string{"MOC_DATA_DIR=" + filepath.Join(dir, "state")}, "h")
	if err != nil {
		t.Fatal(err)
	}
	d, err := launch(t.Context(), cfg, nil, slog.New(slog.DiscardHandler), openDevices)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return d
}

// keyed adds a key and returns it.
func (d *daemon) keyed(t *testing.T, k *messages.AddKeyRequest) string {
	t.Helper()
	admin := messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "operator", Role: messages.Role_ADMIN}})
	made, err := d.control.AddKey(admin, k)
	if err != nil {
		t.Fatal(err)
	}
	return made.Key
}

// stranger is somebody who may not run an operation.
type stranger struct {
	who, key string
	may      func(messages.Operation) bool // nil = nothing
}

func (d *daemon) strangers(t *testing.T) []stranger {
	revoked := d.keyed(t, &messages.AddKeyRequest{Name: "gone", Role: "admin"})
	if _, err := d.control.RevokeKey(t.Context(), &messages.RevokeKeyRequest{Name: "gone"}); err != nil {
		t.Fatal(err)
	}
	upTo := func(role messages.Role) func(messages.Operation) bool {
		return func(o messages.Operation) bool { return o.Role <= role }
	}
	lists := func(o messages.Operation) bool {
		return o.Reach == messages.Reach_LISTED_MODELS || o.Reach == messages.Reach_NO_MODEL // what it sees is its own
	}
	return []stranger{
		{"no key", "", nil}, {"a wrong key", "canary-nobody", nil}, {"a token of nobody", "eyJhbGciOiJub25lIn0.e30.", nil},
		{"an expired key", "canary-expired", nil}, {"a revoked key", revoked, nil},
		{"a key that may only infer", d.keyed(t, &messages.AddKeyRequest{Name: "infers", Role: "infer"}), upTo(messages.Role_INFER)},
		{"a key that may only read", "canary-reader", upTo(messages.Role_READ)},
		{"a key that may only operate", d.keyed(t, &messages.AddKeyRequest{Name: "operates", Role: "operate"}), upTo(messages.Role_OPERATE)},
		{"a key for another operation", d.keyed(t, &messages.AddKeyRequest{Name: "one", Role: "admin", Operations: []string{"GetVersion"}}), func(o messages.Operation) bool { return o.Name == "GetVersion" }},
		{"a key for another model", d.keyed(t, &messages.AddKeyRequest{Name: "two", Role: "admin", Models: []string{"elsewhere/*"}}), lists},
	}
}

// TestStrangersGetNothing: nobody without the right runs any operation at any door, and nothing is decided because of it.
func TestStrangersGetNothing(t *testing.T) {
	others := listening(t)
	d := locked(t)
	d.allDoorsAreTried(t, others)
	all := d.strangers(t)
	conn, err := grpc.NewClient(d.grpc.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	before := d.journal.Sequence()
	tried := 0
	for _, s := range all {
		bus := d.onNATS(t, s.key)
		for _, o := range messages.OperationTable() {
			if s.may != nil && s.may(o) {
				continue
			}
			for door, ask := range map[string]func() string{
				"HTTP":              func() string { return d.byHTTP(t, o, s.key) },
				"gRPC":              func() string { return byGRPC(t, conn, o, s.key) },
				"NATS":              func() string { return bus.ask(t, o, o.NATS) },
				"NATS, with a name": func() string { return bus.ask(t, o, named(o)) },
			} {
				tried++
				if got := ask(); got != "" {
					t.Errorf("%s: %s over %s: %s", s.who, o.Name, door, got)
				}
			}
		}
		bus.close()
		if s.may == nil {
			for _, path := range []string{"GET /running", "GET /metrics", "GET /v1/models", "GET /v1/models/tiny", "POST /v1/embeddings", "POST /v1/messages", "POST /completion", "GET /nothing", "POST /v1/nothing"} {
				if got := d.fetch(t, path, s.key, `{"model":"tiny"}`); got != "" {
					t.Errorf("%s: %s: %s", s.who, path, got)
				}
			}
			for _, m := range []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"} {
				if got := callGRPC(t, conn, m, s.key, &messages.WhyRequest{}); got != "" {
					t.Errorf("%s: %s: %s", s.who, m, got)
				}
			}
		}
	}
	if after := d.journal.Sequence(); after != before {
		t.Errorf("%d decisions followed", after-before)
	}
	if tried < 500 {
		t.Errorf("only %d calls were tried", tried)
	}
	// The operator can: what was refused above isn't refused for another reason.
	key := d.operatorKey(t)
	for _, o := range messages.OperationTable() {
		if o.Role == messages.Role_READ && o.Reach != messages.Reach_NAMED_MODELS {
			if got := byGRPC(t, conn, o, key); !strings.Contains(got, "OK") {
				t.Errorf("the operator: %s: %q", o.Name, got)
			}
		}
	}
}

func (d *daemon) operatorKey(t *testing.T) string {
	o, err := config.ReadOperator(d.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return o.Key()
}

// filled is a request that names the model tiny wherever it names one.
func filled(o messages.Operation) proto.Message {
	m := o.Request()
	for i := range m.ProtoReflect().Descriptor().Fields().Len() {
		f := m.ProtoReflect().Descriptor().Fields().Get(i)
		if f.Kind() != protoreflect.StringKind || f.IsList() || f.IsMap() {
			continue
		}
		value := "tiny"
		switch f.Name() {
		case "actor":
			value = "model/h/tiny"
		case "command":
			value = "UnloadModel"
		case "model_path", "role", "class", "expires", "owner", "status", "page_token", "host":
			continue
		}
		m.ProtoReflect().Set(f, protoreflect.ValueOfString(value))
	}
	return m
}

// routeOf is the HTTP route of an operation; empty = it has none.
func routeOf(o messages.Operation) string {
	m := messages.File_operations_proto.Services().Get(0).Methods().ByName(protoreflect.Name(o.Name))
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return ""
	}
	route := "GET " + rule.GetGet()
	if rule.GetPost() != "" {
		route = "POST " + rule.GetPost()
	}
	if i := strings.Index(route, "{"); i >= 0 {
		name := "tiny"
		if strings.Contains(route, "{actor") {
			name = "model/h/tiny"
		}
		route = route[:i] + name + route[strings.Index(route, "}")+1:]
	}
	return route
}

// byHTTP says what a caller got; empty = it was refused.
func (d *daemon) byHTTP(t *testing.T, o messages.Operation, key string) string {
	if o.Call == nil {
		return d.fetch(t, "POST /v1/chat/completions", key, `{"model":"tiny","messages":[{"role":"user","content":"x"}]}`)
	}
	route := routeOf(o)
	if route == "" {
		return "" // GetHealth and GetVersion are pages, which are open
	}
	return d.fetch(t, route, key, natsBody(filled(o)))
}

func (d *daemon) fetch(t *testing.T, route, key, body string) string {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	var in io.Reader
	if method == http.MethodPost {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.rest.Addr().String()+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangLimit}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	said, _ := io.ReadAll(resp.Body)
	return refusedAs(resp.StatusCode == 401 || resp.StatusCode == 403 || resp.StatusCode == 429, fmt.Sprint(resp.StatusCode), string(said), key)
}

// refusedAs is empty for a refusal that gives nothing away.
func refusedAs(refused bool, code, text, key string) string {
	if !refused || key != "" && strings.Contains(text, key) || strings.Contains(text, "127.0.0.1:1") {
		return code + " " + text
	}
	return ""
}

func byGRPC(t *testing.T, conn *grpc.ClientConn, o messages.Operation, key string) string {
	return callGRPC(t, conn, "/modelops.ModelOps/"+o.Name, key, filled(o))
}

func callGRPC(t *testing.T, conn *grpc.ClientConn, method, key string, request proto.Message) string {
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	if key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	answer := &emptypb.Empty{} // keeps what it gets as fields that it doesn't know
	_ = stream.SendMsg(request)
	_ = stream.CloseSend()
	if err = stream.RecvMsg(answer); err == nil && strings.HasSuffix(method, "InferStream") { // the refusal of one request
		chunk := &messages.InferenceChunk{}
		b, _ := proto.Marshal(answer)
		_ = proto.Unmarshal(b, chunk)
		c := messages.ParseCode(chunk.GetError().GetCode())
		return refusedAs(c == messages.Unauthenticated || c == messages.PermissionDenied || c == messages.BulkheadRejection, "chunk", chunk.String(), key)
	}
	c := status.Code(err)
	return refusedAs(c == codes.Unauthenticated || c == codes.PermissionDenied || c == codes.ResourceExhausted, c.String(), status.Convert(err).Message(), key)
}

// bus is a stranger's connection to the NATS door; nil when there is none, because the server refused it.
type bus struct {
	nc      *nats.Conn
	refused chan string
}

func (d *daemon) onNATS(t *testing.T, key string) *bus {
	b := &bus{refused: make(chan string, 1024)}
	o := []nats.Option{nats.NoReconnect(), nats.Timeout(hangLimit), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.refused <- err.Error() })}
	if key != "" {
		o = append(o, nats.Token(key))
	}
	nc, err := nats.Connect(d.journal.ClientURL(), o...)
	if err != nil {
		if !strings.Contains(strings.ToLower(err.Error()), "authorization") {
			t.Fatal(err)
		}
		return nil
	}
	b.nc = nc
	return b
}

func (b *bus) close() {
	if b != nil {
		b.nc.Close()
	}
}

// ask waits for the answer, or for the server's word that it lets nothing through.
func (b *bus) ask(t *testing.T, o messages.Operation, subject string) string {
	if b == nil || subject == "" {
		return ""
	}
	body, _ := json.Marshal(map[string]string{})
	if m := filled(o); m.ProtoReflect().Descriptor().Fields().Len() > 0 {
		body = []byte(natsBody(m))
	}
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	answered := make(chan string, 1)
	go func() {
		m, err := b.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: "modelops.v1." + subject, Data: body})
		switch {
		case ctx.Err() != nil:
		case err != nil:
			answered <- refusedAs(strings.Contains(err.Error(), "no responders") || strings.Contains(err.Error(), "ermission"), "error", err.Error(), "")
		default:
			code := m.Header.Get(micro.ErrorCodeHeader)
			answered <- refusedAs(code == "401" || code == "403" || code == "429", code, string(m.Data), "")
		}
	}()
	select {
	case got := <-answered:
		return got
	case why := <-b.refused:
		if strings.Contains(strings.ToLower(why), "permissions violation") {
			return ""
		}
		return why
	case <-ctx.Done():
		return "neither an answer nor a refusal"
	}
}

func natsBody(m proto.Message) string {
	out := map[string]any{}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out[string(f.Name())] = v.Interface()
		return true
	})
	b, _ := json.Marshal(out)
	return string(b)
}
