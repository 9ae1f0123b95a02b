package rest

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

// asked answers every operation with an empty answer and remembers the last; what is called "unknown" is not found.
type asked struct {
	operation string
	request   proto.Message
	caller    messages.Caller
}

func (a *asked) operations() messages.Operations {
	return messages.Through(func(ctx context.Context, o messages.Operation, r proto.Message) (proto.Message, error) {
		a.operation, a.request, a.caller = o.Name, r, messages.CallerFrom(ctx)
		if b, _ := proto.Marshal(r); strings.Contains(string(b), "unknown") {
			return nil, messages.NewError(messages.ModelNotFound, "unknown", "no model has this name or alias").WithHint("look again")
		}
		return o.Answer(), nil
	})
}

// rulesOf are the http rules of an operation: method and path with a name in each place.
func rulesOf(t *testing.T, m protoreflect.MethodDescriptor) (out [][2]string) {
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		method, path := http.MethodGet, r.GetGet()
		if r.GetPost() != "" {
			method, path = http.MethodPost, r.GetPost()
		}
		if r == nil || path == "" {
			continue
		}
		if before, after, ok := strings.Cut(path, "{"); ok {
			_, rest, _ := strings.Cut(after, "}")
			path = before + "some-name" + rest
		}
		out = append(out, [2]string{method, path})
	}
	return out
}

// Every http rule of the service reaches its operation, and other methods of its path are refused by name.
func TestEveryRuleReachesItsOperation(t *testing.T) {
	a := &asked{}
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: a.operations()})
	methods := messages.File_operations_proto.Services().Get(0).Methods()
	served := 0
	for i := range methods.Len() {
		m := methods.Get(i)
		for _, rule := range rulesOf(t, m) {
			a.operation = ""
			status, body := w.ask(rule[0], rule[1], "")
			if status != 200 || a.operation != string(m.Name()) || a.caller.RequestID == "" {
				t.Errorf("%s %s reached %q: %d %s", rule[0], rule[1], a.operation, status, body)
			}
			if status, body := w.ask("PATCH", rule[1], ""); status != 405 || !strings.Contains(body, "takes ") {
				t.Errorf("PATCH %s: %d %s", rule[1], status, body)
			}
			served++
		}
	}
	if served < 25 {
		t.Errorf("only %d rules", served)
	}
}

func TestRequestsOfOperations(t *testing.T) {
	a := &asked{}
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: a.operations()})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               proto.Message
		says               string
	}{
		{"GET", "/api/swaps", "", 200, nil, ""},
		{"HEAD", "/api/swaps", "", 200, nil, ""},
		{"POST", "/api/swaps", `{"name":"chat","to":"v2","canary_pct":10}`, 200, &messages.SwapModel{Name: "chat", To: "v2", CanaryPct: 10}, `"name":"",`},
		{"POST", "/api/swaps", `{"name":"unknown","to":"v2"}`, 404, nil, `"code":"model_not_found"`},
		{"POST", "/api/swaps", `{"nome":"chat"}`, 400, nil, `"message":"body: (line 1:2): unknown field \"nome\" (its fields are name, to, canary_pct,`},
		{"POST", "/api/swaps", `{"name":`, 400, nil, `"message":"body: it is not JSON"`},
		{"POST", "/api/swaps", `{"name":"a"} {}`, 400, nil, "is not JSON"},
		{"POST", "/api/swaps", `"` + strings.Repeat("a", bodyBytes) + `"`, 413, nil, "longer than"},
		{"PUT", "/api/swaps", "", 405, nil, "takes GET or HEAD or POST, not PUT"},
		{"POST", "/api/swaps/chat/promote", "", 200, &messages.PromoteSwap{Name: "chat"}, ""},
		{"POST", "/api/swaps/org/m:7b/rollback", `{"reason":"a whim"}`, 200, &messages.RollbackSwap{Name: "org/m:7b", Reason: "a whim"}, ""},
		{"GET", "/api/swaps/chat/promote", "", 405, nil, "takes POST, not GET"},
		{"POST", "/api/swaps/chat", "", 404, nil, ""},
		{"GET", "/api/swapsies", "", 404, nil, ""},
		{"GET", "/why/org/a%20b", "", 200, &messages.WhyRequest{Subject: "org/a b"}, ""},
		{"GET", "/why/unknown", "", 404, nil, "no model has this name"},
		{"POST", "/why/tiny", "", 405, nil, ""},
		{"POST", "/api/models/load/org/a:b", `{"shards":2}`, 200, &messages.ModelLoadRequest{ModelName: "org/a:b", Shards: 2}, ""},
		{"POST", "/api/models/load", `{"model_name":"org/a:b"}`, 200, &messages.ModelLoadRequest{ModelName: "org/a:b"}, ""},
		{"POST", "/api/models/unload", `{"model_name":"org/a:b","force":true}`, 200, &messages.ModelUnloadRequest{ModelName: "org/a:b", Force: true}, ""},
		{"POST", "/api/models/unload/org/a", `{"model_name":"b"}`, 400, nil, `model_name: the path names \"org/a\", the body \"b\" (name it once)`},
		{"POST", "/api/models/unload/org/a", `{"modelName":"b"}`, 400, nil, "name it once"},
		{"POST", "/api/models/unload/org/a", `{"modelName":"org/a"}`, 200, &messages.ModelUnloadRequest{ModelName: "org/a"}, ""},
		{"POST", "/api/swaps/chat/promote", `{"name":"other"}`, 400, nil, "name it once"},
		{"POST", "/api/models/unload/a", "", 200, &messages.ModelUnloadRequest{ModelName: "a"}, ""},
		{"GET", "/api/journal?actor=model/pc/a&limit=5&after=7", "", 200, &messages.JournalRequest{Actor: "model/pc/a", Limit: 5, After: 7}, ""},
		{"GET", "/api/journal?limit=some", "", 400, nil, "invalid syntax (its fields are after, limit, actor"},
		{"GET", "/api/state/gpu/pc/gpu0", "", 200, &messages.StateRequest{Actor: "gpu/pc/gpu0"}, ""},
		{"GET", "/api/state/gpu/pc/gpu0?actor=gpu/pc/gpu1", "", 400, nil, "name it once"},
		{"GET", "/api/state/gpu/pc/gpu0?actor=gpu/pc/gpu0", "", 200, &messages.StateRequest{Actor: "gpu/pc/gpu0"}, ""},
		{"POST", "/api/send", `{"actor":"model/pc/a","command":"UnloadModel","body":{"force":true}}`, 200,
			&messages.SendRequest{Actor: "model/pc/a", Command: "UnloadModel", Body: &structpb.Struct{Fields: map[string]*structpb.Value{"force": structpb.NewBoolValue(true)}}}, ""},
	} {
		a.request = nil
		status, body := w.ask(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.says) || c.want != nil && !proto.Equal(a.request, c.want) {
			t.Errorf("%s %s: %d %.200s, asked %v", c.method, c.path, status, body, a.request)
		}
	}
	_ = w.s.Stop(t.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, want := range []string{"GET /why/{subject=**} 200", "GET /why/{subject=**} 404", "POST /api/swaps 200", "PUT  405"} {
		if !slices.Contains(w.counted, want) {
			t.Errorf("%q wasn't counted: %q", want, w.counted)
		}
	}
}

// Roles are checked before the operation is called; it isn't run for a caller without the role.
func TestRolesOfOperations(t *testing.T) {
	a := &asked{}
	roles := map[string]messages.Role{"reader": messages.Role_READ, "operator": messages.Role_OPERATE}
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: a.operations(), Authenticate: func(_ context.Context, c messages.Credentials) (messages.Principal, error) {
		role, ok := roles[c.Key]
		if !ok {
			return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
		}
		return messages.Principal{Name: c.Key, Role: role}, nil
	}})
	for _, header := range []string{"X-Api-Key", "Api-Key"} {
		if status, _, body := w.do("GET", "/status", "", header, "reader"); status != 200 {
			t.Errorf("%s: %d %s", header, status, body)
		}
	}
	for _, c := range []struct {
		method, path, key string
		status            int
	}{
		{"GET", "/status", "reader", 200}, {"GET", "/status", "", 401}, {"GET", "/status", "stranger", 401},
		{"POST", "/api/swaps", "reader", 403}, {"POST", "/api/swaps", "operator", 200}, {"GET", "/api/swaps", "operator", 200},
	} {
		a.operation = ""
		status, _, body := w.do(c.method, c.path, "", "Authorization", "Bearer "+c.key)
		if status != c.status || (a.operation != "") != (c.status == 200) {
			t.Errorf("%+v: %d %s, ran %q", c, status, body, a.operation)
		}
		if c.status == 200 && a.caller.Name != c.key {
			t.Errorf("%+v: called by %q", c, a.caller.Name)
		}
	}
}

// Who may not run an operation isn't told that its body is wrong, whatever is wrong with it.
func TestTheRoleIsAskedBeforeTheBodyIsRead(t *testing.T) {
	a := &asked{}
	w := startWith(t, Options{OpenAI: http.HandlerFunc(nothing), Operations: a.operations(), Authenticate: func(context.Context, messages.Credentials) (messages.Principal, error) {
		return messages.Principal{Name: "pc2", Role: messages.Role_PEER}, nil
	}})
	all := messages.File_operations_proto.Services().Get(0).Methods()
	for i := range all.Len() {
		for _, rule := range rulesOf(t, all.Get(i)) {
			for _, body := range []string{`{"name":`, `{"nobody":1}`, `[]`, `{"shards":"many"}`, strings.Repeat("[", bodyBytes+1), ""} {
				if rule[0] == http.MethodGet && body != "" {
					continue
				}
				if status, said := w.ask(rule[0], rule[1]+"?limit=some", body); status != 403 {
					t.Errorf("%s %s %.20s: %d %.100s", rule[0], rule[1], body, status, said)
				}
			}
		}
	}
	if a.operation != "" {
		t.Errorf("%s ran", a.operation)
	}
}

func (w *world) ask(method, path, body string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.s.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}
