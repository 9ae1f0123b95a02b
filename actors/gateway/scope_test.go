package gateway

import (
	"context"
	"testing"

	"modelops/messages"
)

func as(ctx context.Context, name string, role messages.Role, models ...string) context.Context {
	p := messages.Principal{Name: name, Fingerprint: "f-" + name, Role: role}
	if len(models) > 0 {
		p.Scope = &messages.Scope{Models: models}
	}
	return messages.WithCaller(ctx, messages.Caller{Principal: p, RequestID: "r"})
}

// A key's scope goes by the model that is asked for: an alias is its model, and a rollout changes what answers, not what may be asked for.
func TestAScopeGoesByTheDeclaredName(t *testing.T) {
	g := &Gateway{}
	g.routes.Store(&routes{byName: map[string]*target{}, declared: map[string]string{"alias": "chat"}})
	for _, c := range []struct {
		scope, asked string
		want         bool
	}{
		{"chat", "chat", true}, {"chat", "alias", true}, {"alias", "chat", true}, {"chat", "chat~2", true}, {"chat", "v2", false}, {"v2", "chat", false},
		{"v2", "alias", false}, {"ch*", "alias", true}, {"org/*", "org/a/b", true}, {"org/*", "organ", false}, {"*", "anything", true}, {"other", "unknown", false},
	} {
		err := g.allowed(as(t.Context(), "k", messages.Role_INFER, c.scope), c.asked)
		if (err == nil) != c.want || err != nil && messages.CodeOf(err) != messages.PermissionDenied {
			t.Errorf("a key for %s asks for %s: %v", c.scope, c.asked, err)
		}
	}
}
