package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"modelops/messages"
)

// fakeIssuer is an OpenID Connect issuer whose keys turn and that can be down.
type fakeIssuer struct {
	*httptest.Server
	t     *testing.T
	keys  atomic.Pointer[[]jose.JSONWebKey]
	down  atomic.Bool
	asked atomic.Int64 // for its keys
}

func newFakeIssuer(t *testing.T) *fakeIssuer {
	f := &fakeIssuer{t: t}
	f.turn("k1")
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case f.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/keys":
			f.asked.Add(1)
			var public []jose.JSONWebKey
			for _, k := range *f.keys.Load() {
				public = append(public, k.Public())
			}
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: public})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": f.URL, "jwks_uri": f.URL + "/keys", "authorization_endpoint": f.URL, "token_endpoint": f.URL,
				"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"}})
		}
	}))
	t.Cleanup(func() { f.Close(); http.DefaultTransport.(*http.Transport).CloseIdleConnections() })
	return f
}

// turn makes the issuer sign with another key.
func (f *fakeIssuer) turn(id string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	f.keys.Store(&[]jose.JSONWebKey{{Key: k, KeyID: id, Algorithm: "ES256", Use: "sig"}})
}

// token signs claims. Those that are nil are left out of the usual ones.
func (f *fakeIssuer) token(claims map[string]any) string {
	all := map[string]any{"iss": f.URL, "aud": "modelops", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for name, value := range claims {
		all[name] = value
	}
	key := (*f.keys.Load())[0]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	body, _ := json.Marshal(all)
	signed, err := signer.Sign(body)
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// forged is a token with a header of its own, unsigned or signed with a secret.
func forged(token, alg string, secret []byte) string {
	parts := strings.Split(token, ".")
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"k1"}`))
	if secret == nil {
		return head + "." + parts[1] + "."
	}
	signer, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, nil)
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	signed, _ := signer.Sign(body)
	out, _ := signed.CompactSerialize()
	return out
}

func accepting(f *fakeIssuer) Rules {
	return Rules{Anonymous: messages.Role_READ, Class: "normal", Tokens: Tokens{Issuer: f.URL, Audience: "modelops", NameClaim: "email", RoleClaim: "realm_access.roles",
		Roles: map[string]messages.Role{"users": messages.Role_INFER, "ops": messages.Role_OPERATE}}}
}

// now is a guard in real time: the tokens are.
func now(t *testing.T, r Rules) *Guard {
	g, c, _ := guarded(t, r)
	c.at = time.Now()
	return g
}

func TestTokens(t *testing.T) {
	f := newFakeIssuer(t)
	g := now(t, accepting(f))
	roles := func(names ...string) map[string]any { return map[string]any{"roles": names} }
	good := f.token(map[string]any{"email": "ann@example.com", "realm_access": roles("users", "ops")})
	other := newFakeIssuer(t)
	public, _ := json.Marshal((*f.keys.Load())[0].Public())
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	for _, c := range []struct{ what, token, want string }{
		{"good", good, "ann@example.com operate"},
		{"without a name", f.token(map[string]any{"realm_access": roles("users")}), "u1 infer"},
		{"one audience of several", f.token(map[string]any{"aud": []string{"x", "modelops"}, "realm_access": roles("users")}), "u1 infer"},
		{"without a role", f.token(nil), "u1 none"},
		{"a role nobody knows", f.token(map[string]any{"realm_access": roles("admin")}), "u1 none"},
		{"just expired, by the issuer's clock", f.token(map[string]any{"exp": ago(skew / 2)}), "u1 none"},
		{"expired", f.token(map[string]any{"exp": ago(skew + time.Minute)}), "UNAUTHENTICATED"},
		{"without an end", f.token(map[string]any{"exp": nil}), "UNAUTHENTICATED"},
		{"not yet", f.token(map[string]any{"nbf": ago(-time.Hour)}), "UNAUTHENTICATED"},
		{"another audience", f.token(map[string]any{"aud": "other"}), "UNAUTHENTICATED"},
		{"no audience", f.token(map[string]any{"aud": nil}), "UNAUTHENTICATED"},
		{"another issuer", f.token(map[string]any{"iss": "https://evil.example"}), "UNAUTHENTICATED"},
		{"signed by somebody else", other.token(map[string]any{"iss": f.URL, "realm_access": roles("ops")}), "UNAUTHENTICATED"},
		{"unsigned", forged(good, "none", nil), "UNAUTHENTICATED"},
		{"signed with the public key as the secret", forged(good, "HS256", public), "UNAUTHENTICATED"},
		{"cut off", good[:len(good)-4], "UNAUTHENTICATED"},
		{"no token at all", "eyJ.eyJ.x", "UNAUTHENTICATED"},
	} {
		g.tried = newGuesses(g.o.Log, g.o.Wrong) // so many wrong ones would be slowed
		p, err := g.ask(t, c.token)
		got := p.Name + " " + messages.RoleName(p.Role)
		if err != nil {
			got = messages.CodeOf(err).String()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.what, got, c.want, err)
		}
		if err == nil && (len(p.Fingerprint) != 12 || p.Until.IsZero() || p.Class != "normal") {
			t.Errorf("%s: %+v", c.what, p)
		}
	}
	g.tried = newGuesses(g.o.Log, g.o.Wrong)
	if _, err := g.Authenticate(t.Context(), messages.Credentials{Key: "sk-any", Peer: local}); messages.CodeOf(err) != messages.Unauthenticated {
		t.Error("where tokens are accepted, an unknown key is a mistake:", err)
	}
}

// The issuer may turn its keys at any time. A stranger's tokens can't make us ask it without end.
func TestTheIssuersKeysTurn(t *testing.T) {
	f := newFakeIssuer(t)
	g := now(t, accepting(f))
	for _, id := range []string{"k1", "k2", "k3"} {
		f.turn(id)
		if _, err := g.ask(t, f.token(nil)); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	other := newFakeIssuer(t)
	for range 50 {
		other.turn("x" + time.Now().String())
		if _, err := g.ask(t, other.token(map[string]any{"iss": f.URL})); messages.CodeOf(err) != messages.Unauthenticated && messages.CodeOf(err) != messages.BulkheadRejection {
			t.Fatal(err)
		}
	}
	if _, err := g.ask(t, f.token(nil)); err != nil {
		t.Error("a good token after wrong ones:", err)
	}
	if n := f.asked.Load(); n > 30 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// joining is a set of keys whose first answers are those of a question that began before.
type joining struct {
	old, tries int
	asks       bool
	begun      *atomic.Int64
}

func (j *joining) VerifySignature(context.Context, string) ([]byte, error) {
	if j.asks {
		j.begun.Add(1)
	}
	if j.tries++; j.tries <= j.old {
		return nil, errors.New("failed to verify id token signature")
	}
	return []byte("{}"), nil
}

// A token isn't refused because of an answer that is older than its key, and one that is wrong isn't looked at again and again.
func TestAQuestionThatIsEndingIsNotJoined(t *testing.T) {
	for what, c := range map[string]struct {
		old   int
		asks  bool
		tries int
	}{"an older question": {2, false, 3}, "a question of its own": {2, true, 1}, "nothing helps": {100, false, joinTries + 1}} {
		j := &joining{old: c.old, asks: c.asks, begun: &atomic.Int64{}}
		_, err := noting{j, j.begun}.VerifySignature(t.Context(), "")
		if j.tries != c.tries || (err == nil) != (c.tries > c.old) {
			t.Errorf("%s: %d tries, %v", what, j.tries, err)
		}
	}
}

// While the issuer can't be asked, a token is neither good nor bad. One that was signed with a key that is known is good.
func TestTheIssuerIsDown(t *testing.T) {
	f := newFakeIssuer(t)
	g := now(t, accepting(f))
	f.down.Store(true)
	if _, err := g.ask(t, f.token(nil)); messages.CodeOf(err) != messages.Unavailable || messages.AsError(err).Retry == 0 {
		t.Error("never asked:", err)
	}
	f.down.Store(false)
	g.issuer.Load().failedAt = time.Time{}
	if _, err := g.ask(t, f.token(nil)); err != nil {
		t.Fatal("back:", err)
	}
	f.down.Store(true)
	if _, err := g.ask(t, f.token(nil)); err != nil {
		t.Error("a known key:", err)
	}
	f.turn("k2")
	if _, err := g.ask(t, f.token(nil)); messages.CodeOf(err) != messages.Unavailable {
		t.Error("an unknown key:", err)
	}
	f.Close()
	if _, err := g.ask(t, f.token(nil)); messages.CodeOf(err) != messages.Unavailable {
		t.Error("gone:", err)
	}
}

// A configuration that names another issuer, audience or proxy is in force at once: who was let in by the old one is refused, and roles are those of now.
func TestAnotherIssuerAndProxyAtReload(t *testing.T) {
	first, second := newFakeIssuer(t), newFakeIssuer(t)
	one, two := accepting(first), accepting(second)
	g := now(t, one)
	users := map[string]any{"realm_access": map[string]any{"roles": []string{"users"}}}
	ask := func(f *fakeIssuer) messages.Code {
		g.tried = newGuesses(g.o.Log, g.o.Wrong)
		_, err := g.ask(t, f.token(users))
		return messages.CodeOf(err)
	}
	if a, b := ask(first), ask(second); a != 0 || b != messages.Unauthenticated {
		t.Fatal("before:", a, b)
	}
	g.Follow(two)
	if a, b := ask(first), ask(second); a != messages.Unauthenticated || b != 0 {
		t.Error("another issuer:", a, b)
	}
	two.Tokens.Roles = map[string]messages.Role{"users": messages.Role_READ}
	g.Follow(two)
	if p, err := g.ask(t, second.token(users)); err != nil || p.Role != messages.Role_READ {
		t.Error("another role:", p.Role, err)
	}
	two.Tokens.Audience = "another"
	g.Follow(two)
	if got := ask(second); got != messages.Unauthenticated {
		t.Error("another audience:", got)
	}
	proxied := Rules{Proxy: Proxy{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}, UserHeader: "X-User", RoleHeader: "X-Groups", Roles: map[string]messages.Role{"ops": messages.Role_OPERATE}}}
	by := messages.Credentials{Peer: fronted, Header: http.Header{"X-User": {"ann"}, "X-Groups": {"ops"}}}
	g.Follow(proxied)
	if p, err := g.Authenticate(t.Context(), by); err != nil || p.Name != "ann" || p.Role != messages.Role_OPERATE {
		t.Error("a proxy:", p, err)
	}
	if got := ask(second); got == 0 {
		t.Error("no issuer, and a token is taken")
	}
	proxied.Proxy.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.3/32")}
	g.Follow(proxied)
	if _, err := g.Authenticate(t.Context(), by); messages.CodeOf(err) != messages.Unauthenticated {
		t.Error("the former proxy:", err)
	}
}
