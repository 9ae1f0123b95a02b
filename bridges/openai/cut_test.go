package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelops/messages"
)

// dies is the way to another host, which dies in the middle of an answer.
type dies struct{ err error }

func (d dies) RoundTrip(r *http.Request) (*http.Response, error) {
	first := strings.NewReader("data: {}\n\n")
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, ContentLength: -1, Body: io.NopCloser(io.MultiReader(first, d)), Request: r}, nil
}

func (d dies) Read([]byte) (int, error) { return 0, d.err }

// When it is the host that died, or the way to it, the error doesn't blame the worker.
func TestAHostDiesInTheMiddle(t *testing.T) {
	for want, err := range map[string]error{
		"the connection to host pc2 ended": messages.NewError(messages.InferenceError, "host pc2", "the connection to host pc2 ended in the middle of the answer"),
		"the model's worker broke off":     errors.New("reset"),
	} {
		g := grants("")
		g.admit = func(context.Context, string) (*messages.Grant, error) {
			return &messages.Grant{Model: "tiny", Host: "pc2", URL: messages.PeerURL("pc2", "tiny"), Ended: context.Background()}, nil
		}
		resp := open(t, g, func(o *Options) { o.Far = dies{err} }).post(chat, `{"model":"tiny","stream":true}`)
		if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), want) {
			t.Errorf("%s", body)
		}
	}
}
