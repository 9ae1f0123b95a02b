package rest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelops/messages"
)

// swapsOf answers with what it was asked; a name "unknown" is unknown.
type swapsOf struct{}

func (swapsOf) Swap(_ context.Context, r *messages.SwapModel) (*messages.SwapReply, error) {
	if r.Name == "unknown" {
		return nil, messages.NewError(messages.ModelNotFound, r.Name, "no model has this name or alias")
	}
	return &messages.SwapReply{Name: r.Name, To: r.To, Phase: messages.SwapReply_preparing}, nil
}

func (swapsOf) Promote(_ context.Context, r *messages.PromoteSwap) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, Phase: messages.SwapReply_promoted}, nil
}

func (swapsOf) Rollback(_ context.Context, r *messages.RollbackSwap) (*messages.SwapReply, error) {
	return &messages.SwapReply{Name: r.Name, Phase: messages.SwapReply_rolled_back, Reason: r.Reason}, nil
}

func (swapsOf) Swaps(context.Context) (*messages.SwapList, error) {
	return &messages.SwapList{Routes: []*messages.Route{{Name: "chat", To: "v2"}}}, nil
}

func TestSwaps(t *testing.T) {
	w := start(t, nothing)
	w.s.o.Swaps = swapsOf{}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               []string
	}{
		{"GET", "/api/swaps", "", 200, []string{`"routes"`, `"chat"`, `"v2"`}},
		{"POST", "/api/swaps", `{"name":"chat","to":"v2","canary_pct":10}`, 200, []string{`"preparing"`, `"v2"`}},
		{"POST", "/api/swaps", `{"name":"unknown","to":"v2"}`, 404, []string{"no model has this name"}},
		{"POST", "/api/swaps", `{"nome":"chat"}`, 400, []string{"nome"}},
		{"POST", "/api/swaps", strings.Repeat(" ", orderBytes+1), 413, nil},
		{"PUT", "/api/swaps", "", 405, nil},
		{"POST", "/api/swaps/chat/promote", "", 200, []string{`"promoted"`, `"chat"`}},
		{"POST", "/api/swaps/org/m:7b/rollback", `{"reason":"a whim"}`, 200, []string{`"rolled_back"`, `"org/m:7b"`, `"a whim"`}},
		{"GET", "/api/swaps/chat/promote", "", 405, nil},
		{"POST", "/api/swaps/chat", "", 404, nil},
		{"POST", "/api/swaps/promote", "", 404, nil},
		{"GET", "/api/swapsies", "", 404, nil},
	} {
		status, body := w.ask(c.method, c.path, c.body)
		if status != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, body)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s %s: %s doesn't hold %s", c.method, c.path, body, want)
			}
		}
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
