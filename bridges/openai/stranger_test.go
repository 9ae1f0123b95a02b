package openai

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"modelops/messages"
)

// A stranger gets nothing at any route, under any of its names, and nobody is asked for a place. A path that there isn't is refused as well, so that no route
// can be open by mistake.
func TestStrangersReachNoEngine(t *testing.T) {
	h := open(t, declares("http://127.0.0.1:1", "tiny"), func(o *Options) {
		o.Authenticate = func(context.Context, messages.Credentials) (messages.Principal, error) {
			return messages.Principal{}, messages.NewError(messages.Unauthenticated, "API key", "it is unknown")
		}
	})
	paths := []string{"/upstream/tiny/x", "/upstream/tiny", "/upstream/", "/slots/1", "/v1/models", "/v1/models/tiny", "/models", "/nothing", "/v1/nothing", "/"}
	for path := range passThrough {
		bare := strings.TrimPrefix(path, "/v1")
		paths = append(paths, path, path+"/", bare, "/v"+bare, "/v1/engines/tiny"+bare)
	}
	for _, path := range paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
			if resp := h.do(t.Context(), method, path+"?model=tiny", ""); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
	if h.gateway.asked > 0 {
		t.Errorf("%d places were asked for", h.gateway.asked)
	}
}
